"""Figures as people read them: the same in the console, in a report and on a card."""

from __future__ import annotations

from collections.abc import Mapping

DECIMALS = 3  # of bits per byte


def amount(value: float) -> str:
    """Three figures and a unit: `0`, `640`, `12.3 k`, `1.94 M`, `2.3 T`."""
    for unit, size in (("P", 1e15), ("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def num_bytes(count: float) -> str:
    """`640 B`, `12.3 kB`, `1.9 GB`."""
    text = amount(count)
    return f"{text.replace('B', 'G')}B" if text[-1].isalpha() else f"{text} B"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `10 days`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    if minutes < 2 * 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{seconds / 86_400:.3g} days"


def taus(first: float, last: float | None) -> str:
    """`0.7`; `0.7 to 0.3` of a tau that changes over a phase."""
    return f"{first:g}" if last is None else f"{first:g} to {last:g}"


def setting(value: object) -> str:
    """A value of a recipe or a manifest: `none`, `yes`, `1,000`, `0.3`, `web, wiki`, `web 2`."""
    if isinstance(value, bool) or value is None:
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.10g}"  # what differs reads so; what is left of a sum does not show
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {setting(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def bits(value: float | None) -> str:
    """Of bits per byte: `1.234`; nothing where there is no figure."""
    return "" if value is None else f"{value:.{DECIMALS}f}"


def rose(before: float | None, after: float | None) -> bool:
    """Whether bits per byte rose, at the decimals that are shown."""
    if before is None or after is None:
        return False
    return round(after, DECIMALS) > round(before, DECIMALS)
