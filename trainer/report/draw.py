"""Write `report/` beside a run's log: the figures as PNG, and index.html with all of it.

Drawing takes seconds and never fails a training: what goes wrong is a line of kind "warning".
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from schemas.store import Store, write_bytes
from trainer.report import by_language, card, curves, history, style, tables
from trainer.report.page import page

if TYPE_CHECKING:
    from trainer.session import Session  # it imports torch, which a report has no use for

FOLDER = "report"


def write_report(run_folder: Path, store: Store | None = None) -> Path:
    """Draw a run as far as it has come; returns the page. UserError where there is no run."""
    found = history.read(run_folder, store)
    table = tables.score_table(found)
    folder = run_folder / FOLDER
    made = {
        "heldout": lambda: curves.heldout(found),
        "gains": lambda: by_language.gains(found, table),
        "exposure": lambda: by_language.exposure(found),
        "loss": lambda: curves.loss(found),
        "training": lambda: curves.training(found),
    }
    figures = {}
    with style.styled():
        for name, make in made.items():
            if (figure := make()) is not None:
                style.lay_out(figure)
                figures[name] = style.svg(figure, name)
                write_bytes(str(folder / f"{name}.png"), style.png(figure))
    index = folder / "index.html"
    write_bytes(str(index), page(found, table, figures).encode())
    return index


def redraw(run_folder: Path, store: Store | None = None) -> Path:
    """Draw a run and write the cards of its models again; returns the page. UserError likewise."""
    index = write_report(run_folder, store)
    card.rewrite_all(run_folder, store)
    return index


def draw(session: Session) -> None:
    """The report of a run in training."""
    try:
        write_report(session.folder, session.store)
    except Exception as error:  # whatever a drawing can do wrong, the training goes on
        session.log.warn(f"the report could not be drawn: {error}")
