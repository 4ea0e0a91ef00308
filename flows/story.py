"""A run's log as a story: where training stands, its loss and its held-out scores so far.

In: the events of log.jsonl, one after the other. Out: `Story`, whose memory does not grow with the
run: a curve keeps a few hundred points, each the mean over its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import fsspec

from flows.scores import Event, HeldoutScore, PhaseEvent, Step, parse

MOST_POINTS = 240
LINE_END_BYTES = 256  # that tell a line from another


@dataclass
class Series:
    """Points in the order of x; beyond twice MOST_POINTS, neighbours become one."""

    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)
    _of: int = 1  # points that one is the mean of
    _waiting: list[tuple[float, float]] = field(default_factory=list)

    def add(self, x: float, y: float) -> None:
        """A point; those at its place or after it are forgotten: a resumed run has gone back."""
        self._waiting = [point for point in self._waiting if point[0] < x]
        while self.x and self.x[-1] >= x:
            self.x.pop()
            self.y.pop()
        self._waiting.append((x, y))
        if len(self._waiting) < self._of:
            return
        self.x.append(sum(a for a, _ in self._waiting) / self._of)
        self.y.append(sum(b for _, b in self._waiting) / self._of)
        self._waiting.clear()
        if len(self.x) >= 2 * MOST_POINTS:
            self.x = [(a + b) / 2 for a, b in zip(self.x[::2], self.x[1::2], strict=True)]
            self.y = [(a + b) / 2 for a, b in zip(self.y[::2], self.y[1::2], strict=True)]
            self._of *= 2


@dataclass
class Story:
    """What the log has said; phases are named as the models are (untrained, start, release)."""

    loss: dict[str, Series] = field(default_factory=dict)  # by phase, over its clock
    scores: dict[str, list[HeldoutScore]] = field(default_factory=dict)  # by model, in order
    step: Step | None = None  # the last one
    ended: set[str] = field(default_factory=set)  # phases

    def take(self, event: Event) -> None:
        if isinstance(event, Step):
            self.step = event
            self.loss.setdefault(event.phase, Series()).add(event.tokens, event.loss)
        elif isinstance(event, HeldoutScore):
            earlier = self.scores.get(event.phase, [])
            self.scores[event.phase] = [s for s in earlier if s.step < event.step] + [event]
        elif isinstance(event, PhaseEvent) and event.event == "end":
            self.ended.add(event.phase)

    @property
    def latest(self) -> list[HeldoutScore]:
        """The last score of each model, in the order in which they came to be."""
        return [scores[-1] for scores in self.scores.values()]

    @property
    def macro(self) -> float | None:
        """The mean of languages, in bits per byte, at the last score."""
        return self.latest[-1].macro if self.scores else None


class StoryFile:
    """The story of a log.jsonl at any URL; a second look reads what has been added since."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._begin()

    def _begin(self) -> None:
        self.story = Story()
        self._offset = 0
        self._last = (
            b""  # the end of the line before the offset: a log that was rewritten has another there
        )

    def read(self) -> Story | None:
        """The story so far; None where there is no log. A line that is cut is read next time."""
        try:
            self._read_on()
        except FileNotFoundError:
            return None
        return self.story

    def _read_on(self) -> None:
        fs, path = fsspec.core.url_to_fs(self._url)
        start = self._offset - len(self._last)
        data = fs.cat_file(path, start=start) if fs.size(path) > start else b""
        if not data.startswith(self._last):
            self._begin()
            data = fs.cat_file(path)
        lines = data[len(self._last) : data.rfind(b"\n") + 1].splitlines(keepends=True)
        for line in lines:
            try:
                event = parse(line.decode(errors="replace"))
            except (ValueError, KeyError):  # of another version: the rest still tells
                continue
            if event is not None:
                self.story.take(event)
        if lines:
            self._offset += sum(map(len, lines))
            self._last = lines[-1][-LINE_END_BYTES:]
