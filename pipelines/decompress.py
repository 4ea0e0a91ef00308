"""Compressed bytes to plain ones, going on behind what is broken.

In: an open .gz or .zst file (anything else passes through). Out, in the file's order: a `Piece` of
plain bytes or a `Break`, with the places in the compressed file that they come from. A file is a
row of members (gzip) or frames (zstd), each decompressible alone; behind a break reading goes on at
the next one, found by its magic number. Memory is bounded by a piece, whatever the file's size.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Protocol

import zstandard

# A decoder that fails gives nothing of the bytes it was fed last, so they are few: a break costs
# so many good bytes at most. Decoding is no slower than with 64 kB.
_FEED_BYTES = 512
_BLOCK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Piece:
    """Plain bytes, and where the compressed ones that hold them begin at the earliest."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Break:
    """Compressed bytes from `offset` to before `end` that give nothing."""

    offset: int
    end: int
    reason: str
    inside: bool  # a member of which some came out; else the members before it are whole


class _Decoder(Protocol):
    """Decodes one member."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


@dataclass(frozen=True)
class _Codec:
    magic: bytes  # opens each member
    decoder: Callable[[], _Decoder]


_CODECS = {
    "gz": _Codec(b"\x1f\x8b\x08", lambda: zlib.decompressobj(wbits=31)),
    "zst": _Codec(b"\x28\xb5\x2f\xfd", lambda: zstandard.ZstdDecompressor().decompressobj()),
}


def decompress(raw: io.BufferedIOBase, url: str) -> Iterator[Piece | Break]:
    """The plain bytes of a file, and the breaks between them; `raw` is seekable."""
    codec = _CODECS.get(url.rpartition(".")[2])
    if codec is None:
        yield from (Piece(at, data) for at, data in _blocks(raw, 0, _BLOCK_BYTES))
        return
    start: int | None = 0
    while start is not None:
        start = yield from _member(raw, start, codec)


def _member(
    raw: io.BufferedIOBase, start: int, codec: _Codec
) -> Generator[Piece | Break, None, int | None]:
    """Yields the member at `start`; returns where the next one starts, None at the file's end."""
    decoder = codec.decoder()
    sound = end = start  # whatever was fed before `sound` has come out
    inside = False
    reason = "cut off: the file ends before its last member does"
    try:
        for at, fed in _blocks(raw, start, _FEED_BYTES):
            data = decoder.decompress(fed)
            end = at + len(fed)
            if data:
                yield Piece(sound, data)
                sound, inside = at, True
            if decoder.eof:
                return end - len(decoder.unused_data)
    except (zlib.error, zstandard.ZstdError) as error:
        reason = str(error)
    else:
        if end == start:
            return None
    # Decoders hold bytes back, so the next member may start before the place of the error.
    resume = _find(raw, codec.magic, max(sound, start + 1))
    yield Break(sound, resume, reason, inside)
    return resume


def _find(raw: io.BufferedIOBase, wanted: bytes, start: int) -> int:
    """The first place of `wanted` from `start` on, or the file's end."""
    kept, end = b"", start
    for at, block in _blocks(raw, start, _BLOCK_BYTES):
        window = kept + block
        place = window.find(wanted)
        if place >= 0:
            return at - len(kept) + place
        kept, end = window[1 - len(wanted) :], at + len(block)
    return end


def _blocks(raw: io.BufferedIOBase, start: int, size: int) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) from `start` to the file's end."""
    raw.seek(start)
    while block := raw.read(size):
        yield start, block
        start += len(block)
