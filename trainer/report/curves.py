"""Figures along the axis of tokens: held-out scores, loss, and how training went.

A phase has its colour everywhere, and so have the languages that enter in it. Losses of different
phases are not compared: their mask rates and contexts differ.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from schemas.recipe import RELEASE
from trainer.report.history import F64, History, PhaseHistory, Score
from trainer.report.style import (
    COLOURS,
    INK,
    SOFT,
    WIDTH,
    TokenAxis,
    in_amounts,
    legend,
    smooth,
    thinned,
)


def colours(history: History) -> dict[str, str]:
    """The colour of each phase."""
    names = [phase.name for phase in history.phases]
    return dict(zip(names, itertools.cycle(COLOURS), strict=False))


def heldout(history: History) -> Figure | None:
    """The mean of languages along all branches, and of groups of them along the last."""
    if not any(phase.scores for phase in history.phases):
        return None
    colour, axis = colours(history), TokenAxis(history)
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    named = dict(colour)
    left.set_title("mean of languages")
    for phase in history.phases:
        x, y = _line(history, axis, phase, lambda score: score.macro)
        left.plot(x, y, color=colour[phase.name], marker="o", markersize=3)
    if RELEASE in history.others and (macro := history.others[RELEASE].macro) is not None:
        left.plot([1.0], [macro], "*", color=INK, markersize=11, clip_on=False, zorder=5)
        named[RELEASE] = INK
    entered = _by_entry(history)
    branch = history.branch(history.begun[-1].name) if history.begun else []
    right.set_title("languages by the phase in which they enter")
    for entry, codes in entered.items():
        parts = [_line(history, axis, history.phase(name), _mean_of(codes)) for name in branch]
        x, y = (np.concatenate(column) for column in zip(*parts, strict=True))
        label = f"{entry or 'never'} ({len(codes):,})"
        right.plot(x, y, color=colour.get(entry, SOFT), marker="o", markersize=3, label=label)
    if len(entered) > 1:
        right.legend(loc="upper right", handlelength=1.1)
    left.set_ylabel("bits per byte")
    legend(figure, list(named), list(named.values()))
    for ax in (left, right):
        axis.dress(ax)
        ax.set_xlabel("tokens")
    return figure


def loss(history: History) -> Figure | None:
    if not history.begun:
        return None
    colour, axis = colours(history), TokenAxis(history)
    figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
    ax = figure.subplots()
    for phase in history.begun:
        x, y = axis.place(phase.offset + phase.steps.tokens), phase.steps.loss
        ax.plot(*thinned(x, y), color=colour[phase.name], linewidth=0.8, alpha=0.35)
        width = max(y.size // 40, min(9, y.size // 6))
        ax.plot(*thinned(x, smooth(y, width)), color=colour[phase.name])
    ax.set_ylabel("nats a target")
    ax.set_xlabel("tokens")
    axis.dress(ax)
    legend(figure, list(colour), list(colour.values()))
    return figure


PANELS: dict[str, Callable[[PhaseHistory], F64]] = {
    "learning rate": lambda phase: phase.steps.lr,
    "batch, tokens": lambda phase: phase.batch_tokens,
    "gradient norm": lambda phase: phase.steps.grad_norm,
    "tokens a second": lambda phase: phase.steps.tokens_per_s,
    "model FLOPs utilisation, %": lambda phase: 100 * phase.steps.mfu,
    "packing, %": lambda phase: 100 * phase.steps.packing,
}
AS_SET = ("learning rate", "batch, tokens")  # not measured, so not smoothed


def training(history: History) -> Figure | None:
    if not history.begun:
        return None
    colour, axis = colours(history), TokenAxis(history)
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    for ax, (title, values) in zip(figure.subplots(2, 3).flat, PANELS.items(), strict=True):
        ax.set_title(title)
        top = 0.0
        for phase in history.begun:
            x, y = axis.place(phase.offset + phase.steps.tokens), values(phase)
            width = max(y.size // 60, min(5, y.size // 10))
            shown = y if title in AS_SET else smooth(y, width)
            ax.plot(*thinned(x, shown), color=colour[phase.name], linewidth=1.5)
            known = shown[np.isfinite(shown)]
            # The steps of a start may be far off; they need not flatten all others.
            top = max(top, float(np.quantile(known, 0.98)) if known.size else 0.0)
        axis.dress(ax, ends_only=True)
        if title.startswith("packing"):
            ax.set_ylim(min(ax.get_ylim()[0], 99.0), 100.0)
        elif top:
            ax.set_ylim(0, 1.12 * top)
        in_amounts(ax)
    legend(figure, list(colour), list(colour.values()))
    return figure


def _line(
    history: History,
    axis: TokenAxis,
    phase: PhaseHistory,
    value: Callable[[Score], float | None],
) -> tuple[F64, F64]:
    """The scores of a phase, from that of the model that it began with on."""
    start = history.scores.get(history.run.before(phase.name) or "")
    scored = [(score.clock, score) for score in phase.scores]
    points = [(0, start), *scored] if start and scored else scored
    found = [(phase.offset + clock, value(score)) for clock, score in points]
    known = np.array([(x, y) for x, y in found if y is not None], float).reshape(-1, 2)
    return axis.place(known[:, 0]), known[:, 1]


def _mean_of(codes: list[str]) -> Callable[[Score], float | None]:
    def mean(score: Score) -> float | None:
        found = (score.languages[code].bits for code in codes if code in score.languages)
        known = [bits for bits in found if bits is not None]
        return sum(known) / len(known) if known else None

    return mean


def _by_entry(history: History) -> dict[str, list[str]]:
    """Languages with figures by the phase of the run that has them first, in its order."""
    groups: dict[str, list[str]] = {phase.name: [] for phase in history.phases}
    groups[""] = []
    for code, figure in list(history.scores.values())[-1].languages.items():
        if figure.bits is not None:
            groups[history.entry(code)].append(code)
    return {entry: codes for entry, codes in groups.items() if codes}
