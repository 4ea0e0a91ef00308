"""A mixture as a picture: the share of each language, beside what it was before.

In: what each language gets, by its code. Out: SVG. Languages stand in the order of their shares
before, so that a change shows as a dot off the grey line; without a before, in their own order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from flows import svg
from pipelines.card.figures import LogScale
from schemas.language import language_name
from schemas.manifest import Manifest

FEW = 32  # languages that have room for their codes on the axis
END = svg.WIDTH - 30.0
NAMED = 9  # of more, so many are named


def shares(manifest: Manifest) -> dict[str, float]:
    """The part of the pool that each language gets."""
    return {share.language: share.weight for share in manifest.languages}


def mixture_plot(after: Mapping[str, float], before: Mapping[str, float] | None = None) -> str:
    """Parts of a whole by language code, on a log scale."""
    old = before or {}
    order = sorted(
        {**old, **after}, key=lambda code: (-old.get(code, 0.0), -after.get(code, 0.0), code)
    )
    y = LogScale([*after.values(), *old.values()], svg.HEIGHT - svg.BOTTOM, svg.TOP)
    width = END - svg.LEFT

    def x(rank: int) -> float:
        if len(order) <= FEW:
            return svg.LEFT + (rank + 0.5) * width / len(order)
        return svg.LEFT + math.log(rank + 1) / math.log(len(order)) * width

    def places(of: Mapping[str, float]) -> list[svg.Point]:
        return [(x(rank), y(of[c])) for rank, c in enumerate(order) if of.get(c, 0.0) > 0]

    size = 8.0 if len(order) <= FEW else 4.0
    parts = [svg.rules(((y(tick), _percent(tick)) for tick in y.ticks), END)]
    if before:
        parts += [svg.line(places(old), kind="before"), svg.dots(places(old), size, "before")]
        parts.append(svg.text(svg.LEFT, 16, "● before", "was"))
    parts.append(svg.dots(places(after), size))
    now = "● after" if before else "● share of the tokens"
    now += ", languages by rank" if len(order) > FEW else ""
    parts.append(svg.text(svg.LEFT + (70 if before else 0), 16, now, "now"))
    if len(order) <= FEW:
        parts += [
            svg.text(x(rank), svg.HEIGHT - 12, code, anchor="middle")
            for rank, code in enumerate(order)
        ]
    else:
        ranks = [r for r in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if r <= len(order)]
        parts += [
            svg.text(x(rank - 1), svg.HEIGHT - 12, f"{rank:,}", anchor="middle") for rank in ranks
        ]
        parts += _names(order, after, x, y)
    what = "Share of each language" + (", before and after" if before else "")
    return svg.svg(parts, what)


def _names(
    order: list[str],
    after: Mapping[str, float],
    x: Callable[[int], float],
    y: Callable[[float], float],
) -> list[str]:
    """Names of some languages, evenly along the axis, none over another."""
    ranks = {round(len(order) ** (i / (NAMED - 1))) - 1 for i in range(NAMED)}
    found, end = [], 0.0
    for rank in sorted(ranks):
        name, share = language_name(order[rank]), after.get(order[rank], 0.0)
        half = 3.4 * len(name)
        if share > 0 and end < x(rank) - half and x(rank) + half < svg.WIDTH:
            found.append(svg.text(x(rank), y(share) - 9, name, "name", "middle"))
            end = x(rank) + half + 6
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.6f}".rstrip("0").rstrip(".") + " %"
