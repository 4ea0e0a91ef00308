"""Where a run stands: `checkpoints/<phase>-<step>/point.json` beside what was saved there."""

from __future__ import annotations

from pathlib import Path

from schemas.ledger import Frozen


class Point(Frozen):
    """Where a run stands: `step` steps done in all, (window, pack) of `phase` comes next."""

    run: str
    phase: str
    step: int
    window: int
    pack: int
    tokens: int  # trained in this phase
    clock_tokens: float
    end: bool  # of the phase
    manifest: str = ""  # id of the one that brought it here; "": the phase's first

    @classmethod
    def before(cls, run: str, phase: str, step: int) -> Point:
        """Before the first step of a phase."""
        return cls(
            run=run, phase=phase, step=step, window=0, pack=0, tokens=0, clock_tokens=0, end=False
        )

    @property
    def next_window(self) -> int:
        """The first window that is not begun."""
        return self.window + (self.pack > 0)

    @property
    def name(self) -> str:
        return f"{self.phase}-{self.step}"


def newest(checkpoints: Path, phase: str) -> Point | None:
    """The phase's checkpoint with the most steps."""
    points = [point for point in points_in(checkpoints) if point.phase == phase]
    return max(points, key=lambda point: point.step, default=None)


def points_in(checkpoints: Path) -> list[Point]:
    """Of every whole checkpoint."""
    files = checkpoints.glob("[!.]*/point.json")
    return [Point.model_validate_json(file.read_bytes()) for file in files]
