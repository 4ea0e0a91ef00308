"""The run description: all that `torchrun -m trainer RUN.json` needs.

The manifests in order, with model, optimiser and schedules. It lies in the run's folder,
`runs/<recipe>-<id>/run.json`; what it names is relative to the store, so a store can be moved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from schemas.digest import content_id
from schemas.errors import UserError
from schemas.ledger import Frozen
from schemas.recipe import (
    RELEASE,
    START,
    UNTRAINED,
    ModelSettings,
    Optimiser,
    Phase,
    Release,
    Start,
)
from schemas.store import Store, exists, join, json_file, read_bytes, write_bytes

RELEASED = "release.json"  # in models/release: the settings that it was made with


class HeldoutStratum(Frozen):
    folder: str  # relative to the store
    source: str
    language: str
    documents: int  # that are scored: the first of the stratum in key order
    shards: tuple[str, ...]  # file names


class Heldout(Frozen):
    """Held-out text with its one mask: `heldout/<id>.json` in the store."""

    id: str = ""
    tokenizer: str
    vocab_size: int
    context: int
    mask_rate: float
    min_documents: int = 5  # a language with fewer, or with fewer targets, has no figure of its
    min_targets: int = 2_000  # own: it is pooled by script and by phase of entry
    strata: tuple[HeldoutStratum, ...]

    def sealed(self) -> Heldout:
        content = self.model_dump(mode="json", exclude={"id"})
        return self.model_copy(update={"id": content_id(content)})


class RunPhase(Frozen):
    """A phase of a run. Context, mask rate, packing and budget are the manifest's."""

    name: str
    manifest: str  # relative to the store
    settings: Phase
    segment: str | None = Field(  # likewise: the newest manifest that goes on with it
        None, exclude_if=lambda segment: segment is None
    )

    @property
    def current(self) -> str:
        """The manifest that plans it: it knows which one plans its earlier windows."""
        return self.segment or self.manifest


class RunStart(Frozen):
    """The model that a run starts from. Its digest is part of the run's id, its place is not."""

    settings: Start
    digest: str  # sha256 of its weights' file


class SourceNote(Frozen):
    """What a model card says of a source."""

    name: str
    path: str
    licence: str


class Run(Frozen):
    """`run.json`; `seed` starts weights and dropout.

    `id` covers what decides the weights of the phases' models, as they were begun; `checksum` also
    the notes, the places, the segments that phases go on with, and how they are released: another
    `release` is another merge, not another training.
    """

    format_version: int = 1
    id: str = ""
    recipe: str
    seed: int
    tokenizer: str  # folder, relative to the store
    heldout: str  # file, relative to the store
    model: ModelSettings
    optimiser: Optimiser
    phases: tuple[RunPhase, ...]
    start: RunStart | None = None
    release: Release | None = None
    title: str = ""
    sources: tuple[SourceNote, ...] = ()
    checksum: str = ""  # content id of all the rest

    @property
    def models(self) -> tuple[str, ...]:
        """The models that it makes: one of each phase, then the one that is released."""
        return (*(phase.name for phase in self.phases), *([RELEASE] if self.release else []))

    def before(self, model: str) -> str | None:
        """The model that another one was made from, by training or by merging over it."""
        first = START if self.start else UNTRAINED
        if model == first or (model == RELEASE and self.release is None):
            return None
        after = {phase.name: phase.settings.after or first for phase in self.phases}
        if model != RELEASE:
            return after[model]
        assert self.release
        return self.release.base or after[self.release.phases[-1]]

    def sealed(self) -> Run:
        beside = {"id", "release", "title", "sources", "checksum"}
        content = self.model_dump(mode="json", exclude=beside)
        if self.start:
            del content["start"]["settings"]["model"]  # a place
        for phase in content["phases"]:
            phase.pop("segment", None)
        return self.model_copy(update={"id": content_id(content)})


def url_of(store: Store, run: Run) -> str:
    """Where a run's description lies or would lie; everything of the run is beside it."""
    return join(store.url, "runs", f"{run.recipe}-{run.id}", "run.json")


def publish(store: Store, run: Run) -> str:
    """Write run.json where it says anything new; returns its URL."""
    url = url_of(store, run)
    content = run.model_dump(mode="json", exclude={"checksum"})
    data = json_file(content | {"checksum": content_id(content)})
    if not exists(url) or read_bytes(url) != data:
        write_bytes(url, data)
    return url


def with_segments(store: Store, run: Run, named: Mapping[str, str | None]) -> Run:
    """A run whose phases go on with the segments that are named, by phase, relative to the store.

    A phase that is not named goes on with the one that its run.json says, if there is one.
    """
    try:
        known = {phase.name: phase.segment for phase in load(url_of(store, run)).phases}
    except (FileNotFoundError, ValueError):  # the first time, or written by another version
        known = {}
    segments = known | dict(named)
    phases = (p.model_copy(update={"segment": segments.get(p.name)}) for p in run.phases)
    return run.model_copy(update={"phases": tuple(phases)})


def load(url: str) -> Run:
    return Run.model_validate_json(read_bytes(url))


def store_of(run_url: str) -> Store:
    """The store that a run lies in: runs/<name>/run.json."""
    return Store.at(run_url.rsplit("/", 3)[0])


def is_made(folder: Path, run: Run, model: str) -> bool:
    """Whether one of a run's models lies in the run's folder, made as the run says.

    A phase's model that is there is the one: all that decides it is in the run's id. A release is
    the one when its RELEASED says the run's settings.
    """
    made = folder / "models" / model
    if model != RELEASE:
        return made.is_dir()
    try:
        said = Release.model_validate_json((made / RELEASED).read_bytes())
    except (OSError, ValueError):
        return False
    return said == run.release


def made_models(folder: Path, run: Run) -> set[str]:
    """The phases whose models lie in the run's folder, and `release` where it is made.

    The models alone decide: a log may be deleted.
    """
    return {model for model in run.models if is_made(folder, run, model)}


def is_finished(run_json: Path, phase: str | None = None) -> bool:
    """Whether one phase is trained, or every one and the model released that is made of them."""
    run = load(str(run_json))
    return made_models(run_json.parent, run).issuperset({phase} if phase else run.models)


def weights_file(model: str) -> Path:
    """The weights in a `transformers` directory, or a Composer checkpoint.

    Raises UserError when there are none.
    """
    path = Path(model)
    names = ("model.safetensors", "pytorch_model.bin") if path.is_dir() else ("",)
    for weights in (path / name for name in names):
        if weights.is_file():
            return weights
    raise UserError(
        f"start.model: {model} is neither a folder with model.safetensors or pytorch_model.bin nor "
        "a Composer .pt; point it at a model with --set start.model=PATH"
    )


def digest_of_weights(model: str) -> str:
    """sha256 of a model's weights; UserError when it has none that can be read."""
    weights = weights_file(model)
    try:
        with weights.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(
            f"start.model: {weights} cannot be read ({error.strerror}); mend its permissions, or "
            "point it at another model with --set start.model=PATH"
        ) from error
