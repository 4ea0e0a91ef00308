"""What reading, each filter and each hash cost, alone over all documents of a sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import xxhash

from pipelines.filters import screen
from pipelines.inventory import inventory
from pipelines.near import group_hash
from pipelines.read import READERS
from pipelines.record import FileRead, Record
from schemas.recipe import Recipe
from schemas.text import Filters
from tests.benchmarks.measure import Table, cpu_of

Labelled = tuple[str, Record]  # of a language label

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
    for name in recipe.filters.use:
        filters = recipe.filters.model_copy(update={"use": (name,)})
        parts[f"filter {name}"] = _least(partial(_screen, records, filters)) - calling
    parts["hash for exact duplicates"] = _least(
        lambda: cpu_of(lambda: [xxhash.xxh3_128_digest(text.encode()) for text in texts])
    )
    parts["hash for near-duplicate groups"] = _least(
        lambda: cpu_of(lambda: [group_hash(0, text) for text in texts])
    )
    return Table(
        "What the parts cost, each alone over all documents",
        ("", "CPU-s", "us a document", "MB a CPU-s", "of the tokenizer's cost"),
        tuple(
            (name, cost, 1e6 * cost / len(texts), num_bytes / 1e6 / cost, cost / tokenizer_s)
            for name, cost in ((name, max(cost, 1e-6)) for name, cost in parts.items())
        ),
        ("Near-duplicate groups are hashed only where a source ships no test split.",),
    )


def _least(measure: Callable[[], float]) -> float:
    # The first round compiles patterns and fills caches.
    return min(measure() for _ in range(ROUNDS))


def _screen(records: list[Labelled], filters: Filters) -> float:
    fresh = [(label, replace(record)) for label, record in records if record.reason is None]

    def work() -> None:
        for label, record in fresh:
            screen(record, filters, label, None)

    return cpu_of(work)
