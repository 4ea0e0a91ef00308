"""How figures look: one calm set of colours, an axis of tokens, and each figure as PNG and as SVG.

A figure is drawn once. The PNG has a white ground. The SVG has none, its text is text in the font
of the page, and its greys are the page's variables, so it follows light and dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis as MatplotlibAxis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from schemas.figures import amount
from schemas.recipe import RELEASE
from trainer.report.history import F64, History

INK, SOFT, FAINT = "#2b3038", "#7b828e", "#e4e7ec"
VARIABLES = {INK: "var(--ink)", SOFT: "var(--soft)", FAINT: "var(--faint)"}
COLOURS = ("#4477c8", "#2a9d8f", "#d98032", "#b35a9f", "#7f9a2f", "#c8505a", "#7a6bd0", "#5b8a9a")
WIDTH = 9.6  # inches
MOST_POINTS = 240  # of a curve

RC: dict[str, Any] = {  # matplotlib's keys
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlepad": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "figure.constrained_layout.h_pad": 0.09,
    "figure.constrained_layout.w_pad": 0.09,
    "svg.fonttype": "none",
    "svg.hashsalt": "mmbert",
}


def styled() -> AbstractContextManager[None]:
    """Inside it, figures look as this file says."""
    return rc_context(RC)  # type: ignore[arg-type]


def lay_out(figure: Figure) -> None:
    """Put everything in its place, so that no file of the figure computes that again."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def png(figure: Figure) -> bytes:
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=130)
    return sink.getvalue()


def svg(figure: Figure, title: str) -> str:
    """An <svg> element for the page; `title` is what a screen reader says of it."""
    sink = io.StringIO()
    figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None})
    text = sink.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' width="[\d.]+pt"| height="[\d.]+pt"', "", text, count=2)
    text = re.sub(r"(?<=px )'DejaVu Sans'[^;\"]*", "inherit", text)
    text = re.sub(r"(\d\.\d\d)\d{4,}", r"\1", text)  # of a point
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    return text.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)


class TokenAxis:
    """Places on an axis of tokens whose segments, from one start or end of a phase to the next, are
    as wide as the square root of their tokens: a decay of 0.1 T beside 2.3 T can be seen.
    """

    def __init__(self, history: History) -> None:
        phases = history.phases
        ends = [phase.offset + phase.manifest.budget_tokens for phase in phases]
        knots = sorted({phase.offset for phase in phases} | set(ends))
        self._knots = np.array(knots, float)
        self._places = np.concatenate([[0.0], np.cumsum(np.sqrt(np.diff(self._knots)))])
        self._places /= self._places[-1]

    def place(self, tokens: F64 | float) -> F64:
        return np.asarray(np.interp(tokens, self._knots, self._places))

    def dress(self, ax: Axes, ends_only: bool = False) -> None:
        """Ticks, a faint line where a phase begins, limits."""
        parts = {2: 5, 3: 3}.get(self._knots.size, 2)
        inner = [
            np.linspace(a, b, parts) for a, b in zip(self._knots[:-1], self._knots[1:], strict=True)
        ]
        ticks: list[float] = []
        for value in np.unique(np.concatenate(inner)).tolist():
            near = ticks and float(self.place(value) - self.place(ticks[-1])) < 0.09
            if not near:
                ticks.append(value)
            elif value in self._knots:
                ticks[-1] = value
        if ends_only:
            ticks = [ticks[0], ticks[-1]]
        ax.set_xticks(self.place(np.array(ticks)), [amount(tick) for tick in ticks])
        for knot in self._knots[1:-1]:
            ax.axvline(float(self.place(knot)), color=FAINT, linewidth=0.8, zorder=0)
        ax.set_xlim(-0.01, 1.01)


def thinned(x: F64, y: F64, most: int = MOST_POINTS) -> tuple[F64, F64]:
    """At most that many points: means over runs of neighbours."""
    if x.size <= most:
        return x, y
    bounds = np.linspace(0, x.size, most + 1).astype(int)[:-1]
    counts = np.diff(np.append(bounds, x.size))
    return np.add.reduceat(x, bounds) / counts, np.add.reduceat(y, bounds) / counts


def smooth(y: F64, width: int) -> F64:
    """A running mean over `width` neighbours, fewer at the ends."""
    if width < 2 or y.size < 2:
        return y
    ends = np.concatenate([[0.0], np.cumsum(y)])
    i = np.arange(y.size)
    low, high = np.maximum(i - width // 2, 0), np.minimum(i + width // 2 + 1, y.size)
    return np.asarray((ends[high] - ends[low]) / (high - low))


def in_amounts(ax: Axes) -> None:
    """Figures of the y axis as `12 k`, `1.9 M`."""
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))


def on_log_scale(scale: MatplotlibAxis, values: Iterable[float]) -> None:
    """Few round figures, more of them where the values lie within two decades."""
    low, high = min(values := list(values)), max(values)
    scale.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,), numticks=9))
    scale.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
    scale.set_minor_locator(NullLocator())


def legend(figure: Figure, names: Sequence[str], colours: Sequence[str]) -> None:
    """Above everything, on the left; nothing for a single name."""
    if len(names) < 2:
        return
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker="*", markersize=11, linestyle="")
        if name == RELEASE
        else Line2D([], [], color=colour, linewidth=3)
        for name, colour in zip(names, colours, strict=True)
    ]
    figure.legend(
        handles,
        names,
        loc="outside upper left",
        ncols=min(len(names), 8),
        handlelength=1.1,
        columnspacing=1.6,
        borderpad=0.0,
    )
