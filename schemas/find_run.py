"""Which run a person means: its folder, its run.json, its name in a store, or the start of one."""

from __future__ import annotations

from pathlib import Path

from schemas.errors import UserError
from schemas.store import Store, join, local_path


def find_run(store: Store, reference: str) -> Path:
    """The run.json of a run; UserError when there is none, or several."""
    reference = reference.strip()
    given = Path(reference)
    for place in (given, given / "run.json"):
        if reference and place.name == "run.json" and place.is_file():
            return place.absolute()
    runs = local_path(join(store.url, "runs"))
    if runs is None:
        raise UserError(
            f"{store.url} is not on a disk of this machine, where the log and the journal of a run "
            "lie: give the folder of the run, and the store with --store"
        )
    names = sorted(path.parent.name for path in runs.glob("*/run.json"))
    meant = [name for name in names if reference and name.startswith(reference)]
    if reference in names:
        meant = [reference]
    if len(meant) == 1:
        return runs / meant[0] / "run.json"
    if meant:
        raise UserError(f"{reference} begins several runs: {', '.join(meant)}; give more of it")
    listed = ", ".join(names[:12]) or "none"
    raise UserError(
        f"{store.url} has no run {reference or '(empty)'}; give the folder of a run, or its name "
        f"(there are: {listed}{', ...' if len(names) > 12 else ''})"
    )
