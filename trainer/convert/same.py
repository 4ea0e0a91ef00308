"""Whether models can be merged: one configuration, one tokenizer, the same tensors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from schemas.digest import Json
from schemas.errors import UserError
from trainer.convert import from_transformers
from trainer.convert.tensor_file import Layout, read_layout

WEIGHTS = "model.safetensors"
BOOKKEEPING = {"_name_or_path", "transformers_version"}  # in config.json; no part of the model


def require_same_model(models: Sequence[Path]) -> None:
    """UserError naming what differs between the first model and another, weights apart."""
    first, *others = models
    config, tokenizer = _config(first), _bytes(first / "tokenizer.json")
    for other in others:
        theirs = _config(other)
        differ = [k for k in sorted({*config, *theirs}) if config.get(k) != theirs.get(k)]
        if differ:
            key = differ[0]
            raise UserError(
                f"{first} and {other} are different models: config.json says {key} = "
                f"{config.get(key)!r} and {theirs.get(key)!r} (differing: {', '.join(differ)}); "
                "merge models of one architecture and phase"
            )
        if tokenizer != _bytes(other / "tokenizer.json"):
            raise UserError(
                f"{first} and {other} have different tokenizer.json: merge models of one tokenizer"
            )


def common_layout(models: Sequence[Path]) -> Layout:
    """The first model's layout; UserError naming a tensor that another lacks or has otherwise."""
    first, *others = models
    layout = read_layout(first / WEIGHTS)
    for other in others:
        theirs = read_layout(other / WEIGHTS)
        for name in [*layout.names, *theirs.names]:
            mine, found = _seen(layout, name), _seen(theirs, name)
            if mine != found:
                raise UserError(
                    f"{name} is {mine} in {first} and {found} in {other}: merge models of one "
                    "architecture and precision"
                )
    return layout


def _config(directory: Path) -> dict[str, Json]:
    from_transformers.read_config(directory)
    content = json.loads((directory / "config.json").read_bytes())
    return {key: value for key, value in content.items() if key not in BOOKKEEPING}


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _seen(layout: Layout, name: str) -> str:
    if name not in layout.shapes:
        return "absent"
    return f"{layout.dtypes[name]} {list(layout.shapes[name])}"
