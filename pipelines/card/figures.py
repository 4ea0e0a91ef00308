"""The figures of a card, as SVG that follows the page's colours, light and dark.

Written by hand, since a page of 1,833 languages has to appear in a tenth of a second, and every dot
says its language when it is pointed at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from pipelines.card.facts import Facts, LanguageFacts
from schemas.figures import amount
from schemas.manifest import Manifest

WIDTH, HEIGHT = 920, 330
LEFT, RIGHT, TOP, BOTTOM = 58, 84, 14, 34
FEW = 32  # languages that have room for their codes on an axis
NAMED = 9  # dots that are named where there are more


class LogScale:
    """Values to places between `start` and `end`, with a tick at each decade."""

    def __init__(self, values: Iterable[float], start: float, end: float) -> None:
        positive = [value for value in values if value > 0] or [1.0]
        low, high = math.log10(min(positive)), math.log10(max(positive))
        self.low, self.high = math.floor(low * 2) / 2, math.ceil(high * 2) / 2
        if self.high - self.low < 1:
            self.low, self.high = math.floor(low), math.floor(low) + 1
        if 10**self.high < max(positive):
            self.high += 1
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        if value <= 0:
            return self.start
        part = (math.log10(value) - self.low) / (self.high - self.low)
        return round(self.start + part * (self.end - self.start), 1)

    @property
    def ticks(self) -> list[float]:
        """Decades, thinned out; more of them where there are few."""
        decades = range(math.ceil(self.low), math.floor(self.high) + 1)
        step = max(1, round(len(decades) / 7))
        found = [10.0**d for d in decades if d % step == 0]
        if len(found) < 3:
            tens = range(math.floor(self.low), math.ceil(self.high) + 1)
            every = [m * 10.0**d for d in tens for m in (1, 2, 5)]
            found = [v for v in every if self.low - 1e-9 <= math.log10(v) <= self.high + 1e-9]
        return found


def mixture_figure(facts: Facts, beside: Sequence[Manifest]) -> str:
    """Tokens of each language, the most first, on a log scale; other phases as lines behind."""
    lines = [
        (other.phase, sorted((s.tokens for s in other.languages if s.tokens), reverse=True))
        for other in beside
    ]
    tokens = [language.share.tokens for language in facts.languages]
    most = max([len(tokens), *(len(line) for _, line in lines)])
    y = LogScale([*tokens, *(v for _, line in lines for v in line)], HEIGHT - BOTTOM, TOP)

    def x(rank: int) -> float:
        if most <= FEW:
            part = rank / max(1, most - 1)
        else:  # the first ranks need room, and so do phases of few languages
            part = math.log(rank + 1) / math.log(most)
        return round(LEFT + part * (WIDTH - LEFT - RIGHT), 1)

    parts = [_y_axis(y)]
    named: list[tuple[float, float, str]] = []
    for phase, line in lines:
        points = " ".join(f"{x(i)},{y(v)}" for i, v in enumerate(line))
        parts.append(f'<polyline class="other" points="{points}"/>')
        if line:
            place = round(len(line) ** 0.4)  # where lines lie apart, and the axis has room
            place = min(place, len(line) - 1)
            named.append((x(place), y(line[place]), phase))
    parts += [
        f'<circle cx="{x(i)}" cy="{y(one.share.tokens)}" r="{4 if most <= FEW else 2.4}">'
        f"<title>{_told(one)}</title></circle>"
        for i, one in enumerate(facts.languages)
    ]
    parts += _line_names(named)
    if most <= FEW:
        parts += [
            f'<text class="tick" x="{x(i)}" y="{HEIGHT - 12}" text-anchor="middle">'
            f"{escape(one.share.language)}</text>"
            for i, one in enumerate(facts.languages)
        ]
    else:
        parts += [
            f'<text class="tick" x="{x(rank)}" y="{HEIGHT - 12}" text-anchor="middle">'
            f"{rank + 1:,}</text>"
            for rank in (0, 1, 4, 9, 19, 49, 99, 199, 499, 999)
            if rank < most
        ]
        parts += _names([(x(i), y(one.share.tokens), one) for i, one in enumerate(facts.languages)])
    return _svg(parts, "Tokens of each language in this phase")


def epochs_figure(facts: Facts) -> str:
    """How often a language's text is read, by how much there is of it; both on a log scale."""
    shown = [one for one in facts.languages if one.share.epochs > 0 and one.share.tokens_available]
    x = LogScale([one.share.tokens_available for one in shown], LEFT, WIDTH - RIGHT)
    y = LogScale([*(one.share.epochs for one in shown), facts.most_epochs], HEIGHT - BOTTOM, TOP)
    cap = y(facts.most_epochs)
    parts = [
        _y_axis(y),
        f'<line class="cap" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{cap}" y2="{cap}"/>',
        f'<text class="tick" x="{WIDTH - RIGHT + 8}" y="{cap + 4}">the most: '
        f"{facts.most_epochs:.3g}</text>",
    ]
    parts += [
        f'<text class="tick" x="{x(tick)}" y="{HEIGHT - 12}" text-anchor="middle">'
        f"{amount(tick)}</text>"
        for tick in x.ticks
    ]
    radius = 4 if len(shown) <= FEW else 2.4
    places = [(x(one.share.tokens_available), y(one.share.epochs), one) for one in shown]
    parts += [
        f'<circle cx="{a}" cy="{b}" r="{radius}"><title>{_told(one)}</title></circle>'
        for a, b, one in places
    ]
    parts += _names(sorted(places, key=lambda place: place[0]))
    return _svg(parts, "Epochs of each language by the tokens that there are")


def _told(one: LanguageFacts) -> str:
    share = one.share
    return escape(
        f"{one.name} ({share.language}): {amount(share.tokens)} tokens of "
        f"{amount(share.tokens_available)}, {share.epochs:.3g} epochs"
    )


def _y_axis(y: LogScale) -> str:
    return "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick)}" y2="{y(tick)}"/>'
        f'<text class="tick" x="{LEFT - 10}" y="{y(tick) + 4}" text-anchor="end">'
        f"{amount(tick)}</text>"
        for tick in y.ticks
    )


def _names(places: Sequence[tuple[float, float, LanguageFacts]]) -> list[str]:
    """Names at some of the dots, none over another."""
    if not places:
        return []
    width = max(1.0, places[-1][0] - places[0][0])
    ends = [places[0][0] + i * width / (NAMED - 1) for i in range(NAMED)]
    wanted = {min(range(len(places)), key=lambda i: abs(places[i][0] - end)) for end in ends}
    taken: list[tuple[float, float, float]] = []
    found = []
    for i in sorted(wanted):
        a, b, one = places[i]
        half = 3.4 * len(one.name)
        middle, height = min(max(a, LEFT + half), WIDTH - half - 4), b - 9
        if height < TOP + 4:
            height = b + 18
        if any(abs(m - middle) < h + half + 6 and abs(v - height) < 14 for m, v, h in taken):
            continue
        taken.append((middle, height, half))
        found.append(
            f'<text class="name" x="{middle:.1f}" y="{height:.1f}" text-anchor="middle">'
            f"{escape(one.name)}</text>"
        )
    return found


def _line_names(places: Sequence[tuple[float, float, str]]) -> list[str]:
    """The names of the lines above them, moved apart."""
    found, last = [], -100.0
    for a, b, phase in sorted(places, key=lambda place: place[1]):
        last = max(b - 6, last + 13)
        found.append(f'<text class="phase" x="{a:.1f}" y="{last:.1f}">{escape(phase)}</text>')
    return found


def _svg(parts: Iterable[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )
