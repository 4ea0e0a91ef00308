"""MDS shards (mosaicml-streaming, format 2) read from their bytes, in numpy.

    uint32        n, the number of samples          all integers little-endian
    uint32[n+1]   where each sample begins in the file, and where the last ends
    ...           the configuration again, as JSON
    samples       uint32 for each column of variable size: its bytes; then the columns

Columns come in the order of index.json. A column `ndarray:uint32` of a one-dimensional array begins
with a byte 4 * dimensions + k and its length in 2^k bytes, then holds the values.

In: index.json and the shards it names, .zstd ones decompressed. Out: a `Samples` for each shard. A
sample whose bytes are not all there, or make no sense, is listed with its reason.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import zstandard
from numpy.typing import NDArray

from schemas.errors import UserError
from schemas.store import exists, join, read_bytes

INTEGERS = {"int16", "int32", "int64", "uint16", "uint32", "uint64"}
TOKENS, ID = "input_ids", "id"


@dataclass(frozen=True)
class MdsShard:
    """One entry of index.json: its file as it lies there, its samples and columns."""

    url: str
    relative: str
    size_bytes: int
    num_samples: int
    columns: tuple[str, ...]
    sizes: tuple[int | None, ...]  # bytes; None where they vary
    dtype: str  # of the tokens


@dataclass(frozen=True)
class Samples:
    """What a shard holds: token arrays and ids by place, and why a place has none."""

    tokens: dict[int, NDArray[np.int64]]
    ids: dict[int, str]
    broken: dict[int, str]


def read_index(url: str) -> tuple[MdsShard, ...]:
    """The shards of a folder; UserError for another format, columns or compression."""
    where = join(url, "index.json")
    try:
        index = json.loads(read_bytes(where))
    except FileNotFoundError as error:
        raise UserError(
            f"{where} does not exist: name a folder of MDS shards with its index.json"
        ) from error
    except ValueError as error:
        raise UserError(f"{where} is no JSON ({error}): fetch it again") from error
    if not isinstance(index, dict) or index.get("version") != 2 or not index.get("shards"):
        raise UserError(f"{where} is no index of MDS shards of format version 2")
    return tuple(_entry(url, where, entry) for entry in index["shards"])


def _entry(url: str, where: str, entry: dict) -> MdsShard:
    try:
        columns, encodings = entry["column_names"], entry["column_encodings"]
        encoding = dict(zip(columns, encodings, strict=True)).get(TOKENS, "absent")
        kind, _, dtype = encoding.partition(":")
        if (entry["format"], kind) != ("mds", "ndarray") or dtype not in INTEGERS:
            raise UserError(
                f"{where}: column {TOKENS} is {encoding} in {entry['format']}: only an ndarray of "
                f"{', '.join(sorted(INTEGERS))} in mds can be read"
            )
        raw, packed = entry["raw_data"], entry.get("zip_data")
        chosen = raw
        if packed and not exists(join(url, raw["basename"])):
            chosen = packed
            if not str(entry["compression"]).startswith("zstd"):
                raise UserError(
                    f"{where}: {packed['basename']} is compressed with {entry['compression']}: "
                    "decompress it beside itself, or write it with zstd"
                )
        if not exists(join(url, chosen["basename"])):
            raise UserError(
                f"{join(url, chosen['basename'])} does not exist, and index.json names it: fetch "
                "the rest of the folder"
            )
        return MdsShard(
            url=join(url, chosen["basename"]),
            relative=chosen["basename"],
            size_bytes=int(chosen["bytes"]),
            num_samples=int(entry["samples"]),
            columns=tuple(columns),
            sizes=tuple(entry["column_sizes"]),
            dtype=dtype,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{where} is no index of MDS shards: {error} is missing or odd") from error


def read_shard(shard: MdsShard) -> Samples:
    """Every sample of a shard by its place, 0 to num_samples - 1; none is left out."""
    data, broke = _decompressed(shard)
    places = range(shard.num_samples)
    header = 4 * (shard.num_samples + 2)
    if len(data) < header:
        return Samples({}, {}, dict.fromkeys(places, broke or "the file is cut"))
    found = int.from_bytes(data[:4], "little")
    if found != shard.num_samples:
        reason = f"the file says {found} samples, its index {shard.num_samples}"
        return Samples({}, {}, dict.fromkeys(places, reason))
    offsets = np.frombuffer(data, "<u4", shard.num_samples + 1, 4).tolist()
    samples = Samples({}, {}, {})
    for place in places:
        begin, end = offsets[place], offsets[place + 1]
        if not header <= begin <= end <= len(data):
            samples.broken[place] = broke or f"bytes {begin} to {end} are not in the file"
            continue
        try:
            columns = _columns(shard, memoryview(data)[begin:end])
            samples.tokens[place] = _array(columns[TOKENS], shard.dtype)
            samples.ids[place] = str(columns.get(ID, b""), "utf-8")
        except ValueError as error:
            samples.tokens.pop(place, None)
            samples.broken[place] = str(error)
    return samples


def _decompressed(shard: MdsShard) -> tuple[bytes, str]:
    """The bytes of a shard, as many as can be had, and why there are no more."""
    data = read_bytes(shard.url)
    if not shard.relative.endswith((".zstd", ".zst")):
        return data, ""
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    pieces: list[bytes] = []
    view = memoryview(data)
    try:
        for start in range(0, len(view), 1 << 16):
            pieces.append(decompressor.decompress(view[start : start + (1 << 16)]))  # noqa: PERF401
    except zstandard.ZstdError as error:
        return b"".join(pieces), f"zstd: {error}"
    return b"".join(pieces), "" if decompressor.eof else "zstd: the file is cut"


def _columns(shard: MdsShard, sample: memoryview) -> dict[str, memoryview]:
    varying = sum(size is None for size in shard.sizes)
    if len(sample) < 4 * varying:
        raise ValueError("shorter than its table of sizes")
    told = iter(np.frombuffer(sample, "<u4", varying).tolist())
    sizes = [next(told) if size is None else size for size in shard.sizes]
    if 4 * varying + sum(sizes) != len(sample):
        raise ValueError("its columns do not fill it")
    columns, place = {}, 4 * varying
    for name, size in zip(shard.columns, sizes, strict=True):
        columns[name] = sample[place : place + size]
        place += size
    return columns


def _array(column: memoryview, dtype: str) -> NDArray[np.int64]:
    dimensions, power = divmod(column[0] if len(column) else 0, 4)
    start = 1 + 2**power
    values = np.dtype(dtype).newbyteorder("<")
    length = int.from_bytes(column[1:start], "little")
    if dimensions != 1 or start + length * values.itemsize != len(column):
        raise ValueError(f"{TOKENS} is no array of one dimension")
    return np.frombuffer(column, values, length, start).astype(np.int64)
