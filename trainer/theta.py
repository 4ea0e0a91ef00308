"""The bases of the rotary angles, and where a config.json says them; without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Theta(NamedTuple):
    """The base of the rotary angles: 10,000 in pretraining, 160,000 in later phases of mmBERT."""

    full: float  # of the layers that attend to the whole document
    local: float  # of the others


def theta_of(config: Mapping[str, Any]) -> Theta:
    """What a config.json says, as transformers 4 or 5 writes it; where it is silent, what their
    ModernBERT has."""
    rope = config.get("rope_parameters") or {}
    full, local = (
        rope.get(kind, {}).get("rope_theta", config.get(name, default))
        for kind, name, default in (
            ("full_attention", "global_rope_theta", 160_000.0),
            ("sliding_attention", "local_rope_theta", 10_000.0),
        )
    )
    return Theta(float(full), float(local))
