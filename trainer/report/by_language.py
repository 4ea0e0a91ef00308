"""Figures over languages: what each gained, and how much of it was seen.

Up to FEW languages have a line and a name each; beyond, they are dots over ranks, drawn as pixels
so that two thousand of them weigh nothing.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schemas.language import language_name
from schemas.recipe import RELEASE
from trainer.report.curves import colours
from trainer.report.exposure import Exposure
from trainer.report.history import F64, History
from trainer.report.style import INK, SOFT, WIDTH, legend, on_log_scale
from trainer.report.tables import ScoreRow, ScoreTable

FEW = 40


def gains(history: History, table: ScoreTable) -> Figure | None:
    """Bits per byte of each language from the first model to the last."""
    rows = [row for row in table.languages if row.change is not None]
    if not rows or len(table.models) < 2:
        return None
    return _gain_each(history, table, rows) if len(rows) <= FEW else _gain_all(history, rows)


def _gain_each(history: History, table: ScoreTable, rows: list[ScoreRow]) -> Figure:
    colour = dict.fromkeys(table.models, SOFT) | colours(history) | {RELEASE: INK}
    figure = Figure(figsize=(WIDTH, 0.9 + 0.23 * len(rows)), layout="constrained")
    ax = figure.subplots()
    last = table.models[-1]
    for place, row in enumerate(rows):
        known = [bits for bits in row.bits if bits is not None]
        ax.hlines(place, min(known), max(known), color=SOFT, linewidth=1.0, alpha=0.4)
        for name, bits in zip(table.models, row.bits, strict=True):
            if bits is not None:
                marker, size = ("*", 90) if name == RELEASE else ("o", 40 if name == last else 22)
                front = 4 if name == last else 3
                ax.scatter([bits], [place], s=size, c=colour[name], marker=marker, zorder=front)
        ax.annotate(
            f"{100 * (row.change or 0):+.0f} %".replace("-", "−"),
            (max(known), place),
            (8, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=SOFT,
        )
    _name_lines(ax, np.arange(float(len(rows))), [row.name for row in rows])
    ax.set_xlabel("bits per byte, smaller is better")
    legend(figure, table.models, [colour[name] for name in table.models])
    return figure


def _gain_all(history: History, rows: list[ScoreRow]) -> Figure:
    seen = history.exposure(history.released)
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    left.set_title("change of bits per byte, %, languages by rank")
    right.set_title("by tokens seen of the language")
    change = 100 * np.array([row.change for row in rows], float)
    tokens = np.array([seen.get(row.code, Exposure(0, 0)).tokens for row in rows])
    dots = _dots(history, [row.entry for row in rows])
    _scatter(left, np.arange(1.0, len(rows) + 1), change, dots)
    right.set_xscale("log")
    if (tokens > 0).any():
        _scatter(right, tokens[tokens > 0], change[tokens > 0], dots[tokens > 0])
        on_log_scale(right.xaxis, tokens[tokens > 0])
    for ax in (left, right):
        ax.axhline(0, color=SOFT, linewidth=0.8)
    _legend_of_entries(figure, history, [row.entry for row in rows])
    return figure


def exposure(history: History) -> Figure | None:
    """Tokens and epochs that the last model has seen of each language, on a log scale."""
    seen = history.exposure(history.released)
    if not seen:
        return None
    entries = [history.entry(code) for code in seen]
    dots = _dots(history, entries)
    few = len(seen) <= FEW
    height = 0.9 + 0.21 * len(seen) if few else 3.4
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(1, 2, sharey=few)
    ranks = np.arange(1.0, len(seen) + 1)
    columns = np.array(list(seen.values()))
    for ax, title, values in zip(axes, ("tokens", "epochs"), columns.T, strict=True):
        if few:
            ax.set_title(f"{title} seen of each language")
            ax.set_xscale("log")
            ax.hlines(ranks, values.min() / 2, values, color=dots, linewidth=1.2, alpha=0.45)
            ax.scatter(values, ranks, c=dots, s=26, zorder=3)
            ax.set_xlim(values.min() / 2, values.max() * 1.6)
            on_log_scale(ax.xaxis, values)
        else:
            ax.set_title(f"{title}, languages by rank")
            ax.set_yscale("log")
            order = np.argsort(-values, kind="stable")
            _scatter(ax, ranks, values[order], dots[order])
            on_log_scale(ax.yaxis, values)
    if few:
        _name_lines(axes[0], ranks, [language_name(code) for code in seen])
        axes[1].grid(axis="y", visible=False)
        axes[1].grid(axis="x", visible=True)
    _legend_of_entries(figure, history, entries)
    return figure


def _dots(history: History, entries: list[str]) -> np.ndarray[tuple[int], np.dtype[np.str_]]:
    """The colour of each language: that of the phase in which it enters."""
    colour = colours(history)
    return np.array([colour.get(entry, SOFT) for entry in entries])


def _scatter(ax: Axes, x: F64, y: F64, colour: np.ndarray[tuple[int], np.dtype[np.str_]]) -> None:
    ax.scatter(x, y, s=7, c=colour.tolist(), linewidths=0, rasterized=True)


def _name_lines(ax: Axes, places: F64, names: list[str]) -> None:
    ax.set_yticks(places, names)
    ax.tick_params(axis="y", labelcolor=INK)
    ax.set_ylim(places[-1] + 0.6, places[0] - 0.6)
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", visible=True)


def _legend_of_entries(figure: Figure, history: History, entries: list[str]) -> None:
    found = [(name, colour) for name, colour in colours(history).items() if name in entries]
    legend(figure, [f"enter in {name}" for name, _ in found], [colour for _, colour in found])
