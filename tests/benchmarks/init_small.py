"""Does a small model learn faster from a larger one's weights than from random ones?

    base     384 channels, 6 heads, 4 layers, trained once
    small    192 channels, 3 heads, 4 layers, from random weights (mmBERT's initialisation) or from
             every second channel and whole heads of the base (trainer/convert/shrink.py), the
             matrices rescaled by 1 (none), 1.41 (sqrt) or 2 (linear)

All arms of a seed see the same packs, masks and learning rates; another seed is another order of
the same text, other random weights and other dropout. What is compared is the mean held-out bits
per byte of the languages, at the same tokens. The data is built and the steps are taken by the
project's own functions; only when it is scored is decided here. The recipe is init_small.toml.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from flows.job import Job
from flows.scores import HeldoutScore, read_events
from pipelines.build import build
from pipelines.build_plan import plan_build
from pipelines.describe import make_heldout, make_run
from pipelines.inventory import inventory, wanted
from pipelines.manifests import make_manifest
from pipelines.sample import write_sample
from pipelines.tokenizer import prepare
from schemas.errors import UserError
from schemas.profile import HERE
from schemas.recipe import ModelSettings, Recipe, Start
from schemas.seal import Seal
from schemas.store import Store
from schemas.stratum import Stratum
from tests.benchmarks.measure import Cell, Table
from tests.runs import alone
from trainer.heldout import evaluate
from trainer.learner import Learner, begin
from trainer.loop import advance, batches, rate_at, train, train_step
from trainer.optimiser import set_lr
from trainer.phase import Phase
from trainer.session import Session

Arm = Literal["random", "none", "sqrt", "linear"]

ARMS: tuple[Arm, ...] = ("random", "none", "sqrt", "linear")
NAMES: dict[Arm, str] = {
    "random": "random weights",
    "none": "base, as it is",
    "sqrt": "base, x 1.41 (sqrt)",
    "linear": "base, x 2 (linear)",
}
SEEDS = 1, 2, 3
POINTS = 0.05, 0.1, 0.2, 0.4, 0.7, 1.0  # of a small model's budget
LANGUAGES, MEGABYTES = 12, 6.0
SOURCES = "fineweb2", "dclm", "dolmino"
CORPUS = (  # real text is learned slowly: few languages, so that they show it
    'phases.base.languages=["rus", "deu", "fra", "spa"]',
    'phases.small.languages=["rus", "deu", "fra", "spa"]',
    "heldout.max_documents=5",
)
FULL_MEGABYTES = 30.0
FULL = (
    "phases.base.pool_tokens=3000000",
    "phases.base.budget_tokens=3000000",
    "phases.small.pool_tokens=3000000",
    "phases.small.budget_tokens=500000",
)


@dataclass(frozen=True)
class Curves:
    """Mean held-out bits per byte [seeds, points] of each arm, at so many tokens."""

    tokens: tuple[int, ...]
    bits: dict[Arm, np.ndarray]
    base_bits: float

    def at(self, arm: Arm, place: int) -> tuple[float, float]:
        """Mean over the seeds and its standard deviation."""
        found = self.bits[arm][:, place]
        return float(found.mean()), float(found.std(ddof=1))

    def lead(self, arm: Arm, place: int) -> tuple[float, float]:
        """How far below random weights of the same seed: mean, and standard deviation."""
        found = self.bits["random"][:, place] - self.bits[arm][:, place]
        return float(found.mean()), float(found.std(ddof=1))

    def tokens_to(self, arm: Arm, bits: float) -> float | None:
        """Tokens until the mean curve of an arm is down to `bits`; None if it never is."""
        mean = self.bits[arm].mean(0)
        for place, found in enumerate(mean):
            if found <= bits and place == 0:
                return float(self.tokens[0])
            if found <= bits:
                before, after = self.tokens[place - 1 : place + 1]
                part = (mean[place - 1] - bits) / (mean[place - 1] - found)
                return float(before + part * (after - before))
        return None


@dataclass(frozen=True)
class Text:
    """The text of all runs, built once."""

    recipe: Recipe
    store: Store
    seal: Seal
    strata: tuple[Stratum, ...]
    heldout: str  # URL


def run(full: bool = False, corpus: Path | None = None, plot: Path | None = None) -> list[Table]:
    """All arms on a sample, or on a `corpus` in the layout of one; `plot` gets the curves.

    Raises UserError for a corpus that is none.
    """
    with tempfile.TemporaryDirectory(prefix="mmbert-init-") as folder:
        curves = measure(_text(Path(folder), full, corpus))
    if plot is not None:
        from tests.benchmarks.init_small_plot import draw

        named = {NAMES[arm]: curves.bits[arm] for arm in ARMS}
        draw(curves.tokens, named, curves.base_bits, plot)
    return [_scores(curves), _savings(curves)]


def measure(text: Text) -> Curves:
    base, base_bits = _base(text)
    found: dict[Arm, list[list[float]]] = {arm: [] for arm in ARMS}
    tokens: tuple[int, ...] = ()
    for seed in SEEDS:
        for arm in ARMS:
            tokens, bits = _curve(text, base, seed, arm)
            found[arm].append(bits)
            _tell(f"seed {seed}, {arm}", bits)
    return Curves(tokens, {arm: np.array(rows) for arm, rows in found.items()}, base_bits)


def _text(folder: Path, full: bool, corpus: Path | None) -> Text:
    overrides = [*(FULL if full else ()), *(CORPUS if corpus else ())]
    if corpus is None:
        corpus = folder / "sample"
        write_sample(corpus, LANGUAGES, FULL_MEGABYTES if full else MEGABYTES)
    overrides += [f"sources.{name}.path={corpus / name}" for name in SOURCES]
    recipe = Job(recipe=str(Path(__file__).with_suffix(".toml")), overrides=tuple(overrides)).load()
    store = Store.at(str(folder / "store"))
    origins = wanted(recipe, inventory(recipe))
    seal = prepare(recipe, store, origins)
    strata = build(recipe, store, seal, plan_build(recipe, store, seal, origins), HERE)
    return Text(recipe, store, seal, strata, make_heldout(recipe, store, seal, strata)[1])


def _run_json(text: Text, phase: str, recipe: Recipe) -> Path:
    """A run of one phase; the recipe's seed orders its text."""
    _, manifest = make_manifest(recipe, phase, text.store, text.seal, text.strata)
    _, run_json = make_run(recipe, text.store, text.seal, text.heldout, {phase: manifest})
    return Path(run_json)


