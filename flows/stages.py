"""The stages of the cascade: each is one call into pipelines or the trainer, with a live line.

Without a server these are plain functions; on one, Prefect tasks (see flows/orchestrate.py). Each
finds in the store what it made before, by the id of its content, and then makes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flows.anew import begin, has_begun
from flows.console import console
from flows.job import Profile
from flows.live import bar
from flows.live_training import show_trained, show_training
from flows.orchestrate import task
from flows.scores import (
    Event,
    HeldoutScore,
    PhaseEvent,
    Step,
    TrainingWarning,
    read_events,
    score_table,
)
from flows.training_slot import training_slot
from schemas import run as runs
from schemas.errors import UserError
from schemas.figures import amount, duration, num_bytes
from schemas.ledger import UnreadableSpan, total
from schemas.manifest import Manifest
from schemas.recipe import RELEASE, Recipe
from schemas.run import Run
from schemas.seal import Seal, seal_folder
from schemas.store import Store, local_path
from schemas.stratum import HELDOUT, Stratum

if TYPE_CHECKING:
    from pipelines.inventory import Origin


@task("find the text of {recipe.name}")
def find_text(recipe: Recipe, store: Store) -> tuple[Origin, ...]:
    """The files that the recipe's phases read, and the strata imported for its sources."""
    from pipelines.imported import imported, require_imported
    from pipelines.inventory import inventory, wanted

    with console.stage("text") as stage:
        found = (*inventory(recipe), *imported(recipe, store))
        require_imported(recipe, store, found)
        origins = wanted(recipe, found)
        size = sum(origin.size_bytes for origin in origins)
        unread = len({o.code for o in found} - {o.code for o in origins})
        ready = sum(bool(origin.imported) for origin in origins)
        beside = f"; {ready} of them imported" if ready else ""
        beside += f"; {unread} languages are in no phase" if unread else ""
        stage.result = f"{len(origins)} origins, {num_bytes(size)} on disk{beside}"
    return origins


@task("text to learn a tokenizer from")
def text_to_learn(recipe: Recipe) -> tuple[Origin, ...]:
    """The files alone, which is all that a trained tokenizer depends on; none if it is read."""
    from pipelines.inventory import inventory, wanted_of

    return () if recipe.tokenizer.train is None else wanted_of(recipe, inventory(recipe))


@task("tokenizer")
def tokenizer(recipe: Recipe, store: Store, origins: Sequence[Origin]) -> Seal:
    """Read the recipe's tokenizer, or train it."""
    from pipelines.tokenizer import prepare

    with console.stage("tokenizer") as stage:
        seal = prepare(recipe, store, origins, stage.progress)
        stage.result = f"{seal.vocab_size:,} pieces, {seal.origin}, {seal.digest[:12]}"
    if recipe.start:  # a model of another tokenizer is refused before any text is built
        from trainer.start import require_fit

        require_fit(recipe.start, recipe.model, seal)
    return seal


class Built(NamedTuple):
    """The strata of a recipe, and how many of them a build has just made."""

    strata: tuple[Stratum, ...]
    num_new: int

    def __str__(self) -> str:
        if not self.num_new:
            return f"nothing new: all {len(self.strata):,} strata are in the store"
        return f"{self.num_new:,} strata built, {len(self.strata) - self.num_new:,} reused"


@task("build strata")
def build(
    recipe: Recipe, store: Store, seal: Seal, origins: Sequence[Origin], profile: Profile
) -> Built:
    """Read, filter, tokenise and shard whatever is not in the store yet."""
    from pipelines.build import build
    from pipelines.build_plan import plan_build
    from pipelines.prove import load_proofs, told

    with console.stage("strata") as stage, bar(recipe.name, "data", stage.progress) as progress:
        plan = plan_build(recipe, store, seal, origins)
        where = (profile.build, profile.beam)
        strata = build(recipe, store, seal, plan, *where, progress=progress)
        trained_on = [stratum for stratum in strata if stratum.name.tier != HELDOUT]
        found = total(stratum.ledger for stratum in strata)
        made = Built(strata, len(strata) - len(plan.reused))
        stage.result = (
            f"{made}; {found.kept:,} of {found.read:,} documents kept, "
            f"{amount(sum(s.tokens for s in trained_on))} tokens to train on"
        )
    if made.num_new:
        for line in told(load_proofs(seal_folder(store.url, seal.digest))):
            console.say(f"    {line}")
    for line in (*unreadable(strata), *kept_nothing(strata)):
        console.say(line)
    return made


def unreadable(strata: Sequence[Stratum], most: int = 6) -> Iterator[str]:
    """A line for each file of which something holds no record."""
    files: dict[str, list[UnreadableSpan]] = {}
    for stratum in strata:
        for span in stratum.ledger.unreadable:
            files.setdefault(f"{stratum.name.source}: {span.file}", []).append(span)
    for file, spans in list(files.items())[:most]:
        size = num_bytes(sum(span.length for span in spans))
        yield f"  ! {file}: {size} cannot be read ({spans[0].reason}); the rest is kept"
    if len(files) > most:
        yield f"  ! and {len(files) - most:,} files more; the ledgers of their strata name them"


def kept_nothing(strata: Sequence[Stratum]) -> Iterator[str]:
    """A line for each source of which no document was kept: mostly a mistake in its settings."""
    for source in sorted({stratum.name.source for stratum in strata}):
        found = total(s.ledger for s in strata if s.name.source == source)
        if found.read and not found.kept:
            why = ", ".join(f"{reason} {count:,}" for reason, count in found.dropped.items())
            yield f"  ! {source}: none of its {found.read:,} documents was kept ({why})"


