"""The decide step over synthetic metadata: rows a CPU-second, and the peak of its memory.

    python -m tests.benchmarks decide [--full]        2 M rows, with --full 20 M (goal: under 4 GiB)

One origin in eight spills; every tenth text stands there twice. Each size runs in a process of its
own, and memory is the most that this process ever held: memory-mapped files of the disk's cache
count, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines import spill as spills
from pipelines.decision import SpillRef
from schemas.ledger import DROPS
from tests.benchmarks.measure import Table

NUM_SPILLS = 8
PART_ROWS = 100_000  # more than 32 M tokens hold
COPIES = 10  # one text in as many stands twice
BANDS = 11  # as pipelines/near.py makes them


def run(full: bool = False) -> list[Table]:
    """Rows with no bands, and with those that near-duplicates are found by."""
    sizes = ((1, 0), (2, 0), (1, BANDS), *(((20, 0), (20, BANDS)) if full else ()))
    rows = []
    for millions, bands in sizes:
        command = [sys.executable, "-m", __spec__.name, str(millions), str(bands)]
        told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        name = f"{millions} M rows" + (f", {bands} bands each" if bands else "")
        rate = told["rows"] / told["cpu_s"]
        rows.append((name, told["keepers"], told["cpu_s"], rate, told["peak_gib"]))
    columns = ("", "texts or bands that occur twice", "CPU-s", "rows/CPU-s", "peak GiB")
    return [Table("The decide step on synthetic metadata", columns, tuple(rows))]


def write_spills(folder: Path, num_rows: int, bands: int, seed: int = 0) -> list[SpillRef]:
    """Spills of metadata alone (no tokens): `num_rows` documents, one text in COPIES twice."""
    draw = np.random.default_rng(seed)
    refs = []
    each = num_rows // NUM_SPILLS
    for place in range(NUM_SPILLS):
        parts, left = [], each
        while left:
            count = min(left, PART_ROWS)
            left -= count
            table = _rows(draw, num_rows, count, bands)
            parts.append(spills.write_part(str(folder / str(place)), len(parts), table))
        spill = spills.Spill(id=str(place), read=each, parts=tuple(parts), dropped=0)
        spills.commit(str(folder / str(place)), spill, DROPS.empty_table())
        refs.append(SpillRef("web/eng_Latn", str(folder / str(place)), place, "train", True))
    return refs


def _rows(draw: np.random.Generator, num_rows: int, count: int, bands: int) -> pa.Table:
    # Numbers of texts, so few that one in COPIES is drawn by two of the documents.
    text = draw.integers(0, num_rows * COPIES // 2, count, np.uint64)
    hashes = np.stack([text * np.uint64(0x9E3779B97F4A7C15), text], axis=1)
    banded = (hashes[:, :1] + np.arange(bands, dtype=np.uint64)) * np.uint64(0xBF58476D1CE4E5B9)
    offsets = np.arange(count + 1, dtype=np.int32) * bands
    columns = {
        "key": pa.array(draw.integers(0, 1 << 63, count, np.uint64)),
        "record": pa.array(np.arange(count)),
        "text_hash": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(16), count, [None, pa.py_buffer(hashes.tobytes())]
        ),
        "group": pa.array(hashes[:, 0]),
        "bands": pa.ListArray.from_arrays(offsets, banded.ravel()),
        "num_tokens": pa.array(draw.integers(1, 5_000, count)),
    }
    return pa.table(
        [columns.get(f.name, pa.nulls(count, f.type)).cast(f.type) for f in spills.PART],
        schema=spills.PART,
    )


def _measure(millions: int, bands: int) -> None:
    import resource

    from pipelines.decide import decide
    from schemas.recipe import HeldOut
    from tests.benchmarks.measure import cpu_s

    with tempfile.TemporaryDirectory(prefix="mmbert-bench-") as folder:
        writer = [sys.executable, "-m", __spec__.name, str(millions), str(bands), folder]
        told = subprocess.run(writer, check=True, stdout=subprocess.PIPE).stdout
        refs = [SpillRef(*fields) for fields in json.loads(told)]
        begun = cpu_s()
        (decision,) = decide(refs, HeldOut(), f"{folder}/decide").values()
        cost = cpu_s() - begun
    found = {"rows": sum(decision.documents.values()), "keepers": len(decision.keepers)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(found | {"cpu_s": cost, "peak_gib": peak}))


if __name__ == "__main__":
    num_millions, num_bands, *where = sys.argv[1:]
    if where:
        made = write_spills(Path(where[0]), int(num_millions) * 1_000_000, int(num_bands))
        print(json.dumps([[r.origin, r.folder, r.file_index, r.split, r.grouped] for r in made]))
    else:
        _measure(int(num_millions), int(num_bands))
