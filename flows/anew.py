"""Training from the start: `--fresh`. An earlier run of the same description is set aside.

Whatever starts a flow run again (Retry, an automation) starts it with the same parameters. So the
run's folder says which flow run has begun it anew, and that one goes on with what it began.
"""

from __future__ import annotations

import time
from pathlib import Path

from flows.console import console
from flows.going_on import at_work
from flows.orchestrate import flow_run_id
from schemas.errors import UserError

BEGUN_BY = ".begun-by"  # the id of a flow run


def has_begun(run_json: Path) -> bool:
    """Whether this flow run began the run anew, before it was started again."""
    by = run_json.with_name(BEGUN_BY)
    return by.exists() and by.read_text() == flow_run_id()


def begin(run_json: Path) -> None:
    """Leave nothing but the description in a run's folder; what was there gets another name.

    Raises UserError while a trainer is at work there.
    """
    folder = run_json.parent
    if at_work(folder):
        raise UserError(
            f"--fresh: a trainer is at work in {folder}; stop it, which saves a checkpoint, then "
            "give the same command again"
        )
    if any(path.name[0] != "." and path != run_json for path in folder.iterdir()):
        aside = folder.with_name(f"{folder.name}.{time.strftime('%Y%m%d-%H%M%S')}")
        folder.rename(aside)
        folder.mkdir()
        run_json.write_bytes((aside / run_json.name).read_bytes())
        console.say(f"  the earlier run is now {aside}")
    run_json.with_name(BEGUN_BY).write_text(flow_run_id() or "")
