"""What raw text there is: the files of every source, grouped into origins.

In: the recipe's sources. Out: `Origin`s, one for each (source, language), with their files. An
origin is what one or two strata are built from: its training text and its held-out text.

    fineweb2   PATH/data/<lang_Script>/{train,test}/*.parquet
    dclm       PATH/**/*.jsonl.{zst,gz}                English
    dolmino    PATH/data/<subset>/**/*.{json,jsonl}.{gz,zst}    English, one source a subset
    documents  PATH/**/*.{parquet,json,jsonl}[.gz|.zst]    in the language that the source names
               PATH/<lang_Script>/**/...                   where it names none; folders of other
               names by its table `languages`; PATH/<subset>/... before either where it has subsets

A path may also be one such file, or a list of files (pipelines/source_files.py).

Imported strata are origins as well, without files: pipelines/imported.py finds them in the store.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pipelines.remote import version_of
from pipelines.source_files import TEXT, Found, files_of, known, pinned_root, sample_hint
from schemas.errors import UserError
from schemas.language import is_subset, members
from schemas.recipe import Phase, Recipe
from schemas.text import Source

ENGLISH = "eng_Latn"
_LOOK_UPS = 16  # at a time
MULTILINGUAL = "multilingual"  # the share of the temperature group
_JSON = re.compile(r"\.jsonl?(\.gz|\.zst)?$")


@dataclass(frozen=True)
class InputFile:
    """One raw file; `split` is "train" or "test" (the source's own held-out text)."""

    url: str
    relative: str  # to the source's path
    size_bytes: int
    split: str = "train"
    version: str = ""  # of its content, as its store tells it: see pipelines/remote.py


@dataclass(frozen=True)
class ImportedStratum:
    """A stratum that `mmbert import-mds` has put into the store."""

    folder: str
    tier: str
    tokenizer: str
    tokens: int


@dataclass(frozen=True)
class Origin:
    """All files of one language of one source; `source` is written `dolmino/math` for a subset."""

    source: str
    language: str
    files: tuple[InputFile, ...]
    imported: tuple[ImportedStratum, ...] = ()  # in place of files, whatever their tokenizer
    revision: str = ""  # the hub's commit that its files are of

    @property
    def code(self) -> str:
        return self.language.split("_")[0]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def inventory(recipe: Recipe) -> tuple[Origin, ...]:
    """Every origin that the recipe's sources have files of, in order of source and language.

    Raises UserError when a source's path does not exist or holds no file of its format, and for
    a file of `documents` whose language nothing says.
    """
    sources = {name: s for name, s in recipe.sources.items() if s.format != "imported"}
    origins = [o for name, source in sources.items() for o in _origins(name, source)]
    return tuple(sorted(origins, key=lambda o: (o.source, o.language)))


def _origins(name: str, source: Source) -> list[Origin]:
    root, revision = pinned_root(name, source)
    found: list[tuple[tuple[str, str, str], Found]] = []
    for file in files_of(name, source, root):
        place = _place(name, source, file.relative)
        if place is not None:
            found.append((place, file))
    with ThreadPoolExecutor(_LOOK_UPS) as pool:  # an index page of https tells no sizes
        infos = list(pool.map(known, (file for _, file in found)))
    groups: dict[tuple[str, str], list[InputFile]] = {}
    for ((subset, language, split), file), info in zip(found, infos, strict=True):
        key = (f"{name}/{subset}" if subset else name, language)
        size = int(str(info["size"]))
        made = InputFile(file.url, file.relative, size, split, version_of(info))
        groups.setdefault(key, []).append(made)
    if not groups:
        raise UserError(
            f"sources.{name}: {source.path} holds no text in the {source.format} layout; "
            f"point it elsewhere with --set sources.{name}.path=DIR{sample_hint(source)}"
        )
    return [
        Origin(
            source_name, language, tuple(sorted(files, key=lambda f: f.relative)), revision=revision
        )
        for (source_name, language), files in groups.items()
    ]


def _place(name: str, source: Source, relative: str) -> tuple[str, str, str] | None:
    """(subset, language, split) of a file, or None when it is no file of the layout."""
    parts = relative.split("/")
    if source.format == "documents":
        if not TEXT.search(relative) or any(part.startswith((".", "_")) for part in parts):
            return None
        subset, inside = (parts[0], parts[1:]) if source.subsets else ("", parts)
        if source.subsets and not inside:
            raise UserError(
                f"sources.{name}: {source.path}/{relative} lies in no folder of a subset; move it "
                f"into one or set sources.{name}.subsets=false"
            )
        if source.language is not None:
            return subset, source.language, "train"
        if source.languages:  # folders that it does not name are not read
            language = source.languages.get(inside[0]) if len(inside) > 1 else None
            return (subset, language, "train") if language else None
        return subset, _folder(name, source, inside), "train"
    if source.format == "fineweb2":
        if not relative.endswith(".parquet") or len(parts) < 3:
            return None
        language, split = parts[-3], parts[-2]
        known = is_subset(language) and split in ("train", "test")
        return ("", language, split) if known else None
    if not _JSON.search(relative):
        return None
    if source.format == "dolmino":
        inside = parts[1:] if parts[0] == "data" else parts
        return (inside[0], ENGLISH, "train") if len(inside) > 1 else None
    return "", ENGLISH, "train"


def _folder(name: str, source: Source, parts: list[str]) -> str:
    """The language that a file's first folder names; UserError where it names none."""
    if len(parts) < 2 or not is_subset(parts[0]):
        raise UserError(
            f"sources.{name}: {source.path}/{'/'.join(parts)} lies in no folder of a language "
            "(PATH/fao_Latn/...); move it into one, or say what all of the source is written in "
            f"with --set sources.{name}.language=fao_Latn"
        )
    return parts[0]


def wanted(recipe: Recipe, origins: Iterable[Origin]) -> tuple[Origin, ...]:
    """The origins that some phase of the recipe reads.

    Raises UserError when a phase names a language that no temperature source has.
    """
    origins = tuple(origins)
    for name, phase in recipe.phases.items():
        read_by(name, phase, origins)
    return wanted_of(recipe, origins)


def wanted_of(recipe: Recipe, origins: Iterable[Origin]) -> tuple[Origin, ...]:
    """The same of a part of the recipe's origins, where languages may be missing."""
    reading = [(phase, _named(phase)) for phase in recipe.phases.values()]
    return tuple(
        o for o in origins if any(reads(p, o.source, o.code, codes) for p, codes in reading)
    )


def read_by(name: str, phase: Phase, origins: Iterable[Origin]) -> tuple[Origin, ...]:
    """The origins that one phase reads; a share of 0 reads nothing."""
    origins = tuple(origins)
    codes = phase_codes(name, phase, {o.code for o in origins if in_group(phase, o.source)})
    return tuple(o for o in origins if reads(phase, o.source, o.code, codes))


def _named(phase: Phase) -> frozenset[str]:
    named = phase.languages
    return members(named) if isinstance(named, str) else frozenset(named)


def phase_codes(name: str, phase: Phase, present: set[str]) -> frozenset[str]:
    """ISO 639-3 codes of a phase's temperature group: its set, or the codes it lists.

    Raises UserError for a listed code that is not `present`, and for an unknown set.
    """
    for code in phase.languages if not isinstance(phase.languages, str) else ():
        if code not in present:
            near = difflib.get_close_matches(code, sorted(present), 3)
            hint = f"; close: {', '.join(near)}" if near else ""
            if "_" in code:
                hint = f"; languages are named without script here: write {code.split('_')[0]!r}"
            elif code in ("eng", "code"):
                what = "English" if code == "eng" else "code"
                hint = f"; {what} comes by a share of its own (dclm, starcoder, ...), not by tau"
            raise UserError(
                f"phases.{name}.languages: no source of its temperature group has text in "
                f"{code!r}{hint}; take it out of the recipe or add a source that has it"
            )
    return _named(phase)


def reads(phase: Phase, source: str, code: str, codes: frozenset[str]) -> str | None:
    """The share that a language of a source draws on in a phase, or None when it is not read.

    A share set by hand goes before the temperature group; `codes` are the group's languages.
    """
    key = share_key(phase, source)
    if key is None and in_group(phase, source) and code in codes:
        key = MULTILINGUAL
    return key if key is not None and phase.shares[key] > 0 else None


def in_group(phase: Phase, source: str) -> bool:
    """Whether a source's languages are weighted by temperature in this phase."""
    return MULTILINGUAL in phase.shares and source.split("/")[0] in phase.temperature_sources


def share_key(phase: Phase, source: str) -> str | None:
    """The key of `shares` that sets this source's part by hand: itself or its parent."""
    for key in (source, source.split("/")[0]):
        if key in phase.shares:
            return key
    return None
