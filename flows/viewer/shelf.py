"""What a store holds, as the viewer shows it, remembered between two looks.

In: a store, of any size and protocol. Out: a `View`. Records are content-addressed, so each is read
once; names and sizes are listed anew as often as a tenth of the time allows. A record that cannot
be read is named and takes nothing else with it.
"""

from __future__ import annotations

import copy
import json
import math
import threading
import time
from dataclasses import dataclass

from flows.going_on import at_work
from flows.story import Story, StoryFile
from flows.viewer.records import Found, Records
from pipelines.card.facts import Tally
from pipelines.holdings import Files, HeldManifest, HeldRun, HeldStratum, list_files
from schemas.find_manifest import MAIN
from schemas.manifest import Manifest
from schemas.run import Run, RunPhase
from schemas.store import Store, join, local_path
from schemas.stratum import HELDOUT, Stratum

SHARE_OF_TIME = 10  # a look that took a second is good for ten
TRIES = 5
FRESH_S = 60.0  # a run of another machine that wrote something within these is training


@dataclass(frozen=True)
class SeenRun:
    """A run with the story that its log tells; None where there is no log."""

    held: HeldRun
    story: Story | None
    is_at_work: bool  # a trainer, as far as can be known

    @property
    def name(self) -> str:
        return self.held.folder.rsplit("/", 1)[1]

    @property
    def state(self) -> str:
        if set(self.held.run.models).issubset(self.held.made):
            return "finished"
        if self.story is None:
            return "not begun"
        return "training" if self.is_at_work else "unfinished"


@dataclass(frozen=True)
class Source:
    """What a source has in one tier, over all languages."""

    name: str
    tier: str
    tally: Tally
    num_bytes: int  # of its shards


@dataclass(frozen=True)
class View:
    store: Store
    runs: tuple[SeenRun, ...]  # the newest first
    mixtures: tuple[HeldManifest, ...]  # by recipe; the phases as they were built, newest first
    strata: tuple[HeldStratum, ...]
    sources: tuple[Source, ...]
    broken: dict[str, str]  # why a URL cannot be read
    files: frozenset[str]  # the URL of each

    def has(self, url: str) -> bool:
        """Whether a file of a manifest, a run or a stratum is there."""
        return url in self.files

    def run(self, name: str) -> SeenRun | None:
        return next((run for run in self.runs if run.name == name), None)

    def mixture(self, path: str) -> HeldManifest | None:
        """By recipe/phase/id."""
        folder = self.store.resolve(f"manifests/{path}")
        return next((held for held in self.mixtures if held.folder == folder), None)

    def mixture_of(self, phase: RunPhase) -> HeldManifest | None:
        """The one that a run's phase reads, if it is still there."""
        return self.mixture(phase.current.removeprefix("manifests/").rsplit("/", 1)[0])

    def others(self, run: SeenRun) -> list[tuple[RunPhase, HeldManifest | None]]:
        """The phases of a run that read another mixture than what is `main` now; None: gone."""
        found = ((phase, self.mixture_of(phase)) for phase in run.held.run.phases)
        return [(phase, held) for phase, held in found if held is None or MAIN not in held.names]

    def stratum(self, path: str) -> HeldStratum | None:
        """By source/language/tier/id."""
        folder = self.store.resolve(f"strata/{path}")
        return next((held for held in self.strata if held.folder == folder), None)


