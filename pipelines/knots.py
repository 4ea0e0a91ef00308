"""Knots: how many rows of a stratum a phase has delivered before the windows where weights change.

steps    q_0 .. q_{m-1}: the targets of a stratum in m equal parts of the phase
knots    the windows nearest to where one step gives way to the next
rows     round(K (q_0 + .. + q_{i-1} + x q_i) / (q_0 + .. + q_{m-1})) before a window that lies a
         share x into part i, halves up; in integers, so that 0 and K at the ends are exact
"""

from __future__ import annotations

from collections.abc import Sequence


def knot_windows(num_steps: int, windows: int) -> tuple[int, ...]:
    """The windows inside a phase at which the steps of its weights meet; fewer in a short one."""
    nearest = {(2 * i * windows + num_steps) // (2 * num_steps) for i in range(1, num_steps)}
    return tuple(sorted(nearest - {0, windows}))


def rows_before(window: int, windows: int, rows: int, steps: Sequence[int]) -> int:
    """Of the `rows` of a stratum over a phase, those before one of its windows."""
    if not any(steps):
        steps = (1,)  # a row or two of what is too small to be a target
    whole, part = divmod(window * len(steps), windows)
    given = windows * sum(steps[:whole]) + (part * steps[whole] if part else 0)
    total = windows * sum(steps)
    return (2 * rows * given + total) // (2 * total)
