"""What reading, each filter and each hash cost, alone over all documents of a corpus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import get_args

import xxhash

from pipelines.filters import screen
from pipelines.identify import LanguageProfile
from pipelines.inventory import inventory
from pipelines.near import bands, group_hash, shingles
from pipelines.read import READERS
from pipelines.record import FileRead, Record
from pipelines.screen import HEAD
from schemas.recipe import Recipe
from schemas.text import FilterName, Filters
from tests.benchmarks.measure import Table, cpu_of

Labelled = tuple[str, Record]  # of a language label

APART: tuple[FilterName, ...] = ("language", "near_duplicate")  # off unless a recipe asks
ROUNDS = 3


def read(recipe: Recipe) -> list[Labelled]:
    """Every record of a recipe's sources."""
    return [
        (origin.language, record)
        for origin in inventory(recipe)
        for file in origin.files
        for record in READERS[recipe.sources[origin.source.split("/")[0]].format](file, FileRead())
    ]


def texts_of(records: list[Labelled]) -> list[str]:
    return [record.text for _, record in records if record.text is not None]


def costs(recipe: Recipe, num_bytes: int, tokenizer_s: float) -> Table:
    """`tokenizer_s`: CPU-seconds that the tokenizer needs for the same `num_bytes`."""
    records = read(recipe)
    texts = texts_of(records)
    calling = _screen(records, Filters(use=()))
    parts = {"read and parse": _least(lambda: cpu_of(lambda: read(recipe)))}
    for name in get_args(FilterName):
        if name not in APART:
            filters = recipe.filters.model_copy(update={"use": (name,)})
            parts[f"filter {name}"] = _least(partial(_screen, records, filters)) - calling
    parts["hash for exact duplicates"] = _least(
        lambda: cpu_of(lambda: [xxhash.xxh3_128_digest(text.encode()) for text in texts])
    )
    parts["hash for the held-out split"] = cpu_of(
        lambda: [group_hash(0, shingles(text)) for text in texts]
    )
    whole = sum(max(cost, 0) for cost in parts.values())
    parts["apart: filter language"] = cpu_of(lambda: _identify(records))
    parts["apart: filter near_duplicate"] = cpu_of(
        lambda: [bands(0, shingles(text)) for text in texts]
    )
    return Table(
        "What the parts cost, each alone over all documents",
        ("", "CPU-s", "CPU-s of 100 MB", "share", "us a document", "of the tokenizer's cost"),
        tuple(
            (
                name,
                cost,
                1e8 * cost / num_bytes,
                f"{100 * cost / whole:.0f} %",
                1e6 * cost / len(texts),
                cost / tokenizer_s,
            )
            for name, cost in ((name, max(cost, 1e-6)) for name, cost in parts.items())
        ),
        (
            "Shares are of reading, default filters and hashes; the tokenizer is `tokenizers`.",
            "What is held out is hashed only where a source ships no test split.",
        ),
    )


def _identify(records: list[Labelled]) -> None:
    """Learn what each language is like from its head, and compare each document with it."""
    by_label: dict[str, list[Record]] = {}
    for label, record in records:
        if record.text:
            by_label.setdefault(label, []).append(record)
    for found in by_label.values():
        head = ((record.number, record.text or "") for record in found[:HEAD])
        profile = LanguageProfile(head)
        for record in found:
            profile.distance(record.number, record.text or "")


def _least(measure: Callable[[], float]) -> float:
    # The first round compiles patterns and fills caches.
    return min(measure() for _ in range(ROUNDS))


def _screen(records: list[Labelled], filters: Filters) -> float:
    fresh = [(label, replace(record)) for label, record in records if record.reason is None]

    def work() -> None:
        for label, record in fresh:
            screen(record, filters, label, None)

    return cpu_of(work)
