"""Release: the model that a run is about, merged of its phases' models as its recipe says.

In: a run whose phases are trained. Out: `models/release` with its card, scored on the held-out
text; where the run's recipe has no [release], its last phase's model. What is there already stays.
The trainer does it (trainer/release.py), as it does at the end of a training.
"""

from __future__ import annotations

from pathlib import Path

from flows import stages
from flows.job import Profile
from schemas import run as runs
from schemas.errors import UserError
from schemas.find_run import find_run
from schemas.recipe import RELEASE
from schemas.store import Store


def release(store_url: str, run: str, profile: Profile) -> Path:
    """The folder of the released model; UserError where phases are still to be trained."""
    run_json = find_run(Store.at(store_url), run)
    described = runs.load(str(run_json))
    trained = runs.made_models(run_json.parent, described)
    left = [phase.name for phase in described.phases if phase.name not in trained]
    if left:
        raise UserError(
            f"run {run_json.parent.name} has still to train {', '.join(left)}; start `train` with "
            "its recipe, which goes on from where it stopped and then releases it"
        )
    stages.train(str(run_json), None, profile, fresh=False)
    name = RELEASE if described.release else described.phases[-1].name
    return run_json.with_name("models") / name
