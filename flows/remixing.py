"""Remix: a phase of what is built is mixed anew, and what that changes of the mixture before.

In: a `Job` that names one phase, whose recipe and overrides say the new mixture. Out: a manifest
under its id and a name, its difference from the one that a build made or that a run stands in, and
the command that trains with it. No token is touched (pipelines/remix.py). The command `remix` and
the flow of the same name both call it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flows import going_on
from flows.job import Job
from flows.named_mixtures import OF_MANIFEST, READ
from flows.options import STORE
from flows.orchestrate import task
from pipelines.difference import Difference, compare
from pipelines.manifests import publish_manifest
from pipelines.remix import decide_remix
from schemas import manifest as manifests
from schemas.digest import Json
from schemas.errors import UserError
from schemas.find_manifest import MAIN, NAME, named_manifest
from schemas.manifest import Manifest


@dataclass(frozen=True)
class Remixed:
    """A mixture that was made of what is built; `before` is what it is compared with."""

    manifest: Manifest
    url: str
    name: str | None
    before: Manifest | None
    before_url: str | None
    old: str  # what was before, in words
    train: str  # a command
    mixtures: dict[str, str]  # phase -> name: what `train` names
    overrides: tuple[str, ...]  # that `train` needs beside them
    named_before: str | None  # the URL of what had the name (without one, the id) until now

    @property
    def is_new(self) -> bool:
        """Whether the name meant another manifest before, or none."""
        return self.named_before != self.url

    @property
    def renamed(self) -> str | None:
        """The id of that other manifest."""
        return self.named_before.split("/")[-2] if self.named_before and self.is_new else None

    @property
    def called(self) -> str:
        return self.name or self.manifest.id

    @property
    def difference(self) -> Difference | None:
        return compare(self.before, self.manifest) if self.before else None

    def public(self) -> dict[str, Json]:
        """The one object that --json prints."""
        difference = self.difference
        return {
            "manifest": self.manifest.id,
            "name": self.name,
            "url": self.url,
            "difference": difference.public() if difference else None,
            "train": self.train,
        }


@task("mix {job.phase} anew")
def remix(job: Job, name: str | None = None, run: str | None = None) -> Remixed:
    """Mix the phase of a job anew and name the result; `run` goes on with it from where it stands.

    Raises UserError for a name that cannot be one, and for what `decide_remix` refuses.
    """
    if name is not None and (name == MAIN or not re.fullmatch(NAME, name)):
        raise UserError(
            f"{name} is no name for a mixture: it is a letter, then a-z, 0-9 and '-', and {MAIN} "
            "is what a build makes; choose another"
        )
    assert job.phase is not None
    phase, settings, place = job.phase, job.overrides, job.at()
    chosen = job.chosen(job.load())
    build = _command("data", job, [f"--phase {phase}"], settings)
    standing = going_on.standing(place, chosen, phase, run) if run else None
    decided = decide_remix(chosen, phase, place, build, standing)
    main = named_manifest(place, chosen.name, phase, MAIN)
    before_url = manifests.url_of(place, standing.manifest) if standing else main
    named_before = named_manifest(place, chosen.name, phase, name or decided.manifest.id)
    url = publish_manifest(place, decided, name)
    own = tuple(text for text in settings if not _is_mixed(phase, text, standing is not None))
    mixtures = {phase: name or decided.manifest.id}
    mixtures |= going_on.beside(place, chosen, phase, run) if run else {}
    named = [f"--manifest {p}={m}" for p, m in mixtures.items()]
    return Remixed(
        manifest=decided.manifest,
        url=url,
        name=name,
        before=standing.manifest if standing else manifests.load(main) if main else None,
        before_url=before_url,
        old=f"{standing.manifest.id}, window {standing.next_window:,} on" if standing else MAIN,
        train=_command("train", job, named, own),
        mixtures=mixtures,
        overrides=own,
        named_before=named_before,
    )


def told(made: Remixed, store: str) -> Iterator[str]:
    """Where a remix lies, and what can be done with it next."""
    where = f"{made.manifest.recipe}/{made.manifest.phase}/{made.called}"
    yield f"manifest {made.url}"
    if made.renamed:
        yield f"before   {made.called} was {made.renamed}, which keeps its id"
    yield f"card     mmbert card {where} --store {store}"
    yield f"train    {made.train}"


def _is_mixed(phase: str, override: str, of_run: bool) -> bool:
    """Whether a --set is a matter of the manifest, which `train --manifest` takes it from.

    What a run leaves out is one, too: its manifests say it.
    """
    key = override.partition("=")[0].strip()
    if of_run and key.startswith("exclusions."):
        return True
    mixed = "|".join((*OF_MANIFEST, *READ))
    return re.match(rf"phases\.{re.escape(phase)}\.({mixed})\b", key) is not None


def _command(name: str, job: Job, options: Sequence[str], overrides: Sequence[str]) -> str:
    """A command as a person would type it."""
    parts = ["mmbert", name, job.recipe, *options]
    parts += [f"--set {shlex.quote(text)}" for text in overrides]
    return " ".join(
        [*parts, *([f"--store {shlex.quote(job.store)}"] if job.store != STORE else [])]
    )
