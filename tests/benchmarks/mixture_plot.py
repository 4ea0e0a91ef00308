"""The plot of the README: how flat each phase is, and how near the plan comes to what is published.

In: planned and published pools. Out: an image file. Left, the share of each language by rank, lines
planned and dots published; right, tokens of each language, one against the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

COLOURS = {
    "pretrain": "#1b3a6b",
    "extend": "#2a8c82",
    "decay-eng": "#c9a227",
    "decay-cont": "#e07b39",
    "decay-all": "#b5274d",
}
INK, PALE = "#333333", "#bbbbbb"
RANKS = {1: "1", 10: "10", 59: "59", 108: "108", 500: "500", 1800: "1,800"}
SHARES = {10.0**power: f"{10.0**power:g} %" for power in range(1, -5, -1)}
TOKENS = {1e3: "1 k", 1e5: "100 k", 1e7: "10 M", 1e9: "1 B", 1e11: "100 B"}


class Counts(Protocol):
    phase: str
    tau: float
    planned: dict[str, int]
    published: dict[str, int]

    def both(self) -> list[str]: ...


def draw(mixtures: Sequence[Counts], path: Path) -> None:
    """Write the image; the format is that of the file's name."""
    pyplot.rcParams.update(
        {"font.size": 9, "axes.edgecolor": PALE, "axes.labelcolor": INK, "text.color": INK}
    )
    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(10, 4.4), width_ratios=(1.45, 1), constrained_layout=True
    )
    for mixture in mixtures:
        _ranked(left, mixture)
        _scattered(right, mixture)
    _scale(left, RANKS, SHARES)
    left.set(ylim=(1e-6, 20), xlabel="languages, the largest first")
    left.set_title("Share of a phase's multilingual text", loc="left", fontsize=10)
    left.text(0.98, 0.95, "lines planned, dots published", transform=left.transAxes, ha="right")
    left.legend(frameon=False, loc="lower left", fontsize=8.5, handlelength=1.4)

    span = (3e2, 3e11)
    right.plot(span, span, color=PALE, linewidth=1, zorder=0)
    _scale(right, TOKENS, TOKENS)
    right.set(xlim=span, ylim=span, xlabel="tokens, planned from published sizes")
    right.set_title("Tokens of each language, published by mmBERT", loc="left", fontsize=10)

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _scale(axes: Axes, across: dict[float, str], up: dict[float, str]) -> None:
    """Logarithmic, with ticks that can be read aloud."""
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(list(across), list(across.values()))
    axes.set_yticks(list(up), list(up.values()))
    axes.minorticks_off()
    axes.tick_params(colors="#666666", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#eeeeee", linewidth=0.7)
    axes.set_axisbelow(True)


def _ranked(axes: Axes, mixture: Counts) -> None:
    codes = sorted(mixture.both(), key=lambda code: -mixture.planned[code])
    ranks = range(1, len(codes) + 1)
    axes.plot(
        ranks,
        _shares(mixture.published, codes),
        linestyle="none",
        marker="o",
        markersize=2.4 if len(codes) < 200 else 1.4,
        markeredgewidth=0,
        alpha=0.5,
        color=COLOURS[mixture.phase],
    )
    axes.plot(
        ranks,
        _shares(mixture.planned, codes),
        color=COLOURS[mixture.phase],
        linewidth=1.7,
        label=f"{mixture.phase}, tau {mixture.tau:g}, {len(codes):,} languages",
    )


def _shares(tokens: dict[str, int], codes: Sequence[str]) -> list[float]:
    """Per cent of what the languages have together."""
    total = sum(tokens[code] for code in codes)
    return [100 * tokens[code] / total for code in codes]


def _scattered(axes: Axes, mixture: Counts) -> None:
    codes = mixture.both()
    axes.scatter(
        [mixture.planned[code] for code in codes],
        [mixture.published[code] for code in codes],
        s=5,
        linewidths=0,
        alpha=0.5,
        color=COLOURS[mixture.phase],
    )
