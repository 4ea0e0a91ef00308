"""What a run says of itself: `log.jsonl` for people and curves, `journal.jsonl` for the trace.

One JSON object a line, appended and flushed by rank 0:

    log      {"kind": "step", phase, step, window, pack, tokens, loss, lr, batch_packs, grad_norm,
              tokens_per_s, flops_per_s, mfu, packing, eta_s}
             {"kind": "heldout", phase, step, clock, macro, languages, pooled}
             {"kind": "exposure", phase, step, clock, languages}          trainer/report/exposure.py
             {"kind": "phase", event: "start" | "end", phase, step}
             phase: also the model before any (untrained, start) and the one of several (release)
             {"kind": "machine", phase, step, device, ...}                trainer/machine.py
             {"kind": "warning", phase, step, text}
    journal  {phase, window, first_step, packs, tokens, plan_digest}          JournalLine

`tokens` of a step is its clock. A run that resumes first drops the lines that its checkpoint does
not know, so both files read as if the run had never been stopped. trainer/past.py reads both.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from schemas.digest import Json
from schemas.ledger import Frozen
from schemas.store import write_bytes


class Lines:
    """A JSONL file that this process appends to, or does nothing where `write` is false."""

    def __init__(self, path: Path, write: bool) -> None:
        self.path = path
        self.mirror: Callable[[dict[str, Json]], None] | None = None  # gets each line, too
        self._write = write

    def append(self, line: dict[str, Json]) -> None:
        if self._write:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
            if self.mirror:
                self.mirror(line)

    def warn(self, text: str) -> None:
        """A line of kind "warning", which stands where the log stands; said on stderr, too."""
        if not self._write:
            return
        text = " ".join(text.split())
        print(f"mmbert: {text}", file=sys.stderr, flush=True)
        last = (self.read() or [{"phase": "", "step": 0}])[-1]
        place = {"phase": last["phase"], "step": last["step"]}
        self.append({"kind": "warning", **place, "text": text})

    def read(self) -> list[dict[str, Json]]:
        """All whole lines; a last line cut by a kill is no line."""
        if not self.path.exists():
            return []
        text = self.path.read_text(encoding="utf-8")
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def rewind(self, phase: str, step: int) -> None:
        """Drop the lines of `phase` that lie after `step`, and the one that says it ended."""
        if not self._write:
            return
        kept = [line for line in self.read() if not _is_after(line, phase, step)]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept)
        write_bytes(str(self.path), text.encode())


def _is_after(line: dict[str, Json], phase: str, step: int) -> bool:
    if line["phase"] != phase:
        return False
    at = line["step"] if "step" in line else line["first_step"]
    return int(str(at)) > step or line.get("event") == "end"


class JournalLine(Frozen):
    """A window as it was planned, before its first step (as the log counts steps)."""

    phase: str
    window: int
    first_step: int
    packs: int
    tokens: int
    plan_digest: str


class Journal:
    """One line a window."""

    def __init__(self, folder: Path, write: bool) -> None:
        self._write = write
        self.lines = Lines(folder / "journal.jsonl", write)

    def read(self) -> list[JournalLine]:
        return [JournalLine.model_validate(line) for line in self.lines.read()]

    def rewind(self, phase: str, step: int) -> None:
        self.lines.rewind(phase, step)

    def open_window(
        self, phase: str, window: int, first_step: int, packs: int, tokens: int, plan_digest: str
    ) -> None:
        """Record a window, or check it against its line when the run has been in it before.

        Raises TrainingFailure when the plan differs from the one that was begun.
        """
        from trainer.failure import (
            TrainingFailure,  # it imports torch, which a reader does not need
        )

        if not self._write:
            return
        for begun in reversed(self.read()):
            if (begun.phase, begun.window) == (phase, window):
                if begun.plan_digest != plan_digest:
                    raise TrainingFailure(other_plan(begun, plan_digest))
                return
        line = JournalLine(
            phase=phase,
            window=window,
            first_step=first_step,
            packs=packs,
            tokens=tokens,
            plan_digest=plan_digest,
        )
        self.lines.append(line.model_dump())


def other_plan(begun: JournalLine, plan_digest: str) -> str:
    """What is said of a window that is planned otherwise than it was begun."""
    return (
        f"window {begun.window} of phase {begun.phase} was begun with plan {begun.plan_digest} and "
        f"is now planned as {plan_digest}: its shards (`mmbert verify` names a damaged one) or "
        "this program changed in between; bring the old ones back, or start the run afresh under "
        "another name"
    )
