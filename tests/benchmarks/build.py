"""From raw text to shards, beside the tokenizer alone on the same text.

    python -m tests.benchmarks build [--corpus DIR] [--full] [--record]

    of the tokenizer    CPU-seconds of `encode_batch_fast` / CPU-seconds of the row
    of the peer         CPU-seconds of datatrove's DocumentTokenizer / CPU-seconds of the row

The build reads, filters, finds exact duplicates, tokenises and writes, with one worker and the
default filters; near-duplicates and identification are told apart. DocumentTokenizer is given the
documents in memory: it reads and filters nothing. All work on two parts of a corpus, and the rates
are those of the text that the large one has more: what is paid once (processes, imports, strata,
the first documents of a language) is told apart from what every byte costs.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

from datatrove.data import Document
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.utils.logging import logger

from pipelines import encode, prove
from pipelines import tokenizer as tokenizers
from pipelines.build import build
from pipelines.build_plan import plan_build
from pipelines.encode import Encoder, Truth
from pipelines.inventory import inventory
from pipelines.map import BATCH
from schemas.profile import Workers
from schemas.recipe import Recipe
from schemas.seal import Seal, seal_folder
from schemas.seal import load as load_seal
from schemas.store import Store, join
from schemas.text import FilterName
from tests.benchmarks import build_scale, build_text
from tests.benchmarks.build_parts import APART, costs, read, texts_of
from tests.benchmarks.measure import Table, cpu_of, cpu_s

CORPUS = Path("../shared/corpus")
ROUNDS = 2  # turn by turn; the least of each counts
ALONE, FAST = "tokenizers alone", "gigatoken alone"
PEER = "DocumentTokenizer, from memory"
BUILD, BUILD_FAST = "the build with tokenizers", "the build with gigatoken"
BUILD_ALL = "  and language, near_duplicate"

Costs = dict[str, float]  # CPU-seconds by name


@dataclass(frozen=True)
class Trained:
    store: Store
    seal: Seal

    @property
    def folder(self) -> str:
        return seal_folder(self.store.url, self.seal.digest)

    @property
    def tokenizer_json(self) -> bytes:
        return load_seal(self.folder)[1]


def run(full: bool = False, corpus: Path | None = None) -> Iterator[Table]:
    """Parts of 8 and 32 MB, or with `full` of 8 and 60; a sample where there is no corpus."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    logger.remove()
    corpus = corpus or (CORPUS if CORPUS.is_dir() else None)
    with tempfile.TemporaryDirectory(prefix="mmbert-bench-") as root:
        sizes = (8, 60) if full else (8, 32)
        recipes = [build_text.recipe(Path(root) / f"{mb}-mb", mb, corpus) for mb in sizes]
        store = Store.at(f"{root}/store")
        trained = Trained(store, tokenizers.prepare(recipes[1], store, inventory(recipes[1])))
        (few, small), (many, large) = (_measure(recipe, trained) for recipe in recipes)
        yield _table(few, small, many, large, corpus is not None)
        yield costs(recipes[1], many, large[ALONE])
        yield from build_scale.tables(recipes[1], trained.folder, Path(root), full)


def _measure(recipe: Recipe, trained: Trained) -> tuple[int, Costs]:
    """Bytes of text, and the least cost of each way to its tokens."""
    texts = texts_of(read(recipe))
    apart = [name for name in recipe.filters.use if name in APART]
    default = _filtered(recipe, [name for name in recipe.filters.use if name not in APART])
    whole = _filtered(recipe, [*default.filters.use, *(apart or APART)])
    ways = {
        ALONE: partial(_tokenise, Truth, trained, texts),
        FAST: partial(_tokenise, encode.Fast, trained, texts),
        PEER: partial(_document_tokenizer, trained, texts),
        BUILD: partial(_build, default, trained, False),
        BUILD_FAST: partial(_build, default, trained, True),
        BUILD_ALL: partial(_build, whole, trained, True),
    }
    best: dict[str, Costs] = {}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            steps = way()
            if name not in best or sum(steps.values()) < sum(best[name].values()):
                best[name] = steps
    cost: Costs = {}
    for name, steps in best.items():
        cost[name] = sum(steps.values())
        if name == BUILD_FAST:
            cost |= {what: s for what, s in steps.items() if what}
    return sum(len(text.encode()) for text in texts), cost


def _filtered(recipe: Recipe, use: list[FilterName]) -> Recipe:
    filters = recipe.filters.model_copy(update={"use": tuple(use)})
    return recipe.model_copy(update={"filters": filters})


def _tokenise(engine: type[Truth] | type[encode.Fast], trained: Trained, texts: list[str]) -> Costs:
    def work() -> None:
        encoder: Encoder = engine(trained.tokenizer_json)
        for first in range(0, len(texts), BATCH):
            encoder.encode(texts[first : first + BATCH])

    return {"": cpu_of(work)}


def _document_tokenizer(trained: Trained, texts: list[str]) -> Costs:
    documents = (Document(text=text, id=str(place)) for place, text in enumerate(texts))
    with tempfile.TemporaryDirectory() as folder:
        step = DocumentTokenizer(folder, join(trained.folder, "tokenizer.json"), seed=0)
        return {"": cpu_of(lambda: step.run(documents))}


def _build(recipe: Recipe, trained: Trained, fast: bool) -> Costs:
    """The cost of each step of a build into a new store."""
    ends: Costs = {}

    def progress(what: str, done: int, of: int) -> None:
        if done == of:
            ends[f"    {what}"] = cpu_s()

    with tempfile.TemporaryDirectory() as folder, _engine(fast):
        store = Store.at(folder)
        here = Path(seal_folder(store.url, trained.seal.digest))
        here.mkdir(parents=True)
        for file in Path(trained.folder).glob("*.json"):
            (here / file.name).symlink_to(file)
        begun = cpu_s()
        plan = plan_build(recipe, store, trained.seal, inventory(recipe))
        build(recipe, store, trained.seal, plan, Workers(workers=1), progress=progress)
    starts = [begun, *ends.values()]
    return {what: end - start for (what, end), start in zip(ends.items(), starts, strict=False)}


@contextmanager
def _engine(fast: bool) -> Iterator[None]:
    if fast:
        yield
        return
    with patch.object(prove, "find_fast", lambda _: None):
        yield


def _table(few: int, small: Costs, many: int, large: Costs, real: bool) -> Table:
    mb, more = (many - few) / 1e6, {name: large[name] - small[name] for name in large}

    def of(amount: float, name: str) -> float | str:
        return amount / more[name] if more[name] > 0 else ""  # less than two runs differ by

    return Table(
        f"Raw text to shards, {'a corpus' if real else 'a sample'}",
        (
            "",
            f"CPU-s of {few / 1e6:.0f} MB",
            f"of {many / 1e6:.0f} MB",
            "MB more a CPU-s",
            "of the tokenizer",
            "of the peer",
        ),
        tuple(
            (
                name,
                small[name],
                large[name],
                of(mb, name),
                of(more[ALONE], name),
                of(more[PEER], name),
            )
            for name in more
        ),
        (
            "Both parts are of the same languages. With gigatoken the first 32 documents of each,",
            "and then every 256th, are tokenised by both engines.",
        ),
    )
