"""The bill: a plan in a few lines, before anything is spent.

= reused    + new    ~ built before from something else, and what has changed
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from flows.console import amount
from flows.estimate import TOKENS_PER_BYTE
from flows.plan import Plan

BYTES_PER_TOKEN = 4  # of a shard


def bill(plan: Plan) -> Iterator[str]:
    about = "" if plan.exact else "about "
    size = sum(origin.size_bytes for origin in plan.origins)
    yield f"  text        {len({o.code for o in plan.origins})} languages, {amount(size)}B on disk"
    if plan.unread:
        codes = ", ".join([*sorted(plan.unread)[:6], *(["..."] if len(plan.unread) > 6 else [])])
        yield f"              and {len(plan.unread)} languages that no phase names: {codes}"
    tokens = size * TOKENS_PER_BYTE
    if plan.exact and plan.build:
        tokens = sum(stratum.tokens for stratum in plan.build.reused)
    disk = f"{about}{amount(tokens * BYTES_PER_TOKEN)}B of shards"
    yield f"  tokens      {about}{amount(tokens)}, {disk}"
    for phase in plan.phases:
        settings = plan.recipe.phases[phase.name]
        absent = f" ({len(phase.absent):,} absent)" if phase.absent else ""
        yield (
            f"  {phase.name:<11} {amount(phase.budget_tokens)} tokens of "
            f"{len(phase.languages):,} languages{absent}, context {settings.context:,}, "
            f"mask {100 * settings.mask_rate:.0f} %, tau {settings.tau}"
        )
        if phase.doubt:
            yield f"              may not be met: {phase.doubt}"
    yield from _work(plan)
    if plan.trained:
        yield "  time        none: everything is there"
    else:
        yield f"  time        about {max(1, round(plan.seconds / 60)):,} min"


def _work(plan: Plan) -> Iterator[str]:
    if plan.build is None:
        yield f"  new         + tokenizer, strata of {len(plan.origins) - plan.retokenised} origins"
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
            yield f"  new         + {num_new:,} strata, {amount(plan.build.num_bytes)}B to read"
        for why, count in Counter(plan.changed.values()).items():
            yield f"  rebuilt     ~ {count:,} strata ({why} changed)"
    for phase in plan.recipe.phases:
        yield (
            f"  reused      = {phase}, trained"
            if phase in plan.done
            else f"  new         + {phase}"
        )