@task("manifests")
def manifests(
    recipe: Recipe, store: Store, seal: Seal, strata: Sequence[Stratum]
) -> dict[str, tuple[Manifest, str]]:
    """Decide what each phase delivers: weights, targets, rows; and the URLs of the manifests.

    Nothing is published before all can be met.
    """
    from flows.data_cards import write_missing
    from pipelines.manifests import make_manifests

    with console.stage("mixtures") as stage:
        made = make_manifests(recipe, store, seal, strata)
        write_missing(made, strata)
        stage.result = f"{len(made)} manifests"
    for name, (manifest, _) in made.items():
        absent = f", {len(manifest.absent):,} absent" if manifest.absent else ""
        console.say(
            f"    {name:<10} {manifest.id[:12]}: {len(manifest.languages):,} languages{absent}, "
            f"{amount(manifest.budget_tokens)} tokens"
        )
    excluded: Counter[str] = Counter()
    for manifest, _ in made.values():
        for ref in manifest.exclusions:
            excluded |= Counter(ref.reasons)
    if excluded:
        told = ", ".join(f"{reason} {count:,}" for reason, count in excluded.most_common())
        console.say(f"    excluded of a mixture at most: {told}")
    return made


@task("run description")
def describe_run(
    recipe: Recipe,
    store: Store,
    seal: Seal,
    strata: Sequence[Stratum],
    manifests: dict[str, str],
    named: tuple[str, ...] = (),
) -> str:
    """Write held-out text and manifests down as one run; returns the URL of its run.json.

    `named`: phases whose manifests somebody chose, so that no segment goes on with them.
    """
    from pipelines.describe import make_heldout, make_run

    _, heldout_url = make_heldout(recipe, store, seal, strata)
    _, run_url = make_run(recipe, store, seal, heldout_url, manifests, named)
    return run_url


def train(run_url: str, phase: str | None, profile: Profile, fresh: bool) -> list[Event]:
    """Train the phases of a run, or what is left of them, in a slot for it; returns its log."""
    run_json = local_path(run_url)
    if run_json is None:
        raise UserError(f"{run_url}: training needs a store on a local disk; give --store FOLDER")
    if fresh and profile.train.hosts:
        raise UserError(
            "--fresh: each of several hosts would set the run aside; rename its folder "
            f"{run_json.parent} once, then start the hosts without --fresh"
        )
    fresh = fresh and not has_begun(run_json)
    if fresh or not runs.is_finished(run_json, phase):
        with training_slot(run_json):
            if fresh:
                begin(run_json)
            if not runs.is_finished(run_json, phase):  # by the run that this one waited for
                train_phases(run_json, phase, profile)
                return read_events(run_json.with_name("log.jsonl"))
    console.say(f"  = training   finished before: {run_json.parent}")
    log = read_events(run_json.with_name("log.jsonl"))
    show_trained(runs.load(run_url), run_url, log)
    return log


@task("train")
def train_phases(run_json: Path, phase: str | None, profile: Profile) -> None:
    """Train what is left of a run's phases, which `train` has a slot for."""
    from flows.training import TrainingError, train

    run = runs.load(str(run_json))
    wanted = [found for found in run.phases if phase in (None, found.name)]
    trained = runs.made_models(run_json.parent, run)
    budgets = {p.name: p.settings.budget_tokens for p in wanted if p.name not in trained}
    events: list[Event] = []
    warned: set[str] = set()
    with (
        console.stage("training") as stage,
        show_training(run, str(run_json), stage.progress) as shown,
    ):

        def watch(event: Event) -> None:
            events.append(event)
            shown.take(event)
            if isinstance(event, TrainingWarning) and event.text not in warned:
                warned.add(event.text)
                console.say(f"    {event.text}")
            if isinstance(event, Step) and event.phase in budgets:
                done = sum(list(budgets.values())[: list(budgets).index(event.phase)])
                done += event.tokens
                left = sum(budgets.values()) - done
                line = _line(event, left / max(1, budgets[event.phase] - event.tokens))
                shown.progress(line, done, sum(budgets.values()))
            elif isinstance(event, PhaseEvent) and event.phase == RELEASE:
                done = sum(budgets.values())
                shown.progress("the models are merged and scored", done, done)
            elif isinstance(event, PhaseEvent) and event.event == "start":
                shown.progress(f"{event.phase} begins", 0, 0)
            elif isinstance(event, HeldoutScore):
                table = score_table(events, most_rows=max(5, console.height - 12))
                if table is not None:
                    stage.table(table)

        train(run_json, phase, profile, watch)
        if not runs.is_finished(run_json, phase):
            raise TrainingError("training was stopped by a signal; run the same command to go on")
        stage.result = "; ".join(_made(run, budgets, released=phase is None))


def _made(run: Run, budgets: dict[str, int], released: bool) -> Iterator[str]:
    """What a training has come to: `budgets` are tokens of the phases that it trained."""
    if budgets:
        phases = "1 phase" if len(budgets) == 1 else f"{len(budgets)} phases"
        yield f"{amount(sum(budgets.values()))} tokens in {phases}"
    if released and run.release:
        yield f"{run.release.method} of {', '.join(run.release.phases)}"


def _line(step: Step, phases_left: float) -> str:
    """`phases_left` counts the tokens to come in those that this phase still has."""
    left = duration(round(step.eta_s * phases_left, -1))
    speed = f"{amount(step.tokens_per_s)} tokens/s"
    return f"{step.phase} step {step.step:,}, loss {step.loss:.3f}, {speed}, {left} left"
