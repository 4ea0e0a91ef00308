"""Keepers found in buckets are those of one dictionary over all documents."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from pipelines.copies import BAND, TEXT, Documents, gather, num_buckets, read_keepers, scatter
from pipelines.decision import Rank


def drawn(seed: int, file: int, count: int) -> Documents:
    """Documents that share many texts and bands; equal texts have equal bands."""
    draw = np.random.default_rng([seed, file])
    halves = np.array([3, 1 << 62, 1 << 63, (1 << 64) - 5], np.uint64)
    text = np.stack([draw.choice(halves, count), draw.integers(0, 9, count, np.uint64)], axis=1)
    num_bands = (text[:, 1] % np.uint64(4)).astype(np.int32)
    bands = np.concatenate([text[i, 1] // 2 + halves[:n] for i, n in enumerate(num_bands)])
    return Documents(
        origin="web/eng_Latn",
        split_rank=file % 2,
        file=file,
        key=draw.integers(0, 5, count, np.uint64),
        record=np.arange(count),
        text=text,
        bands=bands.astype(np.uint64),
        num_bands=num_bands,
    )


def expected(parts: list[Documents]) -> dict[bytes, Rank]:
    sharing: dict[bytes, list[tuple[Rank, bytes]]] = {}
    for part in parts:
        bands = np.split(part.bands, np.cumsum(part.num_bands)[:-1])
        for place, mine in enumerate(bands):
            rank = (part.split_rank, int(part.key[place]), part.file, int(part.record[place]))
            text = part.text[place].astype("<u8").tobytes()
            sharing.setdefault(text, []).append((rank, b""))
            for band in mine.tolist():
                sharing.setdefault(band.to_bytes(8, "little"), []).append((rank, text[:8]))
    return {
        shared: min(documents)[0]
        for shared, documents in sharing.items()
        if len(documents) > 1 and (len(shared) == TEXT or len({text for _, text in documents}) > 1)
    }


@pytest.mark.parametrize("buckets", [1, 2, 64])
def test_keepers_do_not_depend_on_the_buckets(tmp_path: Path, buckets: int) -> None:
    parts = [drawn(7, file, 40) for file in range(5)]
    folder = str(tmp_path)
    rows = sorted(
        (row for part in parts for row in scatter(part, buckets, folder)), key=lambda row: row[0]
    )
    found: dict[bytes, Rank] = {}
    for bucket, batches in groupby(rows, key=lambda row: row[0]):
        assert bucket[1] in (TEXT, BAND)
        for origin, url, count in gather(bucket, [batch for _, batch in batches], folder):
            table = read_keepers(url)
            assert (origin, count) == ("web/eng_Latn", table.num_rows)
            shared, *ranks = (table.column(name).to_pylist() for name in table.column_names)
            found |= zip(shared, zip(*ranks, strict=True), strict=True)
    assert len({len(shared) for shared in found}) == 2
    assert found == expected(parts)


def test_a_bucket_holds_half_a_million_documents() -> None:
    assert [num_buckets(n) for n in (0, 1, 500_000, 500_001, 20_000_000)] == [1, 1, 1, 2, 64]
