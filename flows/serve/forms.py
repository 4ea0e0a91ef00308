"""The fields of the forms in the UI, and what is made of them.

Each field is a type: bounds and choices that the form itself holds a value to, a title and a line
of help. In: what somebody filled in. Out: a `Job`, or one sentence (UserError) that names the field
and what mends it. Choices are looked up whenever a deployment is registered: the packaged recipes
with those of the folder that MMBERT_RECIPES names, and the profiles.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from flows.job import PROFILES, RECIPES, Job, load_profile
from schemas.errors import UserError, did_you_mean
from schemas.find_manifest import NAME
from schemas.recipe import Recipe
from schemas.recipe_file import load_recipe, packaged_names

if TYPE_CHECKING:
    from prefect import Flow

RECIPES_VARIABLE = "MMBERT_RECIPES"  # names the folder of `mmbert serve --recipes DIR`
FIRST_PHASE = "pretrain"
MULTILINGUAL = "multilingual"  # the group of shares that tau weighs


def said(title: str, line: str) -> FieldInfo:
    """What a field shows above and below itself."""
    return Field(json_schema_extra={"title": title, "description": line})


class Choice:
    """A select of names that are known when the form is made."""

    def __init__(self, of: Literal["recipes", "profiles"]) -> None:
        self._of = of

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        names = recipe_names() if self._of == "recipes" else profile_names()
        return {**handler(core), "enum": names}


class Share(BaseModel):
    """A row of the table of shares."""

    group: str = Field(
        title="Group",
        min_length=1,
        description="multilingual (all languages that tau weighs), or a source: dclm, dolmino, ...",
    )
    share: float = Field(
        title="Share",
        ge=0,
        le=100,
        description="Its part of the mixture, beside the other shares; 0 leaves it out.",
    )


RecipeName = Annotated[
    str,
    Choice("recipes"),
    said("Recipe", "What is built, mixed and trained; `mmbert plan NAME` prints its bill."),
]
RecipeFile = Annotated[
    str,
    said(
        "Another recipe",
        "Path or URL of a recipe's .toml file; it takes the place of the one above.",
    ),
]
Phase = Annotated[
    str,
    Field(min_length=1),
    said("Phase", "In mmBERT's recipes: pretrain, extend, decay-eng, decay-cont or decay-all."),
]
OnlyPhase = Annotated[
    str, said("Only this phase", "One of the recipe's phases; empty for all of them.")
]
Tau = Annotated[
    float | None,
    Field(ge=0, le=1),
    said(
        "tau",
        "How languages are weighed: 1 by their size, 0 all alike; empty leaves the recipe's.",
    ),
]
TauEnd = Annotated[
    float | None,
    Field(ge=0, le=1),
    said("tau at the end", "tau moves evenly to this over the phase; empty: it stays."),
]
MaxEpochs = Annotated[
    float | None,
    Field(gt=0, le=1000),
    said(
        "Most epochs",
        "The cap: how often the pool holds a text at most; times budget / pool over the phase; "
        "empty: the recipe's.",
    ),
]
Shares = Annotated[
    list[Share],
    said(
        "Shares",
        "Of the groups that change, in the recipe's unit (tiny's extend: multilingual 84, dclm 8, "
        "dolmino 8).",
    ),
]
Pool = Annotated[
    int | None,
    Field(ge=1),
    said("Pool, tokens", "Tokens that weights and caps share out; empty leaves the recipe's."),
]
Budget = Annotated[
    int | None,
    Field(ge=1),
    said("Budget, tokens", "Tokens that training consumes; empty leaves the recipe's."),
]
MixtureName = Annotated[
    str,
    Field(pattern=f"^{NAME}$", max_length=60),
    said("Name of the new mixture", "A letter, then a-z, 0-9 and -; `main` is what a build makes."),
]
Mixtures = Annotated[
    list[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*=[A-Za-z0-9-]+$")]],
    said("Mixtures", "PHASE=NAME lines, as in extend=flatter; phases without one train `main`."),
]
Overrides = Annotated[
    list[Annotated[str, Field(pattern=r"^\s*[\w.\"-]+\s*=")]],
    said("Overrides", "For the experienced: recipe keys as in phases.extend.tau=0.3, one a line."),
]
StoreUrl = Annotated[
    str, Field(min_length=1), said("Store", "Where everything lies: a folder, or an s3:// URL.")
]
ProfileName = Annotated[
    str, Choice("profiles"), said("Profile", "Where it runs, and how wide: infra/profiles.")
]
Large = Annotated[
    bool,
    said("Build much text", "Build even what is above the profile's confirm_above_gb."),
]
Fresh = Annotated[bool, said("From the start", "Train anew; what was trained before is set aside.")]
TrainNext = Annotated[
    bool, said("Then train", "Start a training with the new mixture, as a run of its own.")
]
RunName = Annotated[
    str,
    Field(min_length=1),
    said("Run", "A run's name or the start of it, as `mmbert ls` lists it: tiny-1a2b."),
]
ModelName = Annotated[
    str,
    said(
        "Model",
        "A model of the run (extend, release, ...) or the folder of another; empty: its last.",
    ),
]


def form_of(flow: Flow[..., object]) -> dict[str, Any]:
    """The JSON schema of a flow's form. A number that may be left empty is one without a default.

    Prefect's own schema says number or null, for which its form asks first.
    """
    from prefect.utilities.callables import parameter_schema

    schema = parameter_schema(flow.fn).model_dump_for_openapi()
    for field in schema["properties"].values():
        kinds = field.get("anyOf", ())
        if {"type": "null"} in kinds:
            (kind,) = [kind for kind in kinds if kind != {"type": "null"}]
            del field["anyOf"], field["default"]
            field |= kind
    return schema


def recipe_names() -> list[str]:
    """Names of the recipes that somebody can choose, one's own first."""
    mine = _own_recipes()
    return [*mine, *(name for name in packaged_names(RECIPES) if name not in mine)]


