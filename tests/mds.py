"""MDS shards for tests, written byte by byte in the layout of mosaicml-streaming's format 2."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zstandard


@dataclass(frozen=True)
class Sample:
    identity: str
    tokens: Sequence[int]


def encoded(value: str | int | np.ndarray) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, int):
        return np.int64(value).tobytes()
    power = 0 if value.size < 1 << 8 else 1
    return bytes([4 + power]) + value.size.to_bytes(2**power, "little") + value.tobytes()


def write_mds(
    folder: Path,
    shards: Sequence[Sequence[Sample]],
    dtype: str = "uint32",
    zstd: bool = False,
    with_length: bool = False,
    prefix: str = "",
) -> str:
    columns = {"id": "str", "input_ids": f"ndarray:{dtype}"} | (
        {"len": "int"} if with_length else {}
    )
    sizes = [8 if encoding == "int" else None for encoding in columns.values()]
    entries = []
    for number, samples in enumerate(shards):
        bodies = []
        for sample in samples:
            values: dict[str, str | int | np.ndarray] = {
                "id": sample.identity,
                "input_ids": np.array(sample.tokens, dtype),
                "len": len(sample.tokens),
            }
            data = [encoded(values[column]) for column in columns]
            varying = [len(d) for d, size in zip(data, sizes, strict=True) if size is None]
            bodies.append(np.array(varying, "<u4").tobytes() + b"".join(data))
        config = json.dumps({"column_names": list(columns)}).encode()
        begins = np.cumsum([0, *map(len, bodies)]) + 4 * (len(bodies) + 2) + len(config)
        count = np.array([len(bodies)], "<u4").tobytes()
        data = count + begins.astype("<u4").tobytes() + config + b"".join(bodies)
        name = f"{prefix}shard.{number:05d}.mds"
        packed = zstandard.ZstdCompressor().compress(data)
        path = folder / (f"{name}.zstd" if zstd else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed if zstd else data)
        entries.append(
            {
                "column_encodings": list(columns.values()),
                "column_names": list(columns),
                "column_sizes": sizes,
                "compression": "zstd" if zstd else None,
                "format": "mds",
                "hashes": [],
                "raw_data": {"basename": name, "bytes": len(data), "hashes": {}},
                "samples": len(samples),
                "size_limit": 1 << 26,
                "version": 2,
                "zip_data": {"basename": f"{name}.zstd", "bytes": len(packed), "hashes": {}}
                if zstd
                else None,
            }
        )
    (folder / "index.json").write_text(json.dumps({"shards": entries, "version": 2}))
    return str(folder)
