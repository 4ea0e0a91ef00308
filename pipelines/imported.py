"""Imported strata: what `mmbert import-mds` has put into the store for a recipe's sources.

    STORE/strata/<source>/<lang_Script>/<tier>/<id>/

They stand beside the files that pipelines/inventory.py finds. Which of them a recipe reads is known
once its tokenizer is: those made with it, one for each language and tier. What a phase reads
and was made with another tokenizer alone is refused: left out, its language would be lost.
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
MOST_TOLD = 6


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

    With `sealed`, also for a stratum in `origins` that was made with other tokenizers alone.
    """
    origins = tuple(origins)
    if sealed:
        _require_one_tokenizer(recipe, store, origins, sealed)
    for source in _imported_sources(recipe):
        if not any(_names(phase, source) for phase in recipe.phases.values()):
            continue
        if any(o.imported for o in origins if o.source.split("/")[0] == source):
            continue
        raise UserError(
            f"sources.{source}: {store.url} has no imported stratum of it that a phase reads; "
            f"run `mmbert import-mds URL --source {source} --language fao_Latn --recipe "
            f"{recipe.name}` for each of its languages"
        )


def _require_one_tokenizer(
    recipe: Recipe, store: Store, origins: Iterable[Origin], sealed: Seal
) -> None:
    stale: dict[str, str] = {}  # stratum -> the tokenizer that it was made with
    for origin in origins:
        made = {s.tier for s in origin.imported if s.tokenizer == sealed.digest}
        for stratum in origin.imported:
            if stratum.tier not in made:
                name = f"{origin.source}/{origin.language}/{stratum.tier}"
                stale[name] = stratum.tokenizer[:16]
    if stale:
        few = ", ".join(list(stale)[:MOST_TOLD])
        more = f" and {len(stale) - MOST_TOLD:,} more" if len(stale) > MOST_TOLD else ""
        source = next(iter(stale)).split("/")[0]
        raise UserError(
            f"sources.{source}: another tokenizer ({', '.join(sorted(set(stale.values())))}) than "
            f"{sealed.digest[:16]} made {few}{more} in {join(store.url, 'strata')}; run `mmbert "
            f"import-mds` for each again with --recipe {recipe.name}, or delete what is not "
            "meant"
        )


def _names(phase: Phase, source: str) -> bool:
    """Whether a phase asks for a source."""
    by_hand = any(k.split("/")[0] == source and share > 0 for k, share in phase.shares.items())
    return by_hand or (
        phase.shares.get(MULTILINGUAL, 0) > 0 and source in phase.temperature_sources
    )


def choose(origin: Origin, sealed: Seal) -> tuple[Stratum, ...]:
    """The strata of an imported origin that were made with a tokenizer, training text first.

    Raises UserError when a tier has two: nothing says which one is meant. A tier that has none
    is refused before (`require_imported`).
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
