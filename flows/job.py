"""A job: all that the command line, or a form of the UI, hands to a flow.

The recipe says what, the profile where and how wide; only the recipe enters an id.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from flows.options import STORE
from schemas.errors import UserError
from schemas.ledger import Frozen
from schemas.profile import Beam, Training, Workers
from schemas.recipe import Recipe
from schemas.recipe_file import load_recipe
from schemas.store import Store

RECIPES = Path(__file__).parent / "recipes"
PROFILES = Path(__file__).parent.parent / "infra" / "profiles"


class Profile(Frozen):
    """Where and how wide things run: `infra/profiles/NAME.toml`, or a path to one."""

    build: Workers = Field(Workers(), description="where strata are built")
    beam: Beam = Field(Beam(), description="where duplicates and held-out text are decided")
    train: Training = Field(Training(), description="where models are trained")
    store: str = Field("", description="used where neither --store nor $MMBERT_STORE names one")
    nproc: int = Field(
        0,
        ge=0,
        description="training processes of a host; 0: one a GPU, or two on two cores and more",
    )
    threads: int = Field(0, ge=0, description="of each training process; 0: its part of the cores")
    micro_batch_tokens: int = Field(
        0, ge=0, description="that a device takes at once in training; 0: a pack as it is"
    )
    confirm_above_gb: float = Field(
        10.0, ge=0, description="of raw text: a build of more asks first, or needs --yes"
    )
    track: tuple[Literal["tensorboard", "trackio"], ...] = Field(
        (), description="trackers that get the training's log, too (the extra `track`)"
    )

    @property
    def num_gpus(self) -> int:
        """Of this machine, by their device files: torch would take seconds to say it."""
        return len(list(Path("/dev").glob("nvidia[0-9]*")))

    @property
    def gpus_of_a_host(self) -> int:
        """Where training runs: of this machine, or as a job asks for them."""
        return self.num_gpus if self.train.launcher == "local" else self.train.gpus

    @property
    def num_processes(self) -> int:
        """Of training, on each host."""
        return self.nproc or self.gpus_of_a_host or min(2, self._cores)

    @property
    def num_threads(self) -> int:
        """Of each training process."""
        return self.threads or max(1, self._cores // self.num_processes)

    @property
    def _cores(self) -> int:
        return (os.cpu_count() or 1) if self.train.launcher == "local" else self.train.cpus


class Job(Frozen):
    recipe: str = Field("tiny", description="a packaged name, a path or a URL")
    overrides: tuple[str, ...] = Field((), description="laid over the recipe: key=value")
    store: str = Field(STORE, description="a folder or any fsspec URL")
    phase: str | None = Field(None, description="only this one of the recipe's phases")
    manifests: dict[str, str] = Field(
        {}, description="phases that train with a mixture of this name in place of the recipe's"
    )
    fresh: bool = Field(False, description="train from the start; an earlier run is set aside")
    profile: Profile = Profile()

    def at(self) -> Store:
        return Store.at(self.store)

    def load(self) -> Recipe:
        return load_recipe(self.recipe, self.overrides, RECIPES)

    def chosen(self, recipe: Recipe) -> Recipe:
        """The recipe with no more phases than asked for."""
        if self.phase is None:
            return recipe
        if self.phase not in recipe.phases:
            raise UserError(
                f"--phase {self.phase}: recipe {recipe.name} has the phases "
                f"{', '.join(recipe.phases)}; name one of these"
            )
        only = {self.phase: recipe.phases[self.phase]}
        return recipe.model_copy(update={"phases": only, "release": None})

    def whole(self) -> Job:
        """The same job for all phases."""
        return self.model_copy(update={"phase": None})


def choose_store(given: str | None, profile: Profile) -> str:
    """--store or $MMBERT_STORE, else the profile's store, else a folder beside the user."""
    return given or profile.store or STORE


def load_profile(reference: str) -> Profile:
    """A profile by name or path; UserError when it is missing or says something unknown."""
    named = PROFILES / f"{reference}.toml"
    path = named if named.is_file() else Path(reference)
    if not path.is_file():
        names = ", ".join(sorted(found.stem for found in PROFILES.glob("*.toml"))) or "none"
        raise UserError(f"--on {reference}: no such profile; give a path or one of: {names}")
    try:
        return Profile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"
        raise UserError(
            f"--on {path}: {reason}; a profile holds {', '.join(Profile.model_fields)}"
        ) from None
