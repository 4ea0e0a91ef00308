"""The text that `build` is measured on: a part of a real corpus where there is one, else a sample.

A corpus lies as `mmbert sample` writes one. Its FineWeb2 languages are taken in a fixed mixed order
until their files come to the wanted size; DCLM and Dolmino give one file each.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from pipelines.sample import write_sample
from schemas.recipe import Recipe
from schemas.recipe_file import load_recipe

RECIPES = Path(__file__).parents[2] / "flows" / "recipes"
SOURCES = ("fineweb2", "dclm", "dolmino")
LANGUAGES = 24  # of the sample
LEAST = 50_000  # bytes of a language's files


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
    left = megabytes * 1e6 / 3  # Parquet is a third of its text
    languages = [p for p in (corpus / "fineweb2" / "data").iterdir() if _size(p) > LEAST]
    for language in sorted(languages, key=lambda p: hashlib.sha256(p.name.encode()).digest()):
        if left < 0:
            break
        left -= _size(language)
        for file in language.rglob("*.parquet"):
            _put(folder / "fineweb2" / file.relative_to(corpus / "fineweb2"), file)
    for name in ("dclm", "dolmino"):
        file = min(p for p in (corpus / name).rglob("*") if p.is_file())
        _put(folder / name / file.relative_to(corpus / name), file)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))


def _put(copy: Path, file: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, copy)
