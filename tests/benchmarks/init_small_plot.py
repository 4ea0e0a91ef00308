"""The curves of init_small.py as an image: bits per byte by tokens, means and the seeds' range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot

COLOURS = ("#888888", "#1b3a6b", "#2a8c82", "#e07b39")


def draw(
    tokens: Sequence[int], bits: Mapping[str, np.ndarray], base_bits: float, path: Path
) -> None:
    """Write the image: a curve for each of `bits` [seeds, points]; its format is that of the
    file's name.
    """
    figure, axes = pyplot.subplots(figsize=(6.4, 4.0), constrained_layout=True)
    for (name, found), colour in zip(bits.items(), COLOURS, strict=True):
        axes.plot(tokens, found.mean(0), color=colour, marker="o", markersize=3, label=name)
        axes.fill_between(tokens, found.min(0), found.max(0), color=colour, alpha=0.2, lw=0)
    axes.axhline(base_bits, color="#bbbbbb", linewidth=1, linestyle="--", zorder=0)
    axes.annotate("the base model", (0, base_bits), fontsize=8, va="bottom")
    axes.set(xlabel="tokens", ylabel="held-out bits per byte")
    axes.set_title(f"A small model's first {tokens[-1]:,} tokens", loc="left", fontsize=10)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
