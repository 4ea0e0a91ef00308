"""Figures as people read them, and the run in one paragraph: for the page and for the cards."""

from __future__ import annotations

import re

from jinja2 import Environment, PackageLoader, StrictUndefined

from schemas.figures import amount, bits, duration
from schemas.recipe import RELEASE, START
from trainer.report.history import History
from trainer.report.tables import ScoreTable


def templates(autoescape: bool) -> Environment:
    """The templates of this folder, with the filters below."""
    found = Environment(
        loader=PackageLoader("trainer.report", "."),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= {
        "amount": amount,
        "bits": bits,
        "cell": cell,
        "change": change,
        "duration": duration,
        "epochs": epochs,
        "flops": flops,
        "line": line,
        "plain": plain,
    }
    return found


def line(text: str) -> str:
    """In one line."""
    return " ".join(text.split())


def cell(text: str) -> str:
    """In a table of Markdown."""
    return line(text).replace("\\", "\\\\").replace("|", "\\|")


def change(value: float | None) -> str:
    """A part as signed percent: `−12.3 %`."""
    return "" if value is None else f"{100 * value:+.1f} %".replace("-", "−")


def epochs(value: float) -> str:
    """Three figures: `0.00123`, `0.5`, `6.81`; never as a power of ten."""
    return (
        f"{float(f'{value:.3g}'):.6f}".rstrip("0").rstrip(".") if value < 1000 else f"{value:.0f}"
    )


def flops(value: float) -> str:
    """Of operations a second: `356 GFLOP/s`, `989 TFLOP/s`."""
    return f"{amount(value)}FLOP/s".replace("B", "G")


def plain(value: float) -> str:
    """Without trailing zeros, and small ones as powers of ten: `0.3`, `160000`, `8e-05`."""
    return f"{value:g}" if value < 1e5 else f"{value:.0f}"


def title(history: History) -> str:
    return history.run.title or f"Recipe {history.run.recipe}"


def summary(history: History, table: ScoreTable) -> list[str]:
    """What the run is and came to, in a few sentences."""
    run, begun = history.run, history.begun
    seen = history.exposure(history.released)
    found = [
        f"An encoder of {amount(history.num_parameters)} parameters, trained on "
        f"{amount(sum(phase.tokens for phase in begun))} tokens in {_many(len(seen), 'language')} "
        f"and {_many(len(begun), 'phase')}."
    ]
    if run.start:
        found.append(f"It started from {_base_name(run.start.settings.model)}, not at random.")
    if len(begun) < len(history.phases) or not all(phase.ended for phase in begun):
        left = [phase.name for phase in history.phases if not phase.ended]
        found.append(f"It is not finished: {', '.join(left)} {'is' if len(left) == 1 else 'are'} "
                     "still to come to an end.")  # fmt: skip
    if history.released == RELEASE and run.release:
        parts = ", ".join(run.release.phases)
        found.append(f"The release is made of {parts} by {run.release.method.upper()}.")
    if table.models and table.macro.change is not None and len(table.models) > 1:
        first = "the model it started from" if table.models[0] == START else "before training"
        found.append(
            f"On held-out text it needs {bits(table.macro.bits[-1])} bits per byte, the mean of "
            f"{_many(len(table.languages), 'language')}, where {bits(table.macro.bits[0])} were "
            f"needed {'by ' if table.models[0] == START else ''}{first}: "
            f"{change(table.macro.change)}."
        )
        found.append(_gains(table))
    return found


def _gains(table: ScoreTable) -> str:
    """How many languages gained, and the extremes."""
    rows = [row for row in table.languages if row.change is not None]
    if len(rows) < 2:
        return ""
    best, worst = rows[0], rows[-1]
    lost = len(rows) - len(table.gained)
    how = "All" if not lost else f"{len(table.gained):,} of {len(rows):,}"
    return (
        f"{how} languages gained, {best.name} the most ({change(best.change)}), "
        f"{worst.name} the least ({change(worst.change)})."
    )


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _base_name(model: str) -> str:
    """The last part of a path or URL: no report names a place of this machine."""
    return re.split(r"[/\\]", model.rstrip("/\\"))[-1]
