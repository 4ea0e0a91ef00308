"""The text that `build` is measured on: a part of a real corpus where there is one, else a sample.

A corpus lies as `mmbert sample` writes one. The largest of its FineWeb2 languages are taken, and
one file each of DCLM and Dolmino; of every file as many of the first documents as make the size.
"""

from __future__ import annotations

import math
from pathlib import Path

import fsspec
import pyarrow.parquet as pq

from pipelines.sample import write_sample
from schemas.recipe import Recipe
from schemas.recipe_file import load_recipe

RECIPES = Path(__file__).parents[2] / "flows" / "recipes"
SOURCES = ("fineweb2", "dclm", "dolmino")
LANGUAGES = 24


def recipe(folder: Path, megabytes: int, corpus: Path | None) -> Recipe:
    """tiny over about so many MB of text; `folder` takes the text."""
    if corpus is None:
        write_sample(folder, LANGUAGES, megabytes)
        settings = ["tokenizer.train.sample_megabytes=2"]
    else:
        _copy(corpus, folder, megabytes)
        settings = ["tokenizer.train.sample_megabytes=4", "tokenizer.train.vocab_size=32768"]
    paths = [f"sources.{name}.path={folder / name}" for name in SOURCES]
    return load_recipe("tiny", [*paths, *settings], RECIPES)


def _copy(corpus: Path, folder: Path, megabytes: int) -> None:
    """The same files whatever the size, so that sizes differ in text alone: the first of each."""
    fineweb2 = corpus / "fineweb2"
    languages = sorted((fineweb2 / "data").iterdir(), key=lambda p: (-_size(p), p.name))[:LANGUAGES]
    tables = [file for language in languages for file in sorted(language.rglob("*.parquet"))]
    lines = [
        min(p for p in (corpus / name).rglob("*") if p.is_file()) for name in ("dclm", "dolmino")
    ]
    share = min(1.0, megabytes * 1e6 / 3 / sum(file.stat().st_size for file in [*tables, *lines]))
    for file in tables:
        table = pq.read_table(file)
        copy = _place(folder, corpus, file)
        pq.write_table(table.slice(0, math.ceil(share * table.num_rows)), copy)
    for file in lines:
        with fsspec.open(str(file), "rb", compression="infer") as opened:
            found = opened.read().splitlines(keepends=True)
        copy = _place(folder, corpus, file)
        with fsspec.open(str(copy), "wb", compression="infer") as opened:
            opened.write(b"".join(found[: math.ceil(share * len(found))]))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))


def _place(folder: Path, corpus: Path, file: Path) -> Path:
    copy = folder / file.relative_to(corpus)
    copy.parent.mkdir(parents=True, exist_ok=True)
    return copy
