"""The loader beside others, on the same documents and in the same run; each with its own Python.

    MosaicML streaming, one stream of all documents, and a stream a language
    HF datasets, a set a language, interleaved over indices and as streams

each before a packer that keeps a buffer of documents, as ModernBERT's training does (peers/). Their
libraries exclude some of ours: they lie in a venv of their own, made where there is none.

A peer reads for 8 CPU-seconds and 20 packs, a slow one for a minute at most, and has LIMIT_S of the
clock on the wall with the writing of its files, which is not measured. Rates are by CPU-second, so
that a slow one needs no whole phase; the table says how much each has read.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import numpy as np

from schemas.manifest import load, load_shards, store_of
from schemas.shard import open_shard
from tests.benchmarks.measure import Cell, Table

SCRIPTS = Path(__file__).parent / "peers"
PEERS = {
    "MosaicML streaming, one stream": ("mosaic.py", "one"),
    "MosaicML streaming, a stream a language": ("mosaic.py", "many"),
    "HF datasets, interleaved by index": ("hf.py", "map"),
    "HF datasets, interleaved streams": ("hf.py", "iterable"),
}
PACK_TOKENS = 49_152
LIMIT_S = 600


def table(url: str, languages: int, context: int, folder: Path, rate: float) -> Table:
    """Their figures beside `rate`, the tokens a CPU-second of the loader in the same run."""
    rows: list[tuple[Cell, ...]] = [("mmbert", rate / 1e6, 1.0, "", "", "", "")]
    broken = install(folder)
    with tempfile.TemporaryDirectory(prefix="mmbert-peers-") as scratch:
        if not broken:
            write_text(url, Path(scratch) / "text")
        for name, command in PEERS.items():
            told = broken or _run(folder, Path(scratch), command, context)
            if isinstance(told, str):
                rows.append((name, told, "", "", "", "", ""))
                continue
            theirs = told["tokens"] / told["cpu_s"]
            fill = f"{100 * told['tokens'] / (told['packs'] * PACK_TOKENS):.2f} %"
            cells = (f"{told['first_cpu_s']:.2f}", f"{told['anonymous_mb']:.0f}")
            read = f"{told['tokens'] / 1e6:.2g} in {told['cpu_s']:.0f}"
            rows.append((name, theirs / 1e6, rate / theirs, read, fill, *cells))
    columns = ("M tokens a CPU-s", "mmbert's rate to it", "M tokens read in CPU-s")
    columns += ("packed", "first batch CPU-s", "anon. MB")
    title = f"Loader beside peers: {languages:,} languages, context {context:,}"
    return Table(title, ("", *columns), tuple(rows))


def install(folder: Path) -> str:
    """Make the peers' venv where it is not; what went wrong, if anything did."""
    if not python_of(folder).exists():
        venv.create(folder)
        to = ["--python", str(python_of(folder))]
        wanted = ["-r", str(SCRIPTS / "requirements.txt")]
        # pip tries versions of their libraries for many minutes
        command = [sys.executable, "-m", "uv", "pip", "install", "-q", *to, *wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(folder)  # else it would count as installed
            return f"not installed: {_last_line(done.stderr)}"
    return ""


def python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


def write_text(url: str, folder: Path) -> None:
    """The documents of a phase as numpy files: tokens and offsets of each stratum."""
    folder.mkdir()
    strata, store, shards = load(url).strata, store_of(url), load_shards(url).to_pylist()
    for place, stratum in enumerate(strata):
        mine = [
            open_shard(store.resolve(shard["url"])) for shard in shards if shard["stratum"] == place
        ]
        lengths = np.concatenate([shard.lengths for shard in mine])
        name = f"{stratum.language}-{place}"
        np.save(folder / f"{name}.tokens.npy", np.concatenate([shard.tokens for shard in mine]))
        np.save(folder / f"{name}.offsets.npy", np.concatenate([[0], np.cumsum(lengths)]))


def _run(
    folder: Path, scratch: Path, command: tuple[str, str], context: int
) -> dict[str, float] | str:
    """What a peer measured, or why it did not."""
    script, how = command
    data = scratch / script.removesuffix(".py")
    arguments = [how, str(scratch / "text"), str(data), str(context)]
    try:
        done = subprocess.run(
            [str(python_of(folder)), str(SCRIPTS / script), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return f"no figure within {LIMIT_S} s"
    if done.returncode:
        return f"does not run: {_last_line(done.stderr)}"
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1][:100]
