"""Segments: which manifest plans which windows of a phase.

A manifest that continues another plans the windows from `continues.from_window` on, and the other
those before. So a phase may change what it reads while a run is in it (another mixture, a
takedown, one more language), and the order of what it has read stays what it was. Strata, shards
and exclusions of a segment begin with those of the manifest before it, in the same order, so that
its own tables serve for all windows.
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas import manifest as manifests
from schemas.errors import UserError
from schemas.manifest import Manifest
from schemas.point import Point
from schemas.store import Store, join

Line = Sequence[Manifest]  # of a phase: what its last one continues, the first one first


def line_of(store: Store, manifest: Manifest) -> tuple[Manifest, ...]:
    """A manifest with all that it continues, the first one first; UserError when one is gone."""
    line = [manifest]
    while (before := line[0].continues) is not None:
        line.insert(0, load(store, manifest.recipe, manifest.phase, before.manifest))
    return tuple(line)


def load(store: Store, recipe: str, phase: str, identity: str) -> Manifest:
    """A manifest that a segment or a checkpoint names; UserError when it is gone."""
    url = join(store.url, "manifests", recipe, phase, identity, "manifest.json")
    try:
        return manifests.load(url)
    except FileNotFoundError:
        raise UserError(
            f"{url} is not there, and windows of a run were planned with it: bring it back, or "
            f"start {recipe}/{phase} afresh"
        ) from None


def begun(line: Line, window: int) -> Line:
    """The manifests of a line that plan windows before this one; of a phase's start the first."""
    return [line[0], *(manifest for manifest in line[1:] if manifest.from_window < window)]


def require_sealed(store: Store, line: Line, point: Point) -> None:
    """UserError where a phase would go on from a point that other manifests have brought it to."""
    current = line[-1]
    known = point.manifest or line[0].id
    before = line_of(store, load(store, current.recipe, current.phase, known))
    changed = first_change(before, line)
    if changed is not None and changed < point.next_window:
        raise UserError(
            f"phase {point.phase} stands at window {point.next_window} by manifest {known}, and "
            f"{current.id} plans windows from {changed} on in another way: what was trained is "
            f"sealed; go on with that one (--manifest {point.phase}={known}), or make one that "
            f"begins there with `mmbert remix {current.recipe} --phase {point.phase} --continue "
            f"{current.recipe}-{point.run}`"
        )


def first_change(one: Line, other: Line) -> int | None:
    """The first window that two lines of a phase plan with different manifests; None: none."""
    same = 0
    while same < min(len(one), len(other)) and one[same].id == other[same].id:
        same += 1
    return min((line[same].from_window for line in (one, other) if same < len(line)), default=None)
