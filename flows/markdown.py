"""Markdown for artifacts: tables, and links that lead to the viewer where one runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from flows.viewer.links import link, viewer_of
from schemas.store import Store


def text(value: object) -> str:
    """Words of a recipe or a file, as they are: nothing in them is Markdown or HTML."""
    line = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", line)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> str:
    """Cells are escaped; the first `texts` columns stand left, figures right."""
    ends = ["---" if i < texts else "---:" for i in range(len(columns))]
    lines = [[text(column) or " " for column in columns], ends]
    lines += [[text(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def to(store: Store, url: str, words: str) -> str:
    """A link to the page of what lies at a URL of the store, or its place where no viewer runs."""
    address = link(store, url)
    return f"[{text(words)}]({address})" if viewer_of(store) else f"{text(words)}: `{address}`"


def links(store: Store, parts: Iterable[str]) -> str:
    """Several of them: in a line, or one below the other where they are long."""
    return " · ".join(parts) if viewer_of(store) else "\n".join(f"- {part}" for part in parts)


def image(address: str, words: str) -> str:
    return f"![{text(words)}]({address})"
