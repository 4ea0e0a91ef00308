"""The curves of a run that is still being trained: loss, and held-out scores by language.

In: run.json and the story that its log tells so far. Out: SVG, drawn in milliseconds. A phase has
its colour; branches from one checkpoint lie above each other. Segments of the axis are as wide as
the square root of their tokens, as in the report that is drawn when a phase ends.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping

from flows import svg
from flows.scores import HeldoutScore
from flows.story import Series, Story
from schemas.figures import amount, bits
from schemas.language import language_name
from schemas.recipe import RELEASE
from schemas.run import Run

MOST_LANGUAGES = 8
LONGEST = 14  # letters of a language that have room beside the curves
MEAN = "mean of languages"
AXIS = "Segments of the axis are as wide as the square root of their tokens."


class Tokens:
    """Places on the axis of tokens."""

    def __init__(self, run: Run) -> None:
        self.offsets: dict[str, int] = {}
        ends: dict[str, int] = {}
        for phase in run.phases:
            offset = ends.get(phase.settings.after or "", 0)
            self.offsets[phase.name] = offset
            ends[phase.name] = offset + phase.settings.budget_tokens
        self._end = max(ends.values(), default=1)
        self.knots = sorted({0, *self.offsets.values(), *ends.values()})
        widths = [math.sqrt(b - a) for a, b in itertools.pairwise(self.knots)]
        ground = sum(widths) or 1.0
        width = svg.WIDTH - svg.LEFT - svg.RIGHT
        self._places = [
            svg.LEFT + width * p / ground for p in itertools.accumulate(widths, initial=0)
        ]

    def place(self, phase: str, clock: float) -> float:
        """`phase` may be a model that is none: the start lies left, the release right."""
        tokens = self.offsets.get(phase, self._end if phase == RELEASE else 0) + clock
        for i, (a, b) in enumerate(itertools.pairwise(self.knots)):
            if tokens <= b:
                part = (tokens - a) / (b - a)
                return self._places[i] + part * (self._places[i + 1] - self._places[i])
        return self._places[-1]

    @property
    def ticks(self) -> list[str]:
        """The ends of phases."""
        found, last = [], -100.0
        for place, tokens in zip(self._places, self.knots, strict=True):
            if place - last > 60:
                found.append(svg.text(place, svg.HEIGHT - 12, amount(tokens), anchor="middle"))
                last = place
        return [*found, svg.text(svg.WIDTH - svg.RIGHT + 30, svg.HEIGHT - 12, "tokens")]


def loss_plot(run: Run, story: Story) -> str | None:
    """Training loss of each phase; None before the first step."""
    if not story.loss:
        return None
    axis, colours = Tokens(run), _colours(run)
    curves = {name: _smooth(series) for name, series in story.loss.items() if name in axis.offsets}
    scale = _Linear(itertools.chain.from_iterable(series.y for series in curves.values()))
    parts = [svg.rules(scale.ticks), *axis.ticks]
    parts.append(svg.text(svg.LEFT, 16, "training loss, nats a target", "title"))
    ends = []
    for name, series in curves.items():
        points = [(axis.place(name, x), scale(y)) for x, y in zip(series.x, series.y, strict=True)]
        parts.append(svg.line(points, colours[name]))
        ends.append((points[-1][1], name, colours[name]))
    return svg.svg([*parts, *svg.apart(ends)], "Training loss by tokens")


def heldout_plot(run: Run, story: Story) -> str | None:
    """Bits per byte of the languages with the most held-out text, and the mean of all."""
    if not story.scores:
        return None
    axis = Tokens(run)
    branch = _branch(run, story)
    codes = _most_text(story.latest[-1])
    lines: dict[str, list[tuple[float, float]]] = {name: [] for name in (MEAN, *codes)}
    for model in branch:
        for score in story.scores.get(model, ()):
            place = axis.place(model, score.clock)
            found = {
                code: score.languages[code].bits_per_byte
                for code in codes
                if code in score.languages
            }
            for name, value in {MEAN: score.macro, **found}.items():
                if value is not None:
                    lines[name].append((place, value))
    scale = _Linear(y for points in lines.values() for _, y in points)
    parts = [svg.rules(scale.ticks), *axis.ticks]
    title = "held-out text, bits per byte; smaller is better"
    if branch[-1] == RELEASE:
        title += "; the last point is the release's"
    parts.append(svg.text(svg.LEFT, 16, title, "title"))
    ends = []
    colours = dict(zip(codes, itertools.cycle(svg.COLOURS), strict=False)) | {MEAN: "#8a909b"}
    for name, values in lines.items():
        if not values:
            continue
        points = [(x, scale(y)) for x, y in values]
        kind = "line thick" if name == MEAN else "line"
        parts += [svg.line(points, colours[name], kind)]
        told = "mean" if name == MEAN else language_name(name)
        told = told if len(told) <= LONGEST else f"{told[: LONGEST - 1]}…"
        ends.append((points[-1][1], f"{told} {bits(values[-1][1])}", colours[name]))
    return svg.svg([*parts, *svg.apart(ends)], "Bits per byte of held-out text by tokens")


def _branch(run: Run, story: Story) -> list[str]:
    """The models on the way to the one that was scored last; to a release, by its last phase."""
    scored = [score.phase for score in story.latest if run.release or score.phase != RELEASE]
    found: list[str] = []
    last = scored[-1] if scored else ""
    if last == RELEASE and run.release:
        found, last = [RELEASE], run.release.phases[-1]
    at: str | None = last
    while at is not None and at not in found:
        found.insert(0, at)
        at = run.before(at) if at in run.models else None
    return found


def _most_text(score: HeldoutScore) -> list[str]:
    known = [c for c, figure in score.languages.items() if figure.bits_per_byte is not None]
    return sorted(known, key=lambda code: -score.languages[code].targets)[:MOST_LANGUAGES]


def _colours(run: Run) -> Mapping[str, str]:
    names = [phase.name for phase in run.phases]
    return dict(zip(names, itertools.cycle(svg.COLOURS), strict=False))


def _smooth(series: Series) -> Series:
    """A running mean over a twentieth of the points."""
    reach = len(series.y) // 40
    y = [
        sum(series.y[max(0, i - reach) : i + reach + 1])
        / len(series.y[max(0, i - reach) : i + reach + 1])
        for i in range(len(series.y))
    ]
    return Series(series.x, y)


class _Linear:
    """Values to heights, with round figures between the least and the most."""

    def __init__(self, values: Iterable[float]) -> None:
        known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(known), max(known)
        step = 10 ** math.floor(math.log10((high - low) or 1.0))
        step *= next(m for m in (0.2, 0.5, 1.0, 2.0) if (high - low) / (m * step) <= 6)
        self._low, self._step = math.floor(low / step) * step, step
        self._high = max(math.ceil(high / step), math.floor(low / step) + 1) * step

    def __call__(self, value: float) -> float:
        part = (value - self._low) / (self._high - self._low)
        return svg.HEIGHT - svg.BOTTOM - part * (svg.HEIGHT - svg.BOTTOM - svg.TOP)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        count = round((self._high - self._low) / self._step)
        values = [self._low + i * self._step for i in range(count + 1)]
        return [(self(value), f"{value:.6g}") for value in values]