class Shelf:
    """One store, looked at by several threads."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._records = Records()
        self._stories: dict[str, StoryFile] = {}
        self._view: View | None = None
        self._good_until = 0.0

    def view(self) -> View:
        with self._lock:
            if self._view is None or time.monotonic() > self._good_until:
                start = time.monotonic()
                self._view = self._look()
                end = time.monotonic()
                self._good_until = end + SHARE_OF_TIME * (end - start)
            return self._view

    def _look(self) -> View:
        broken: dict[str, str] = {}
        now = time.time()
        files = self._files(broken)
        strata = self._records.read(files, "stratum.json", Stratum, broken)
        mixtures = self._records.read(files, "manifest.json", Manifest, broken)
        runs = self._records.read(files, "run.json", Run, broken)
        sizes: dict[str, int] = {}
        for url, file in files.items():
            folder = url.rsplit("/", 1)[0]
            sizes[folder] = sizes.get(folder, 0) + file.num_bytes

        def sized(found: Found[Stratum] | Found[Manifest]) -> Files:
            return Files(sizes[found.folder], found.written)

        names = self._names(files)
        held = [
            HeldManifest(m.folder, m.record, tuple(names.get(m.folder, ())), sized(m))
            for m in mixtures
        ]
        kept = tuple(HeldStratum(s.folder, s.record, sized(s)) for s in strata)
        seen = [self._run(found, files, now) for found in runs]
        return View(
            self.store,
            tuple(sorted(seen, key=lambda run: -run.held.files.written)),
            tuple(_in_order(held)),
            kept,
            tuple(_sources(kept)),
            broken,
            frozenset(files),
        )

    def _files(self, broken: dict[str, str]) -> dict[str, Files]:
        """Every file of the folders that hold records."""
        files: dict[str, Files] = {}
        for top in ("manifests", "runs", "strata"):
            url = join(self.store.url, top)
            for _ in range(TRIES):
                try:
                    files |= list_files(Store(url))
                    break
                except FileNotFoundError:  # one went while they were listed: look again
                    continue
            else:
                broken[url] = f"files went while they were listed, {TRIES} times; load this anew"
        return files

    def _names(self, files: dict[str, Files]) -> dict[str, list[str]]:
        """The names of manifests by their folders; a name may point elsewhere tomorrow."""
        found: dict[str, list[str]] = {}
        start = join(self.store.url, "manifests") + "/"
        for url, file in files.items():
            parts = url.removeprefix(start).split("/")
            if url.startswith(start) and len(parts) == 3 and url.endswith(".json"):
                data = self._records.bytes_of(url, file)
                try:
                    target = str(json.loads(data)["manifest"])
                except (ValueError, KeyError, TypeError):
                    continue
                folder = join(url.rsplit("/", 1)[0], target)
                found.setdefault(folder, []).append(parts[2].removesuffix(".json"))
        return {folder: sorted(names) for folder, names in found.items()}

    def _run(self, found: Found[Run], files: dict[str, Files], seen: float) -> SeenRun:
        start = found.folder + "/"
        mine = {url.removeprefix(start): f for url, f in files.items() if url.startswith(start)}
        made = {url.split("/")[1] for url in mine if url.startswith("models/")}
        models = tuple(name for name in found.record.models if name in made)
        last = max(file.written for file in mine.values())
        size = Files(sum(f.num_bytes for f in mine.values()), last)
        url = join(found.folder, "log.jsonl")
        story = (
            self._stories.setdefault(url, StoryFile(url)).read() if "log.jsonl" in mine else None
        )
        # A page that is being drawn must not see the next look read on.
        held = HeldRun(found.folder, found.record, models, size)
        folder = local_path(found.folder)
        if folder is not None:
            is_at_work = at_work(folder)
        else:
            is_at_work = story is not None and abs(seen - mine["log.jsonl"].written) < FRESH_S
        return SeenRun(held, copy.deepcopy(story), is_at_work)


def _in_order(held: list[HeldManifest]) -> list[HeldManifest]:
    """By recipe; its phases as one build has written them; of each `main`, then the newest."""
    first: dict[tuple[str, str], float] = {}
    for m in held:
        key = m.manifest.recipe, m.manifest.phase
        first[key] = min(first.get(key, math.inf), m.files.written)

    def place(m: HeldManifest) -> tuple[str, float, str, bool, float]:
        recipe, phase = m.manifest.recipe, m.manifest.phase
        return recipe, first[recipe, phase], phase, MAIN not in m.names, -m.files.written

    return sorted(held, key=place)


def _sources(strata: tuple[HeldStratum, ...]) -> list[Source]:
    """By source and tier; held-out text last."""
    groups: dict[tuple[bool, str, str], list[HeldStratum]] = {}
    for held in strata:
        name = held.stratum.name
        groups.setdefault((name.tier == HELDOUT, name.source, name.tier), []).append(held)
    found = []
    for (_, source, tier), mine in sorted(groups.items(), key=lambda item: item[0]):
        tally = Tally(source)
        for held in mine:
            tally.add(held.stratum)
        found.append(Source(source, tier, tally, sum(held.files.num_bytes for held in mine)))
    return found
