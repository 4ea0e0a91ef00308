"""The bill: a plan in a few lines, before anything is spent; and what each language gets.

= reused    + new    ~ built or mixed before from something else, and what has changed
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from flows import cost
from flows.inputs import Missing
from flows.plan import Plan
from flows.supply import MANY
from schemas.figures import amount, num_bytes, taus
from schemas.language import NOT_NATURAL
from schemas.recipe import RELEASE

DONE = "  reused      = {}, mixed and trained"
TO_TRAIN = "  new         + training of {} (= manifest)"
TO_MIX = "  new         + manifest and training of {}"
GPU_FROM_HOURS = 24.0  # on this machine; a training that takes longer is told in GPU hours
GPUS = 8
WIDTH = 100
MOST_LANGUAGES = 10  # of a phase, as long as nobody asks for all
MOST_ABSENT = 120


def bill(plan: Plan) -> Iterator[str]:
    """What cannot be had comes first."""
    yield from _missing(plan)
    about = "" if plan.exact else "about "
    size = sum(supply.num_bytes for supply in plan.supplies)
    found = _languages({supply.code for supply in plan.supplies})
    yield f"  text        {found}, {about}{num_bytes(size)} on disk"
    if plan.unread:
        few = ", ".join([*sorted(plan.unread)[:6], *(["..."] if len(plan.unread) > 6 else [])])
        yield f"              and {len(plan.unread):,} that no phase names: {few}"
    shards = num_bytes(plan.tokens * cost.BYTES_PER_TOKEN)
    spills = "" if plan.exact else ", and as much again for spills while they are built"
    yield f"  tokens      {about}{amount(plan.tokens)}, {about}{shards} of shards{spills}"
    for phase in plan.phases:
        settings = plan.recipe.phases[phase.name]
        absent = f" ({len(phase.absent):,} absent)" if phase.absent else ""
        read = _languages({share.language for share in phase.languages})
        yield (
            f"  {phase.name:<11} {amount(phase.budget_tokens)} tokens of {read}{absent}, "
            f"context {settings.context:,}, mask {100 * settings.mask_rate:.0f} %, "
            f"tau {taus(settings.tau, settings.tau_end)}"
        )
        if phase.doubt:
            yield f"              may not be met: {phase.doubt}"
    yield from _work(plan)
    yield from _time(plan)


def listing(plan: Plan, every: bool = True) -> Iterator[str]:
    """What languages get, phase by phase: `every` one, or the first; a heading before each."""
    for phase in plan.phases:
        yield ""
        yield f"{phase.name}: what each language gets"
        shown = phase.languages if every else phase.languages[:MOST_LANGUAGES]
        for share in shown:
            yield (
                f"  {share.language:<6}{share.tokens:>19,} tokens{share.rows:>16,} rows"
                f"{share.epochs:>10.3f} epochs"
            )
        if len(phase.languages) > len(shown):
            yield f"  and {len(phase.languages) - len(shown):,} more: --all lists them"
        reasons: dict[str, list[str]] = {}
        for absence in phase.absent:
            reasons.setdefault(absence.reason, []).append(absence.language)
        for reason, absent in reasons.items():
            yield f"  absent: {reason}: {len(absent):,}"
            told = absent[:MOST_ABSENT]
            step = (WIDTH - 4) // len("abc ")
            for start in range(0, len(told), step):
                yield f"    {' '.join(told[start : start + step])}"
            if len(absent) > len(told):
                yield f"    and {len(absent) - len(told):,} more, which --json names"


def _languages(codes: set[str]) -> str:
    """`60 languages + code`."""
    others = sorted(codes & (NOT_NATURAL | {MANY[:3]}))
    return " + ".join([f"{len(codes) - len(others):,} languages", *others])


def _missing(plan: Plan) -> Iterator[str]:
    if not plan.missing:
        return
    yield f"  missing     {len(plan.missing)} inputs, which a build needs and this plan does not"
    alike: dict[tuple[str, str], list[Missing]] = {}
    for missing in plan.missing:
        remedy = missing.remedy.replace(missing.key, "KEY")
        alike.setdefault((missing.reason, remedy), []).append(missing)
    for (reason, remedy), group in alike.items():
        yield f"    {reason}: {remedy}"
        for missing in group:
            yield f"      {missing.key:<36}{missing.place}"
    published = {supply.source.split("/")[0] for supply in plan.supplies if supply.published}
    if published:
        formats = {plan.recipe.sources[name].format for name in published}
        fineweb2 = "FineWeb2 as v2.1 publishes its words, 3 tokens each; " * ("fineweb2" in formats)
        yield f"  sizes       of these as published: {fineweb2}the rest as the recipe says it"
        many = sorted({s.source for s in plan.supplies if s.language == MANY})
        if many:
            yield f"              ({MANY[:3]}: the languages of {', '.join(many)}, told as one sum)"


def _work(plan: Plan) -> Iterator[str]:
    if plan.build is None:
        num_origins = len({(s.source, s.language) for s in plan.supplies}) - plan.retokenised
        tokenizer = "tokenizer, " if plan.recipe.tokenizer.train else ""
        yield f"  new         + {tokenizer}strata of {num_origins:,} origins"
        if plan.retokenised:
            yield (
                f"  rebuilt     ~ all strata of {plan.retokenised} origins: the text that the "
                "tokenizer learns from changed; keep it with tokenizer.path"
            )
    else:
        if plan.build.reused:
            yield f"  reused      = tokenizer, {len(plan.build.reused):,} strata"
        num_new = sum(len(origin.strata) for origin in plan.build.to_build) - len(plan.changed)
        if num_new:
            yield f"  new         + {num_new:,} strata, {num_bytes(plan.num_bytes)} to read"
        for why, count in Counter(plan.changed.values()).items():
            yield f"  rebuilt     ~ {count:,} strata ({why} changed)"
    for phase, why in plan.remixed.items():
        yield f"  remixed     ~ {phase} ({why})"
    states: dict[str, list[str]] = {}
    for phase in plan.recipe.phases:
        mixed = phase in plan.mixed
        state = DONE if phase in plan.done else TO_TRAIN if mixed else TO_MIX
        states.setdefault(state, []).append(phase)
    for state, phases in states.items():
        yield state.format(", ".join(phases))
    if plan.recipe.release:
        method = f"release, {plan.recipe.release.method} of {', '.join(plan.recipe.release.phases)}"
        made = RELEASE in plan.done
        yield f"  reused      = {method}" if made else f"  new         + {method}"


def _time(plan: Plan) -> Iterator[str]:
    if plan.trained:
        yield "  time        none: everything is there"
        return
    hours = plan.seconds / 3600
    if hours < GPU_FROM_HOURS:
        yield f"  time        about {max(1, round(plan.seconds / 60)):,} min"
        return
    if plan.num_bytes:
        yield f"  build       about {cost.build_seconds(plan.num_bytes) / 3600:,.0f} core hours"
    gpu_hours = cost.gpu_hours(plan.operations)
    yield (
        f"  training    about {gpu_hours:,.0f} GPU hours ({gpu_hours / 24 / GPUS:.1f} days on "
        f"{GPUS}): {plan.operations:.2g} operations at {100 * cost.MFU:.0f} % of an {cost.GPU}'s "
        f"{cost.gpu_peak_per_s() / 1e12:.0f} TFLOP/s in bfloat16"
    )
