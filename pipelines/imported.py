"""Imported strata: what `mmbert import-mds` has put into the store for a recipe's sources.

    STORE/strata/<source>/<lang_Script>/<tier>/<id>/

They stand beside the files that pipelines/inventory.py finds. Which of them a recipe reads is known
once its tokenizer is: those made with it, one for each language and tier.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import fsspec

from pipelines.inventory import MULTILINGUAL, ImportedStratum, Origin
from schemas import stratum as strata
from schemas.errors import UserError
from schemas.recipe import Phase, Recipe
from schemas.seal import Seal
from schemas.store import Store, join
from schemas.stratum import HELDOUT, Stratum

LAYOUT = "mds"  # what `made_from` says of imported strata


def imported(recipe: Recipe, store: Store) -> tuple[Origin, ...]:
    """An origin for each language of the imported sources, in order of source and language."""
    groups: dict[tuple[str, str], list[ImportedStratum]] = {}
    for source in _imported_sources(recipe):
        for folder in _folders(join(store.url, "strata", source)):
            found = strata.load(folder)
            if found is not None and found.made_from.get("layout") == LAYOUT:
                name = found.name
                stratum = ImportedStratum(folder, name.tier, found.tokenizer, found.tokens)
                groups.setdefault((name.source, name.language), []).append(stratum)
    return tuple(
        Origin(source, language, (), tuple(sorted(found, key=lambda stratum: stratum.folder)))
        for (source, language), found in sorted(groups.items())
    )


def _imported_sources(recipe: Recipe) -> list[str]:
    return [name for name, source in recipe.sources.items() if source.format == "imported"]


def _folders(url: str) -> list[str]:
    """Every folder below that holds a committed stratum."""
    fs, path = fsspec.core.url_to_fs(url)
    commits = fs.glob(f"{path}/**/stratum.json")
    return [fs.unstrip_protocol(commit).rsplit("/", 1)[0] for commit in commits]


def require_imported(
    recipe: Recipe, store: Store, origins: Iterable[Origin], sealed: Seal | None = None
) -> None:
    """UserError when phases name an imported source and nothing of it is in `origins`.

    With `sealed`, nothing that was made with that tokenizer.
    """
    origins = tuple(origins)
    for source in _imported_sources(recipe):
        if not any(_names(phase, source) for phase in recipe.phases.values()):
            continue
        mine = [s for o in origins if o.source.split("/")[0] == source for s in o.imported]
        if any(sealed is None or s.tokenizer == sealed.digest for s in mine):
            continue
        others = sorted({s.tokenizer[:16] for s in mine})
        made_with = f" and was made with tokenizer {sealed.digest[:16]}" if sealed else ""
        beside = f" (there are some of {', '.join(others)})" if others else ""
        raise UserError(
            f"sources.{source}: {store.url} has no imported stratum of it that a phase reads"
            f"{made_with}{beside}; run `mmbert import-mds URL --source {source} "
            f"--language fao_Latn --recipe {recipe.name}` for each of its languages"
        )


def _names(phase: Phase, source: str) -> bool:
    """Whether a phase asks for a source."""
    by_hand = any(k.split("/")[0] == source and share > 0 for k, share in phase.shares.items())
    return by_hand or (
        phase.shares.get(MULTILINGUAL, 0) > 0 and source in phase.temperature_sources
    )


def choose(origin: Origin, sealed: Seal) -> tuple[Stratum, ...]:
    """The strata of an imported origin that were made with a tokenizer, training text first.

    Raises UserError when a tier has two: nothing says which one is meant.
    """
    mine = [stratum for stratum in origin.imported if stratum.tokenizer == sealed.digest]
    tiers = sorted({stratum.tier for stratum in mine}, key=lambda tier: (tier == HELDOUT, tier))
    return tuple(_load(origin, tier, [s for s in mine if s.tier == tier]) for tier in tiers)


def _load(origin: Origin, tier: str, found: Sequence[ImportedStratum]) -> Stratum:
    if len(found) > 1:
        raise UserError(
            f"{origin.source}/{origin.language}/{tier} was imported twice, as {found[0].folder} "
            f"and {found[1].folder}; delete the folder that is not meant"
        )
    stratum = strata.load(found[0].folder)
    assert stratum is not None, found[0].folder
    return stratum
