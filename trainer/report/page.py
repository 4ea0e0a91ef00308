"""One HTML page of a run, self-contained: figures inlined, no network, light and dark.

In: `History`, its score table and the figures as SVG. Out: the page as text, from page.html.j2.
"""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from schemas.recipe import START, UNTRAINED
from trainer.report import words
from trainer.report.by_language import FEW
from trainer.report.curves import colours
from trainer.report.history import History
from trainer.report.tables import Rise, ScoreTable, absences, exposure_table

TO_RUN = ".."  # from the folder of the page
TO_STORE = "../../.."


def page(history: History, table: ScoreTable, figures: Mapping[str, str]) -> str:
    """`figures` are <svg> elements by name; one that is missing is left out."""
    nothing = dict.fromkeys(("heldout", "gains", "loss", "training", "exposure"), "")
    return (
        words.templates(autoescape=True)
        .get_template("page.html.j2")
        .render(
            title=words.title(history),
            name=history.folder.name,
            summary=words.summary(history, table),
            tiles=_tiles(history, table),
            phases=history.phases,
            begun=[phase.name for phase in history.begun],
            colours=colours(history),
            figures=nothing | {name: Markup(svg) for name, svg in figures.items()},
            table=table,
            few=FEW,
            rises=_rises(history, table),
            released=history.released,
            seen=exposure_table(history, history.released),
            absent=absences(history, history.released),
            files=_files(history),
            machines=history.machines,
        )
    )


def _tiles(history: History, table: ScoreTable) -> list[tuple[str, str]]:
    begun = history.begun
    found = [
        (words.amount(sum(phase.tokens for phase in begun)), "tokens trained on"),
        (f"{len(history.exposure(history.released)):,}", "languages"),
        (words.amount(history.num_parameters), "parameters"),
    ]
    if table.models and table.macro.bits[-1] is not None:
        found.append((words.bits(table.macro.bits[-1]), "bits per byte"))
    if table.macro.change is not None and len(table.models) > 1:
        found.append((words.change(table.macro.change), f"against {table.models[0]}"))
    if begun:
        found.append((words.duration(sum(phase.seconds for phase in begun)), "in training steps"))
    return found


def _rises(history: History, table: ScoreTable) -> list[tuple[str, str, tuple[Rise, ...]]]:
    """For each model with rises: its name, the model it was made from, the rises."""
    found = []
    for model in table.models:
        before = history.run.before(model)
        if before and (rises := table.rises_of(model)):
            found.append((model, before, rises))
    return found


def _files(history: History) -> list[tuple[str, list[tuple[str, str]]]]:
    """Labels with links, relative to the page."""
    folder = history.folder
    models = [UNTRAINED, START, *history.run.models]
    exported = [name for name in models if (folder / "models" / name / "config.json").is_file()]
    found = [
        ("run", [(n, f"{TO_RUN}/{n}") for n in ("run.json", "log.jsonl", "journal.jsonl")]),
        ("manifests", [(p.name, f"{TO_STORE}/{p.current}") for p in history.run.phases]),
        ("models", [(name, f"{TO_RUN}/models/{name}/") for name in exported]),
    ]
    return [(label, links) for label, links in found if links]
