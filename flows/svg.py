"""Plots as SVG, small enough for an artifact: one frame, one set of colours.

On a page of the viewer the colours are the page's, light and dark. In an artifact a plot is an
image that says everything itself, on a white ground: `image(svg)`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

WIDTH, HEIGHT = 920, 330
LEFT, RIGHT, TOP, BOTTOM = 64, 160, 30, 36
COLOURS = ("#4477c8", "#2a9d8f", "#d98032", "#b35a9f", "#7f9a2f", "#c8505a", "#7a6bd0", "#5b8a9a")

STYLE = """
text { font: 11.5px system-ui, sans-serif; fill: #6f7682; }
.grid { stroke: #e4e7ec; }
.title { font-size: 13px; font-weight: 600; fill: #2b3038; }
.name { fill: #2b3038; paint-order: stroke; stroke: #ffffff; stroke-width: 3px; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.thick { stroke-width: 3; }
.dots { fill: none; stroke: #4477c8; stroke-linecap: round; }
.before { fill: none; stroke: #b0b7c3; stroke-linecap: round; }
.was { fill: #99a1ae; } .now { fill: #4477c8; }
""".replace("\n", "")

Point = tuple[float, float]


def line(points: Iterable[Point], colour: str = "", kind: str = "line") -> str:
    """A line through places, a dash where there is but one; `kind` is its class."""
    places = list(points)
    if len(places) == 1:
        ((x, y),) = places
        places = [(x - 3, y), (x + 3, y)]
    told = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    stroke = f' stroke="{colour}"' if colour else ""
    return f'<polyline class="{kind}"{stroke} points="{told}"/>'


def dots(points: Iterable[Point], size: float, kind: str = "dots") -> str:
    """Dots at places, in one element: two thousand weigh 25 kB."""
    told = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points)
    return f'<path class="{kind}" stroke-width="{size:g}" d="{told}"/>'


def text(x: float, y: float, what: str, kind: str = "tick", anchor: str = "start") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(what)}</text>'
    )


def rules(ticks: Iterable[tuple[float, str]], right: float = WIDTH - RIGHT) -> str:
    """A faint line with its figure at each height."""
    return "".join(
        f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        + text(LEFT - 10, y + 4, what, anchor="end")
        for y, what in ticks
    )


def apart(places: Sequence[tuple[float, str, str]], gap: float = 14.0) -> list[str]:
    """Names (height, name, colour) at the right end of lines, none over another."""
    placed: list[float] = []
    for y, _, _ in sorted(places):
        placed.append(max(y + 4, placed[-1] + gap) if placed else y + 4)
    lowest = HEIGHT - BOTTOM + 4.0
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], lowest)
        lowest = placed[i] - gap
    return [
        f'<text class="name" x="{WIDTH - RIGHT + 10}" y="{y:.1f}">'
        f'<tspan fill="{colour}">● </tspan>{escape(name)}</text>'
        for y, (_, name, colour) in zip(placed, sorted(places), strict=True)
    ]


def svg(parts: Iterable[str], title: str, height: int = HEIGHT) -> str:
    return (
        f'<svg class="plot" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def image(drawn: str) -> str:
    """An address that holds the plot itself, so that a page needs nothing else to show it."""
    end = drawn.index(">") + 1
    ground = '<rect width="100%" height="100%" fill="#ffffff"/>'
    whole = f"{drawn[:end]}<style>{STYLE}</style>{ground}{drawn[end:]}"
    whole = whole.replace("<svg ", f'<svg width="{WIDTH}" ', 1)
    return "data:image/svg+xml;base64," + base64.b64encode(whole.encode()).decode()
