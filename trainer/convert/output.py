"""Where a model is written: a place of its own, since what stands there is deleted."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from schemas.errors import UserError


def replaceable(output: Path, inputs: Iterable[Path] = ()) -> Path:
    """`output`, links resolved, where a model may replace what is there.

    That is nothing, an empty folder, or a model: config.json and no folders. Raises UserError for
    anything else, and when `output` is one of the inputs or holds one.
    """
    found = output.resolve()
    for path in inputs:
        if path.resolve().is_relative_to(found):
            raise UserError(f"{output} would replace {path}, which is read: name another output")
    if not found.exists():
        return found
    held = list(found.iterdir()) if found.is_dir() else [found]
    is_model = found / "config.json" in held and not any(path.is_dir() for path in held)
    if held and not is_model:
        raise UserError(
            f"{output} exists and is no model that could be replaced: name another output, or "
            "delete it first"
        )
    return found
