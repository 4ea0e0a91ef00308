"""Packed tokens out of the loader, beside the memcpy bound on the same machine.

    int64 ids, positions and cu_seqlens a CPU-second, over a whole phase, its planning counted
    bound: the tokens of the same shards widened from uint32 to int64, pack by pack, and no more
    cold: what the disk gives while a phase of one epoch is read, its pages dropped before

Synthetic shards of log-normal documents in many languages; the page cache is warm but for the last.
Each context is measured in a process of its own, so that first batch and memory are those of a cold
process. loader_peers.py measures the peers on the same documents.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.language import by_subset
from schemas.manifest import Packing, load_shards, store_of
from schemas.shard import TOKENS_PER_SHARD, open_shard
from schemas.store import local_path
from tests.benchmarks import loader_peers
from tests.benchmarks.measure import Table, anonymous_mb, cpu_s
from tests.stores import Lengths, Settings, make_manifest
from trainer.phase import Phase, State

PACKING = Packing(pack_tokens=49_152, max_pieces=512, window_packs=2_000)
CONTEXTS = (1_024, 8_192)
WINDOWS = 10
TOKENS = 48_000_000  # on disk, 192 MB; a phase reads them 20 times over
LARGE = 24  # languages with a shard of full size each, 1.5 GB: 4 windows to an epoch
DOCUMENT = 600, 1.1  # median and log-spread of a document's tokens
RESUMES = 7  # of windows that are not planned any more


@dataclass(frozen=True)
class Figures:
    packs: int
    tokens: int
    cpu_s: float  # of all packs after the first
    bound_cpu_s: float
    import_cpu_s: float  # of the interpreter and of trainer.phase
    first_s: float  # beyond importing, as is the next
    first_cpu_s: float
    resume_ms: float
    resume_cpu_ms: float
    anonymous_mb: float

    def row(self, data: str, context: int) -> tuple[str | int | float, ...]:
        return (
            f"{data}, context {context:,}",
            self.tokens / self.cpu_s / 1e6,
            self.tokens / self.bound_cpu_s / 1e6,
            self.bound_cpu_s / self.cpu_s,
            f"{100 * self.tokens / (self.packs * PACKING.pack_tokens):.2f} %",
            f"{self.first_s:.2f} ({self.first_cpu_s:.2f})",
            f"{self.import_cpu_s:.2f}",
            f"{self.resume_ms:.1f} ({self.resume_cpu_ms:.1f})",
            self.anonymous_mb,
        )


def run(full: bool = False, peers: Path | None = None) -> list[Table]:
    """`full`: 1,833 languages and full shards beside 200; `peers`: a venv of theirs, or for one.

    Peers are measured wherever there are rows of ours but on full shards, each for a bounded time.
    """
    rows, tables = [], []
    for languages in (200, 1_833) if full else (200,):
        with tempfile.TemporaryDirectory(prefix="mmbert-bench-") as folder:
            for context in CONTEXTS:
                url = write_phase(Path(folder), languages, context)
                figures = Figures(**_told("whole", url))
                rows.append(figures.row(f"{languages:,} languages", context))
                if peers is not None:
                    rate = figures.tokens / figures.cpu_s
                    tables.append(loader_peers.table(url, languages, context, peers, rate))
            if languages == 200:
                cold = _told("cold", write_phase(Path(folder), languages, CONTEXTS[0], 1.0))
    if full:
        with tempfile.TemporaryDirectory(prefix="mmbert-bench-") as folder:
            figures = Figures(**_told("whole", write_large(Path(folder), CONTEXTS[0])))
            rows.append(figures.row(f"{LARGE} full shards", CONTEXTS[0]))
    columns = ("M tokens a CPU-s", "memcpy bound", "of it", "packed", "first batch s (CPU)")
    ours = Table(
        f"Loader: packs of {PACKING.pack_tokens:,} tokens, {WINDOWS} windows",
        ("", *columns, "imports CPU-s", "resume ms (CPU)", "anonymous MB"),
        tuple(rows),
        (
            "First batch: in a cold process, beyond importing. Resume: in a process whose shards",
            f"are open, median of {RESUMES} places in windows not planned before.",
            f"Cold cache, one epoch, 200 languages: {cold['read'] / 1e6:.0f} MB read for "
            f"{cold['delivered'] / 1e6:.0f} MB of tokens, {cold['read'] / cold['delivered']:.2f}x.",
        ),
    )
    return [ours, *tables]


def _told(what: str, url: str) -> dict[str, float]:
    """What another process says of a phase."""
    command = [sys.executable, "-m", "tests.benchmarks.loader", what, url]
    told: dict[str, float] = json.loads(subprocess.check_output(command))
    return told


def write_phase(folder: Path, languages: int, context: int, epochs: float | None = None) -> str:
    """A phase over shards whose languages fall off as 1 / rank.

    Of `WINDOWS` windows, and as many epochs as make them whole where it does not say otherwise.
    """
    draw = np.random.default_rng(0)
    shares = 1 / np.arange(1, languages + 1)
    median, spread = DOCUMENT
    mean = median * np.exp(spread**2 / 2)
    lengths: dict[str, list[list[int]]] = {}
    for subset, share in zip(sorted(by_subset()), shares / shares.sum(), strict=False):
        num = max(4, round(TOKENS * share / mean))
        drawn = _drawn(draw, num)
        shards = np.array_split(drawn, -(-int(drawn.sum()) // 4_000_000))
        lengths[f"synthetic/{subset}/train"] = [shard.tolist() for shard in shards]
    return _write(folder, lengths, context, epochs)


def write_large(folder: Path, context: int) -> str:
    """A phase of as many windows over languages of one full shard each."""
    draw = np.random.default_rng(0)
    lengths = {}
    for subset in sorted(by_subset())[:LARGE]:
        drawn = _drawn(draw, TOKENS_PER_SHARD // DOCUMENT[0])
        held = np.searchsorted(np.cumsum(drawn), TOKENS_PER_SHARD)
        lengths[f"synthetic/{subset}/train"] = [drawn[:held].tolist()]
    return _write(folder, lengths, context)


def _drawn(draw: np.random.Generator, num: int) -> NDArray[np.int64]:
    median, spread = DOCUMENT
    return np.exp(draw.normal(np.log(median), spread, num)).astype(int).clip(8, 100_000)


def _write(folder: Path, lengths: Lengths, context: int, epochs: float | None = None) -> str:
    on_disk = sum(sum(shard) for shards in lengths.values() for shard in shards)
    epochs = epochs or WINDOWS * PACKING.window_packs * PACKING.pack_tokens / on_disk
    settings = Settings(context=context, packing=PACKING, epochs=epochs, windows=WINDOWS)
    return make_manifest(folder, lengths, settings)


def measure(url: str, import_cpu_s: float) -> Figures:
    """Read a phase to its end."""
    begun_s, begun_cpu_s = time.monotonic(), time.process_time()
    phase = Phase(url)
    packs = phase.packs()
    next(packs)
    first_s, first_cpu_s = time.monotonic() - begun_s, time.process_time() - begun_cpu_s
    begun, num_packs, tokens, memory = cpu_s(), 1, 0, 0.0
    for pack in packs:
        num_packs += 1
        tokens += pack.ids.size
        if num_packs % PACKING.window_packs == 0:
            memory = max(memory, anonymous_mb())
    taken = cpu_s() - begun
    resumes = np.array([_resume(phase, window) for window in range(RESUMES)]) * 1e3
    wall, cpu = np.median(resumes, axis=0).tolist()
    bound = _widen(url, tokens)
    first = (import_cpu_s, first_s, first_cpu_s)
    return Figures(num_packs, tokens, taken, bound, *first, wall, cpu, memory)


def measure_cold(url: str) -> dict[str, int]:
    """Bytes that the disk gives and bytes of tokens that are delivered, over a phase."""
    shards, store = load_shards(url).column("url").to_pylist(), store_of(url)
    for shard in shards:
        file = os.open(str(local_path(store.resolve(shard))), os.O_RDONLY)
        os.fsync(file)  # what is not written yet cannot be dropped
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)
    before = _read_bytes()
    delivered = sum(4 * pack.eligible for pack in Phase(url).packs())
    return {"read": _read_bytes() - before, "delivered": delivered}


def _read_bytes() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes:"))


def _resume(phase: Phase, window: int) -> tuple[float, float]:
    begun, cpu = time.monotonic(), time.process_time()
    packs = phase.packs(start=State(window, 7))
    next(packs)
    taken = time.monotonic() - begun, time.process_time() - cpu
    packs.close()  # type: ignore[attr-defined]
    return taken


def _widen(url: str, tokens: int) -> float:
    """CPU-seconds to copy as many tokens from uint32 to new int64 packs."""
    shards, store = load_shards(url).column("url").to_pylist(), store_of(url)
    source = np.concatenate([open_shard(store.resolve(shard)).tokens for shard in shards])
    begun, done, at = cpu_s(), 0, 0
    while done < tokens:
        done += source[at : at + PACKING.pack_tokens].astype(np.int64).size
        at = at + PACKING.pack_tokens if at + PACKING.pack_tokens < source.size else 0
    return cpu_s() - begun


if __name__ == "__main__":
    imported_cpu_s = time.process_time()
    if sys.argv[1] == "cold":
        print(json.dumps(measure_cold(sys.argv[2])))
    else:
        print(json.dumps(asdict(measure(sys.argv[2], imported_cpu_s))))