def _base(text: Text) -> tuple[Path, float]:
    """The trained base model, and its bits per byte."""
    small = text.recipe.model
    large = ModelSettings.model_validate(
        small.model_dump()
        | {"hidden_size": 2 * small.hidden_size, "num_heads": 2 * small.num_heads}
    )
    run_json = _run_json(text, "base", text.recipe.model_copy(update={"model": large}))
    with _session(run_json) as session:
        train(session, session.run.phases)
    log = read_events(run_json.with_name("log.jsonl"))
    bits = [score.macro for score in log if isinstance(score, HeldoutScore)]
    _tell("base", [figure for figure in bits if figure is not None])
    return run_json.parent / "models" / "base", bits[-1] or float("nan")


def _curve(text: Text, base: Path, seed: int, arm: Arm) -> tuple[tuple[int, ...], list[float]]:
    """Train one small model; (tokens of its scores, scores)."""
    start = None if arm == "random" else Start(model=str(base), rescale=arm)
    recipe = text.recipe.model_copy(update={"seed": seed, "start": start})
    run_json = _run_json(text, "small", recipe)
    with _session(run_json) as session:
        (phase,) = session.run.phases
        data = Phase(session.store.resolve(phase.manifest), session.store)
        budget = data.manifest.budget_tokens
        learner, point = begin(session, phase)
        tokens, bits = [0], [_bits(session, learner)]
        for batch in batches(session, phase, data, point):
            set_lr(learner.optimiser, rate_at(phase, batch.clock_tokens, budget))
            train_step(session, phase, data, learner, batch)
            point = advance(point, batch, data)
            if point.clock_tokens >= POINTS[len(bits) - 1] * budget * (1 - 1e-9):
                tokens.append(round(point.clock_tokens))
                bits.append(_bits(session, learner))
    return tuple(tokens), bits


@contextmanager
def _session(run_json: Path) -> Iterator[Session]:
    with alone(run_json) as session:
        # Ctrl-C ends a benchmark at once; a trainer would save a checkpoint first.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        yield session


def _bits(session: Session, learner: Learner) -> float:
    with session.autocast():
        found = evaluate(
            learner.model, learner.theta, session.text, session.token_bytes, session.ranks
        )
    if found.macro is None:
        raise UserError("the corpus holds too little text out for a figure: give a larger one")
    return found.macro


def _tell(name: str, bits: Sequence[float]) -> None:
    """A line while it runs: minutes pass between two."""
    told = ", ".join(f"{figure:.3f}" for figure in bits)
    print(f"  {name}: {told}", file=sys.stderr, flush=True)


def _scores(curves: Curves) -> Table:
    places = range(len(curves.tokens))
    rows: list[tuple[Cell, ...]] = [
        (NAMES[arm], *(_with_spread(*curves.at(arm, place)) for place in places)) for arm in ARMS
    ]
    rows.append(("lowest mean", *(winner(curves, place) for place in places)))
    return Table(
        "A small model from random weights and from a base one: held-out bits per byte",
        ("", *(f"{tokens:,} tokens" for tokens in curves.tokens)),
        tuple(rows),
        (
            f"Mean of the languages; mean and standard deviation over {len(SEEDS)} seeds. The base "
            f"model has {curves.base_bits:.3f}.",
        ),
    )


def _savings(curves: Curves) -> Table:
    end = len(curves.tokens) - 1
    goal = curves.at("random", end)[0]
    rows: list[tuple[Cell, ...]] = []
    for arm in ARMS[1:]:
        tokens = curves.tokens_to(arm, goal)
        won = int((curves.bits[arm][:, end] < curves.bits["random"][:, end]).sum())
        rows.append(
            (
                NAMES[arm],
                _with_spread(*curves.lead(arm, end)),
                f"{won} of {len(SEEDS)}",
                "never" if tokens is None else f"{tokens:,.0f}",
                "none" if tokens is None else f"{100 * (1 - tokens / curves.tokens[end]):.0f} %",
            )
        )
    return Table(
        f"What the start saves: random weights have {goal:.3f} after {curves.tokens[end]:,} tokens",
        ("", "bits below them at the end", "seeds ahead", "tokens to that", "saved"),
        tuple(rows),
        (f"Lowest at the end: {NAMES[winner(curves, end)]}.",),
    )


def winner(curves: Curves, place: int) -> Arm:
    """The arm with the lowest mean at a point."""
    return min(ARMS, key=lambda arm: curves.at(arm, place)[0])


def _with_spread(mean: float, deviation: float) -> str:
    return f"{mean:.3f} \u00b1 {deviation:.3f}"
