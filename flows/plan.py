"""The plan: what a recipe would reuse, build and deliver, before any of it is done.

Once all strata exist it is exact: the very manifests that `mmbert data` would publish. Before, the
same arithmetic runs over estimates, TOKENS_PER_BYTE tokens for each byte on disk, and says so.

    tokens ~ bytes on disk * TOKENS_PER_BYTE              (within a factor of two)
    time   ~ bytes / BUILD_BYTES_PER_S + tokens * operations of a token / OPERATIONS_PER_S
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flows.console import amount, duration
from flows.job import Job, Profile
from flows.stages import is_finished
from pipelines.build import BuildPlan, plan_build
from pipelines.describe import make_heldout, make_run
from pipelines.inventory import Origin, in_group, inventory, phase_codes, read_by, share_key, wanted
from pipelines.manifests import MULTILINGUAL, Part, make_manifest, share_out
from pipelines.tokenizer import prepare
from schemas.digest import Json
from schemas.errors import UserError
from schemas.ledger import Ledger
from schemas.manifest import Absence
from schemas.recipe import ModelSettings, Phase, Recipe
from schemas.rows import RowCount
from schemas.seal import Seal
from schemas.store import Store, exists, join, local_path
from schemas.stratum import Stratum, StratumName

TOKENS_PER_BYTE = 0.7  # of compressed Parquet or JSON; FineWeb2 has 2.6 bytes of text in one
TOKENS_PER_DOCUMENT = 500
BYTES_PER_TOKEN = 4  # of a shard
BUILD_BYTES_PER_S = 0.25e6  # on disk, one process
OPERATIONS_PER_S = 30e9  # floating-point, one core


@dataclass(frozen=True)
class LanguagePlan:
    language: str
    tokens: int
    rows: int
    epochs: float


@dataclass(frozen=True)
class PhasePlan:
    name: str
    pool_tokens: int
    budget_tokens: int
    languages: tuple[LanguagePlan, ...]
    absent: tuple[Absence, ...]
    doubt: str = ""  # an estimate that cannot be met


@dataclass(frozen=True)
class Plan:
    recipe: Recipe
    origins: tuple[Origin, ...]
    build: BuildPlan | None  # None before there is a tokenizer
    phases: tuple[PhasePlan, ...]
    exact: bool
    run_url: str | None  # known once exact
    trained: bool
    seconds: float

    def public(self) -> dict[str, Json]:
        """The object that --json prints; `estimated` says that strata are still to be built."""
        phases: list[Json] = [
            {
                "name": phase.name,
                "pool_tokens": phase.pool_tokens,
                "budget_tokens": phase.budget_tokens,
                "languages": [dict(vars(language)) for language in phase.languages],
                "absent": [absence.model_dump() for absence in phase.absent],
            }
            for phase in self.phases
        ]
        return {"recipe": self.recipe.name, "estimated": not self.exact, "phases": phases}


def make_plan(job: Job) -> Plan:
    """UserError for whatever of the recipe and its inputs is wrong already."""
    recipe, store = job.load(), job.at()
    origins = wanted(recipe, inventory(recipe))
    seal = _tokenizer(recipe, store, origins)
    recipe = job.chosen(recipe)
    origins = wanted(recipe, origins)
    build = plan_build(recipe, store, seal, origins) if seal else None
    if seal is None or build is None or build.to_build:
        phases = tuple(_estimated(recipe, name, origins) for name in recipe.phases)
        seconds = _seconds(recipe, origins, build, job.profile)
        return Plan(recipe, origins, build, phases, False, None, False, seconds)

    strata = build.reused
    made = {name: make_manifest(recipe, name, store, seal, strata) for name in recipe.phases}
    phases = tuple(
        PhasePlan(
            name,
            manifest.pool_tokens,
            manifest.budget_tokens,
            tuple(LanguagePlan(s.language, s.tokens, s.rows, s.epochs) for s in manifest.languages),
            manifest.absent,
        )
        for name, (manifest, _) in made.items()
    )
    _, heldout_url = make_heldout(recipe, store, seal, strata)
    urls = {name: url for name, (_, url) in made.items()}
    _, run_url = make_run(recipe, store, seal, heldout_url, urls)
    run_json = local_path(run_url)
    trained = run_json is not None and is_finished(run_json)
    seconds = 0.0 if trained else _seconds(recipe, origins, build, job.profile)
    return Plan(recipe, origins, build, phases, True, run_url, trained, seconds)


def bill(plan: Plan) -> Iterator[str]:
    """The plan in a few lines."""
    about = "" if plan.exact else "about "
    languages = {origin.code for origin in plan.origins}
    size = sum(origin.size_bytes for origin in plan.origins)
    yield f"  text        {len(languages)} languages, {amount(size)}B on disk"
    tokens = size * TOKENS_PER_BYTE
    if plan.exact and plan.build:
        tokens = sum(stratum.tokens for stratum in plan.build.reused)
    disk = tokens * BYTES_PER_TOKEN
    yield f"  tokens      {about}{amount(tokens)}, {about}{amount(disk)}B of shards"
    for phase in plan.phases:
        settings = plan.recipe.phases[phase.name]
        absent = f" ({len(phase.absent)} absent)" if phase.absent else ""
        yield (
            f"  {phase.name:<11} {amount(phase.budget_tokens)} tokens of "
            f"{len(phase.languages)} languages{absent}, context {settings.context:,}, "
            f"mask {100 * settings.mask_rate:.0f} %, tau {settings.tau}"
        )
        if phase.doubt:
            yield f"              may not be met: {phase.doubt}"
    if plan.build is None:
        yield f"  + tokenizer, {len(plan.origins)} origins, {len(plan.phases)} manifests, training"
    else:
        to_build = len(plan.build.to_build)
        yield f"  = {len(plan.build.reused)} strata reused"
        if to_build:
            yield f"  + {to_build} origins to build, {amount(plan.build.num_bytes)}B"
        yield "  = trained" if plan.trained else "  + training"
    if plan.seconds:
        yield f"  time        about {duration(plan.seconds)}"
    else:
        yield "  time        seconds: all of it is there"


def _tokenizer(recipe: Recipe, store: Store, origins: Sequence[Origin]) -> Seal | None:
    """The sealed tokenizer if there is one."""
    if recipe.tokenizer.train and not exists(join(store.url, "tokenizers")):
        return None
    return prepare(recipe, store, origins)


def _estimated(recipe: Recipe, name: str, origins: Sequence[Origin]) -> PhasePlan:
    """A phase over estimates, by the arithmetic of the manifests."""
    phase = recipe.phases[name]
    parts = [_part(phase, origin) for origin in read_by(name, phase, origins)]
    parts = [part for part in parts if part.count.tokens]
    present = {part.stratum.name.code for part in parts}
    group = {origin.code for origin in origins if in_group(phase, origin.source)}
    absent = tuple(
        Absence(language=code, reason="no source has it")
        for code in sorted(phase_codes(name, phase, group) - present)
    )
    try:
        targets = share_out(phase, f"phases.{name}", parts)
    except UserError as error:
        return PhasePlan(name, phase.pool_tokens, phase.budget_tokens, (), absent, str(error))
    times = phase.budget_tokens / phase.pool_tokens
    tokens: dict[str, int] = {}
    there: dict[str, int] = {}
    for part, target in zip(parts, targets, strict=True):
        code = part.stratum.name.code
        tokens[code] = tokens.get(code, 0) + round(target * times)
        there[code] = there.get(code, 0) + part.count.tokens
    languages = tuple(
        LanguagePlan(code, n, _rows(n, phase.context), n / there[code])
        for code, n in sorted(tokens.items(), key=lambda item: (-item[1], item[0]))
    )
    return PhasePlan(name, phase.pool_tokens, phase.budget_tokens, languages, absent)


def _part(phase: Phase, origin: Origin) -> Part:
    size = sum(file.size_bytes for file in origin.files if file.split == "train")
    tokens = round(size * TOKENS_PER_BYTE)
    stratum = Stratum(
        id="",
        name=StratumName(source=origin.source, language=origin.language),
        tokenizer="",
        vocab_size=0,
        ledger=Ledger(read=0, kept=0),
        shards=(),
        made_from={},
    )
    key = share_key(phase, origin.source) or MULTILINGUAL
    return Part(stratum, key, (RowCount(_rows(tokens, phase.context), tokens, 0),))


def _rows(tokens: int, context: int) -> int:
    return -(-tokens // min(context, TOKENS_PER_DOCUMENT))


def _seconds(
    recipe: Recipe, origins: Sequence[Origin], build: BuildPlan | None, profile: Profile
) -> float:
    size = sum(o.size_bytes for o in origins) if build is None else build.num_bytes
    vocab_size = recipe.tokenizer.train.vocab_size if recipe.tokenizer.train else 256_000
    operations = sum(
        phase.budget_tokens * operations_per_token(recipe.model, vocab_size, phase)
        for phase in recipe.phases.values()
    )
    cores = profile.nproc * profile.num_threads
    return size / BUILD_BYTES_PER_S / profile.num_workers + operations / OPERATIONS_PER_S / cores


def operations_per_token(model: ModelSettings, vocab_size: int, phase: Phase) -> float:
    """Floating-point operations of a token in training: 6 for each weight that it meets."""
    hidden = model.hidden_size
    layer = 4 * hidden**2 + 3 * hidden * model.intermediate_size
    head = phase.mask_rate * (hidden**2 + hidden * vocab_size)  # only masked tokens reach it
    seen = phase.context / 2 / model.global_every + model.local_window
    attention = 2 * hidden * seen
    return 6 * (model.num_layers * (layer + attention) + head)
