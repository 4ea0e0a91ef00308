"""From raw text to shards, beside the tokenizer alone on the same text.

    ratio = CPU-seconds of `encode_batch_fast` / CPU-seconds of the build

The build reads, filters, finds exact duplicates, tokenises and writes, with one worker and the
default filters. datatrove's DocumentTokenizer is given the documents in memory: it reads and
filters nothing. All work on two samples, and the rates are those of the text that the large one has
more: what starts once (processes, imports, strata) is told apart from what every byte costs.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.utils.logging import logger

from pipelines import tokenizer as tokenizers
from pipelines.build import build
from pipelines.build_plan import plan_build
from pipelines.inventory import inventory
from pipelines.map import BATCH
from pipelines.sample import write_sample
from schemas.profile import Workers
from schemas.recipe import Recipe
from schemas.recipe_file import load_recipe
from schemas.seal import Seal, seal_folder
from schemas.store import Store, join
from tests.benchmarks.build_parts import costs, read, texts_of
from tests.benchmarks.measure import Table, cpu_of, cpu_s

RECIPES = Path(__file__).parents[2] / "flows" / "recipes"
LANGUAGES = 24
ROUNDS = 2  # turn by turn; the least of each counts
ALONE, PEER, BUILD = "tokenizer alone", "DocumentTokenizer, from memory", "the build"

Costs = dict[str, float]  # CPU-seconds by name


@dataclass(frozen=True)
class Trained:
    store: Store
    seal: Seal

    @property
    def folder(self) -> str:
        return seal_folder(self.store.url, self.seal.digest)


def run(full: bool = False) -> list[Table]:
    """Samples of 2 and 12 MB, or with `full` of 4 and 48."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    logger.remove()
    with tempfile.TemporaryDirectory(prefix="mmbert-bench-") as root:
        recipes = [_recipe(Path(root) / f"{mb}-mb", mb) for mb in ((4, 48) if full else (2, 12))]
        store = Store.at(f"{root}/store")
        trained = Trained(store, tokenizers.prepare(recipes[0], store, inventory(recipes[0])))
        (few, small), (many, large) = (_measure(recipe, trained) for recipe in recipes)
        return [_table(few, small, many, large), costs(recipes[1], many, large[ALONE])]


def _recipe(folder: Path, megabytes: int) -> Recipe:
    write_sample(folder, LANGUAGES, megabytes)
    paths = [f"sources.{name}.path={folder / name}" for name in ("fineweb2", "dclm", "dolmino")]
    return load_recipe("tiny", [*paths, "tokenizer.train.sample_megabytes=2"], RECIPES)


def _measure(recipe: Recipe, trained: Trained) -> tuple[int, Costs]:
    """Bytes of text, and the least cost of each way to its tokens."""
    texts = texts_of(read(recipe))
    alone, peer, built = [], [], []
    for _ in range(ROUNDS):
        alone.append(cpu_of(partial(_tokenise, trained, texts)))
        with tempfile.TemporaryDirectory() as folder:
            peer.append(cpu_of(partial(_document_tokenizer, folder, trained, texts)))
            built.append(_build(recipe, Path(folder) / "store", trained))
    best = min(built, key=lambda steps: sum(steps.values()))
    cost = {ALONE: min(alone), PEER: min(peer), BUILD: sum(best.values())}
    return sum(len(text.encode()) for text in texts), cost | best


def _tokenise(trained: Trained, texts: list[str]) -> None:
    tokenizer = tokenizers.load(trained.store, trained.seal)
    for first in range(0, len(texts), BATCH):
        tokenizer.encode_batch_fast(texts[first : first + BATCH], add_special_tokens=False)


def _document_tokenizer(folder: str, trained: Trained, texts: list[str]) -> None:
    documents = (Document(text=text, id=str(place)) for place, text in enumerate(texts))
    step = DocumentTokenizer(f"{folder}/peer", join(trained.folder, "tokenizer.json"), seed=0)
    step.run(documents)


def _build(recipe: Recipe, folder: Path, trained: Trained) -> Costs:
    """The cost of each step of a build into a new store."""
    store = Store.at(str(folder))
    here = Path(seal_folder(store.url, trained.seal.digest))
    here.parent.mkdir(parents=True)
    here.symlink_to(trained.folder)
    ends: Costs = {}

    def progress(what: str, done: int, of: int) -> None:
        if done == of:
            ends[f"  {what}"] = cpu_s()

    begun = cpu_s()
    plan = plan_build(recipe, store, trained.seal, inventory(recipe))
    build(recipe, store, trained.seal, plan, Workers(workers=1), progress=progress)
    starts = [begun, *ends.values()]
    return {what: end - start for (what, end), start in zip(ends.items(), starts, strict=False)}


def _table(few: int, small: Costs, many: int, large: Costs) -> Table:
    mb, more = (many - few) / 1e6, {name: large[name] - small[name] for name in large}
    return Table(
        f"Raw text to shards, {LANGUAGES} languages",
        (
            "",
            f"CPU-s of {few / 1e6:.0f} MB",
            f"of {many / 1e6:.0f} MB",
            "MB more a CPU-s",
            "of the tokenizer's rate",
        ),
        tuple(
            (name, small[name], large[name], mb / more[name], more[ALONE] / more[name])
            for name in large
        ),
        ("The vocabulary is tiny's 8,192: a larger one tokenises more slowly.",),
    )