def profile_names() -> list[str]:
    return sorted(path.stem for path in PROFILES.glob("*.toml"))


def _own_recipes() -> list[str]:
    folder = os.environ.get(RECIPES_VARIABLE)
    return packaged_names(Path(folder)) if folder else []


def find_recipe(name: str, file: str = "") -> str:
    """What `Job.recipe` takes; UserError for a name that nobody knows."""
    reference = file.strip() or name.strip()
    if reference in _own_recipes():
        return str(Path(os.environ[RECIPES_VARIABLE]).absolute() / f"{reference}.toml")
    names = recipe_names()
    if reference in names or reference.endswith(".toml"):
        return reference
    raise UserError(
        f"Recipe {reference}: there is none of this name{did_you_mean(reference, names)}; choose "
        f"one of {', '.join(names)}, or give the path or URL of a .toml file"
    )


def require_phase(recipe: Recipe, phase: str) -> str:
    """The name of a phase of the recipe; UserError that names the nearest."""
    name = phase.strip()
    if name in recipe.phases:
        return name
    raise UserError(
        f"Phase {name or '(empty)'}: recipe {recipe.name} has none of this name"
        f"{did_you_mean(name, list(recipe.phases))}; its phases are {', '.join(recipe.phases)}"
    )


def require_groups(recipe: Recipe, shares: list[Share]) -> None:
    """UserError for a share of what the recipe does not read."""
    known = [MULTILINGUAL, *recipe.sources]
    for row in shares:
        if row.group.strip().split("/")[0] not in known:
            raise UserError(
                f"Shares, {row.group}: recipe {recipe.name} reads none of this name"
                f"{did_you_mean(row.group, known)}; there are {', '.join(known)}"
            )


def job_of(
    recipe: str,
    recipe_file: str,
    store: str,
    profile: str,
    overrides: list[str],
    phase: str = "",
    mixtures: list[str] | None = None,
    fresh: bool = False,
) -> Job:
    """The job that a form asks for; UserError for what cannot be one."""
    from flows.named_mixtures import parse

    reference = find_recipe(recipe, recipe_file)
    lines = tuple(line.strip() for line in overrides if line.strip())
    loaded = load_recipe(reference, lines, RECIPES)
    return Job(
        recipe=reference,
        overrides=lines,
        store=store,
        phase=require_phase(loaded, phase) if phase.strip() else None,
        manifests=parse(mixtures or ()),
        fresh=fresh,
        profile=load_profile(profile),
    )


def mixed_anew(
    phase: str,
    tau: float | None,
    tau_end: float | None,
    max_epochs: float | None,
    shares: list[Share],
    pool_tokens: int | None,
    budget_tokens: int | None,
) -> list[str]:
    """What the form of `remix` changes of a phase, as lines KEY=VALUE."""
    numbers = {
        "tau": tau,
        "tau_end": tau_end,
        "max_epochs": max_epochs,
        "pool_tokens": pool_tokens,
        "budget_tokens": budget_tokens,
    }
    numbers |= {f'shares."{row.group.strip()}"': row.share for row in shares}
    return [f"phases.{phase}.{key}={value}" for key, value in numbers.items() if value is not None]
