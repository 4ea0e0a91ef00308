"""A shard: one Arrow IPC file, uncompressed and memory-mapped, one row a document.

Whole documents, no special tokens: rows are cut and BOS and EOS added when they are read, so the
same shard serves every context. The file's name carries the digest of its bytes. The documents of
a stratum lie in the order of their keys, key = blake2b(seed, doc_id), over all its shards.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
from numpy.typing import NDArray

from schemas.arrow import numbers
from schemas.digest import ID_LENGTH, sha256
from schemas.errors import UserError
from schemas.store import join, local_path, read_bytes, write_bytes

FORMAT_VERSION = 1
TOKENS_PER_SHARD = 16_000_000  # 64 MB

DOCUMENTS = pa.schema(
    [
        ("tokens", pa.large_list(pa.uint32())),
        ("doc_id", pa.large_string()),
        ("url", pa.large_string()),
        ("key", pa.uint64()),
        ("text_hash", pa.binary(16)),
        ("num_bytes", pa.int64()),
    ]
)


@dataclass(frozen=True)
class ShardMeta:
    """What a shard says of itself in its schema metadata."""

    tokenizer: str
    vocab_size: int
    stratum: str  # source/language/tier

    def encode(self) -> dict[bytes, bytes]:
        return {
            b"mmbert.format": str(FORMAT_VERSION).encode(),
            b"mmbert.tokenizer": self.tokenizer.encode(),
            b"mmbert.vocab_size": str(self.vocab_size).encode(),
            b"mmbert.stratum": self.stratum.encode(),
        }


def write(folder: str, index: int, num_shards: int, table: pa.Table, meta: ShardMeta) -> str:
    """Write documents (DOCUMENTS schema, in key order) as one shard; returns its file name."""
    sink = io.BytesIO()
    table = table.cast(DOCUMENTS).combine_chunks().replace_schema_metadata(meta.encode())
    with ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue()
    name = f"shard-{index:05d}-of-{num_shards:05d}-{sha256(data)[:ID_LENGTH]}.arrow"
    write_bytes(join(folder, name), data)
    return name


def digest_of(name: str) -> str:
    """The 16 hexadecimal digits of the digest that a shard's name carries."""
    return name.removesuffix(".arrow").rsplit("-", 1)[1]


@dataclass(frozen=True)
class Shard:
    """An open shard. `tokens` [t] and `offsets` [d + 1] are views of the mapped file."""

    url: str
    data: pa.Buffer  # the file
    tokens: NDArray[np.uint32]
    offsets: NDArray[np.int64]
    meta: ShardMeta

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    @cached_property
    def table(self) -> pa.Table:
        """All of it (DOCUMENTS), read when first asked for: it takes more memory than the rest."""
        return ipc.open_file(self.data).read_all()

    def document(self, index: int) -> NDArray[np.uint32]:
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]


def open_shard(url: str) -> Shard:
    """Map a local shard (or read a remote one whole).

    Raises UserError when the file is missing, broken, or of another format version.
    """
    path = local_path(url)
    try:
        # A file is read by pyarrow's threads, whose switches take longer than the reading.
        mapped = pa.memory_map(str(path)).read_buffer() if path else read_bytes(url)
    except OSError as error:
        raise _unreadable(url, error) from error
    return parse_shard(url, pa.BufferReader(mapped))


def parse_shard(url: str, source: pa.NativeFile) -> Shard:
    """A shard in a file that is open already; raises as `open_shard` does."""
    try:
        data = source.read_buffer()
        table = ipc.open_file(data).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise _unreadable(url, error) from error
    metadata = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
    if metadata.get("mmbert.format") != str(FORMAT_VERSION):
        raise UserError(
            f"{url} has shard format {metadata.get('mmbert.format')}, this version reads "
            f"{FORMAT_VERSION}; rebuild it with `mmbert data`"
        )
    column = table.column("tokens")
    chunk = column.chunk(0) if column.num_chunks else pa.array([], DOCUMENTS.field("tokens").type)
    offsets = numbers(chunk.offsets)
    return Shard(
        url,
        data,
        numbers(chunk.values),
        offsets,
        ShardMeta(
            metadata["mmbert.tokenizer"],
            int(metadata["mmbert.vocab_size"]),
            metadata["mmbert.stratum"],
        ),
    )


def _unreadable(url: str, error: Exception) -> UserError:
    return UserError(
        f"{url} cannot be read as a shard ({error}); delete the folder it lies in and run "
        "`mmbert data` again to rebuild its stratum"
    )
