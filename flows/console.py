"""What a person sees: a live line for each stage, and the held-out table that is redrawn in place.

On a terminal it is drawn with rich; elsewhere it is plain lines, at most one in ten seconds of a
stage. A process has one console, as it has one terminal: `console`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from rich.console import Console as Terminal
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from flows.orchestrate import note
from flows.scores import ScoreTable
from schemas.figures import bits, duration

PLAIN_INTERVAL_S = 10.0
PLAIN_WIDTH = 100  # where no terminal says

State = Literal["ok", "warning", "problem"]
VERDICTS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "problem": ("✗", "red")}


def _terminal(stderr: bool) -> Terminal:
    out = Terminal(highlight=False, soft_wrap=True, stderr=stderr)
    if not out.is_terminal:
        out.width = PLAIN_WIDTH
    return out


class Console:
    def __init__(self) -> None:
        self._out = _terminal(stderr=False)

    def leave_stdout(self, as_json: bool) -> None:
        """Talk on stderr when stdout is `--json`'s."""
        self._out = _terminal(stderr=as_json)

    @property
    def height(self) -> int:
        return self._out.height

    def say(self, text: str = "") -> None:
        """One line, here and in the log of the running flow."""
        self._out.print(text, markup=False)
        if text.strip():
            note(text.strip())

    def heading(self, text: str) -> None:
        self._out.print()
        self._out.print(text, style="bold", markup=False)

    def verdict(self, state: State, title: str, told: str, mend: str = "") -> None:
        """A line on something that was looked at, and below it what mends it."""
        mark, style = VERDICTS[state]
        self._out.print(f"  [{style}]{mark}[/{style}] {title:<12} {escape(told)}")
        if mend:
            self._out.print(f"    {'':<12} {escape(mend)}", style="bold")

    def show(self, table: Table) -> None:
        self._out.print(table)

    @contextmanager
    def stage(self, title: str) -> Iterator[Stage]:
        """A live line while the block runs, and one that stays when it has ended."""
        stage = TerminalStage(title, self._out) if self._out.is_terminal else Stage(title, self)
        started = time.monotonic()
        try:
            with stage.live():
                yield stage
        except BaseException:
            self._out.print(f"  [red]✗[/red] {title}")
            raise
        took = duration(time.monotonic() - started)
        result = f"{stage.result} · {took}" if stage.result else took
        self._out.print(f"  [green]✓[/green] {title:<12} {result}")
        note(f"{title}: {result}")


class Stage:
    """Where a stage tells what it has done: plain lines, now and then."""

    def __init__(self, title: str, console: Console) -> None:
        self.title = title
        self.result = ""
        self._console = console
        self._said = time.monotonic()

    @contextmanager
    def live(self) -> Iterator[None]:
        yield

    def progress(self, what: str, done: int, of: int) -> None:
        """A `schemas.progress.Progress`."""
        if time.monotonic() - self._said >= PLAIN_INTERVAL_S:
            self._said = time.monotonic()
            share = f" {100 * done / of:.0f} %" if of else ""
            self._console.say(f"    {self.title:<12} {what}{share}")

    def table(self, table: ScoreTable) -> None:
        """The held-out table as it is now."""
        name, values = table.rows[0]
        figures = ", ".join(
            f"{column} {bits(value)}"
            for column, value in zip(table.columns, values, strict=True)
            if value is not None
        )
        self._console.say(f"    held-out bits per byte, {name}: {figures}")


class TerminalStage(Stage):
    """A spinner and a bar, and the held-out table below them."""

    def __init__(self, title: str, out: Terminal) -> None:
        self.title = title
        self.result = ""
        self._bar = Progress(
            TextColumn("  "),
            SpinnerColumn(),
            TextColumn(f"{title:<12}"),
            BarColumn(24),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=out,
        )
        self._task: TaskID = self._bar.add_task("", total=None)
        self._live = Live(self._bar, console=out, transient=True, refresh_per_second=5)

    @contextmanager
    def live(self) -> Iterator[None]:
        with self._live:
            yield

    def progress(self, what: str, done: int, of: int) -> None:
        self._bar.update(self._task, description=what, completed=done, total=of or None)

    def table(self, table: ScoreTable) -> None:
        self._live.update(Group(self._bar, "", drawn(table)))


def drawn(table: ScoreTable) -> Table:
    """The held-out table for a terminal; the latest column stands out."""
    grid = Table(box=None, title="held-out bits per byte", title_justify="left", pad_edge=False)
    grid.add_column("  language", no_wrap=True)
    for number, column in enumerate(table.columns, 1):
        style = "bold" if number == len(table.columns) else ""
        grid.add_column(column.replace("-", "-\n"), justify="right", style=style)
    for number, (name, values) in enumerate(table.rows):
        grid.add_row(f"  {name}", *map(bits, values), style="bold" if number == 0 else "")
    return grid


console = Console()
