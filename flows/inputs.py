"""What a recipe reads from elsewhere, and what of it cannot be had from here.

In: a recipe. Out: its `Missing` inputs: sources, the tokenizer, the model to start from, each with
the reason and what mends it. Nothing is fetched: places are looked up all at once and given
LOOK_UP_S seconds together, so that a machine without a network is told so and not kept waiting.
"""

from __future__ import annotations

import re
import shlex
import textwrap
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flows.supply import has_published_sizes
from pipelines.evaluation_texts import list_files
from pipelines.remote import ask
from pipelines.source_files import sample_hint
from schemas.errors import UserError
from schemas.recipe import Recipe
from schemas.store import Store

LOOK_UP_S = 10.0
HUB_LOOK_UP_S = 6.0  # so that the command ends within ten
_DOWNLOAD = (
    "download it (`hf download OWNER/NAME --local-dir DIR`) and name the folder with "
    "--set start.model=DIR"
)
HUB = "hf://"
ELSEWHERE = (
    "point each elsewhere with --set KEY=PLACE; `mmbert sample DIR` writes a sample of FineWeb2, "
    "DCLM and Dolmino"
)


@dataclass(frozen=True)
class Missing:
    """An input that is not to be had; `key` is that of the recipe: `sources.dclm.path`."""

    key: str
    place: str
    reason: str  # "does not exist", ...
    remedy: str

    @property
    def source(self) -> str | None:
        """The source's name, where it is one."""
        kind, name, *_ = self.key.split(".")
        return name if kind == "sources" else None

    def __str__(self) -> str:
        return f"{self.key}: {self.place} {self.reason}; {self.remedy}"


def missing_inputs(recipe: Recipe) -> tuple[Missing, ...]:
    """Every input of a recipe that cannot be had, in the recipe's order."""
    places = {f"sources.{n}.path": s.path for n, s in recipe.sources.items() if s.path}
    if recipe.tokenizer.path is not None:
        places["tokenizer.path"] = recipe.tokenizer.path
    if recipe.start is not None:
        places["start.model"] = recipe.start.model
    gated = {f"sources.{name}.path" for name, source in recipe.sources.items() if source.gated}
    troubles = look_up(places.values())
    found = []
    for key, place in places.items():
        trouble = troubles.get(place)
        if key in gated and place.startswith(HUB) and not _has_account():
            found.append(Missing(key, place, f"is gated{_after(trouble)}", _consent(key)))
        elif key == "start.model" and "://" in place:
            found.append(Missing(key, place, "is not on a disk of this machine", _DOWNLOAD))
        elif trouble is not None:
            found.append(Missing(key, place, trouble, _remedy(recipe, key, place)))
    return tuple(found)


def require_inputs(recipe: Recipe, store: Store) -> None:
    """UserError, before any work, when inputs cannot be had, or a start model does not fit.

    It says with which settings `store` was built from text that lay elsewhere.

    Of lists that lie elsewhere (exclusions at a URL) the step that reads them tells.
    """
    for key, places in recipe.exclusions:
        list_files([place for place in places if "://" not in place], f"exclusions.{key}")
    missing = missing_inputs(recipe)
    lost = [recipe.sources[m.source] for m in missing if m.source is not None]
    can_be_planned = all(has_published_sizes(source) for source in lost)
    remedy = "`mmbert plan` says for each what mends it" if can_be_planned else ELSEWHERE
    refuse(missing, (_as_built(recipe, store) if missing else "") or remedy)
    if recipe.start is not None:
        from pipelines.tokenizer import read
        from trainer.start import require_fit

        path = recipe.tokenizer.path
        # One to be trained, or to be fetched, is compared when it is there.
        sealed = None
        if path is not None and "://" not in path:
            sealed, _ = read(path, recipe.tokenizer.special)
        require_fit(recipe.start, recipe.model, sealed)


def _as_built(recipe: Recipe, store: Store) -> str:
    """What to add so that a recipe reads what the store was built from; nothing if that is it."""
    from flows.serve.defaults import places_built

    switches = " ".join(f"--set {shlex.quote(line)}" for line in places_built(recipe, store))
    return f"{store.url} was built from other places, so add: {switches}" if switches else ""


def require_hub() -> None:
    """UserError when the three data sets cannot be had from the hub."""
    from pipelines.sample.from_hub import PLACES

    for place, trouble in look_up(PLACES, HUB_LOOK_UP_S).items():
        raise UserError(
            f"{place} {trouble}: the hub is needed for --from-hub; connect to it, or leave the "
            "switch out for a sample of made text"
        )


def refuse(missing: Sequence[Missing], remedy: str) -> None:
    """UserError that names missing inputs; `remedy` mends several. None is no error."""
    if len(missing) == 1:
        raise UserError(str(missing[0]))
    if missing:
        alike: dict[str, list[str]] = {}
        for found in missing:
            place = "" if "://" in found.place else f"={found.place}"
            alike.setdefault(found.reason, []).append(found.key + place)
        told = ", ".join(f"{', '.join(names)} ({reason})" for reason, names in alike.items())
        raise UserError(f"{len(missing)} inputs cannot be had: {told}; {remedy}")


def look_up(places: Iterable[str], within_s: float | None = None) -> dict[str, str]:
    """Why places cannot be had: "does not exist", "cannot be reached (...)"; the rest are there."""
    troubles: dict[str, str] = {}
    threads = []
    within_s = LOOK_UP_S if within_s is None else within_s
    for place in dict.fromkeys(places):
        if "://" not in place:
            _ask(place, troubles)
            continue
        troubles[place] = f"gave no answer within {within_s:.0f} s"
        # A daemon: a look-up that never ends must not keep the process.
        threads.append(threading.Thread(target=_ask, args=(place, troubles), daemon=True))
    deadline = time.monotonic() + within_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return {place: trouble for place, trouble in troubles.items() if trouble}


def _ask(place: str, troubles: dict[str, str]) -> None:
    try:
        find(place)
        troubles[place] = ""
    except FileNotFoundError:
        troubles[place] = "does not exist"
    except Exception as error:  # whatever a file system's client raises where it finds no answer
        troubles[place] = f"cannot be reached ({_reason(error)})"


def find(place: str) -> None:
    """FileNotFoundError where nothing is, and what its file system raises that cannot say.

    fsspec's `exists` tells neither from the other: it is False for an unreachable hub, too.
    """
    ask(place)


def _reason(error: Exception) -> str:
    """Short, and without addresses, so that places that fail alike are told alike."""
    told = (error.strerror if isinstance(error, PermissionError) else None) or str(error)
    told = re.sub(r"https?://\S*[^\s:.,]", "it", told)
    return textwrap.shorten(told, 120, placeholder=" ...") or type(error).__name__


def _has_account() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None


def _after(trouble: str | None) -> str:
    return f" and {trouble}" if trouble else ""


def _consent(key: str) -> str:
    return (
        "accept its terms on the hub and log in with `hf auth login`, or point it at a copy with "
        f"--set {key}=DIR"
    )


def _remedy(recipe: Recipe, key: str, place: str) -> str:
    if "://" in place:
        return f"connect to it, or point it at a copy with --set {key}=DIR"
    if key == "tokenizer.path":
        return "give a tokenizer.json, a SentencePiece .model or a folder with --set tokenizer.path"
    if key == "start.model":
        return "point it at a model with --set start.model=PATH"
    source = recipe.sources[key.split(".")[1]]
    return f"put its text there, point it elsewhere with --set {key}=DIR{sample_hint(source)}"
