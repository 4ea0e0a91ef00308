"""The two files that a run starts from, beside its manifests: held-out text and run.json."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from schemas import run as runs
from schemas import seal as seals
from schemas.errors import UserError
from schemas.recipe import Recipe
from schemas.run import Heldout, HeldoutStratum, Run, RunPhase, RunStart, SourceNote
from schemas.seal import Seal
from schemas.store import Store, join, write_json
from schemas.stratum import HELDOUT, Stratum, stratum_folder


def make_heldout(
    recipe: Recipe, store: Store, sealed: Seal, strata: Sequence[Stratum]
) -> tuple[Heldout, str]:
    """What is held out, of all strata together, in the store; and its URL."""
    heldout = describe_heldout(recipe, store, sealed, strata)
    url = heldout_url(store, heldout)
    write_json(url, heldout.model_dump(mode="json"))
    return heldout, url


def heldout_url(store: Store, heldout: Heldout) -> str:
    return join(store.url, "heldout", f"{heldout.id}.json")


def describe_heldout(
    recipe: Recipe, store: Store, sealed: Seal, strata: Sequence[Stratum]
) -> Heldout:
    """What is held out, of all strata together.

    Raises UserError when the recipe's sources leave nothing to hold out.
    """
    held = [s for s in strata if s.name.tier == HELDOUT and s.shards]
    if not held:
        raise UserError(
            "no text could be held out: no source has a test split and no language has "
            f"{recipe.heldout.min_stratum_documents} documents; add text or lower "
            "heldout.min_stratum_documents"
        )
    return Heldout(
        tokenizer=sealed.digest,
        vocab_size=sealed.vocab_size,
        context=recipe.heldout.context,
        mask_rate=recipe.heldout.mask_rate,
        min_documents=recipe.heldout.min_documents,
        min_targets=recipe.heldout.min_targets,
        strata=tuple(
            HeldoutStratum(
                folder=store.relative(stratum_folder(store, s.name, s.id)),
                source=s.name.source,
                language=s.name.language,
                documents=min(recipe.heldout.max_documents, sum(e.documents for e in s.shards)),
                shards=tuple(entry.name for entry in s.shards),
            )
            for s in sorted(held, key=lambda s: str(s.name))
        ),
    ).sealed()


def make_run(
    recipe: Recipe,
    store: Store,
    sealed: Seal,
    heldout_url: str,
    manifests: Mapping[str, str],
    begun_with: Collection[str] = (),
) -> tuple[Run, str]:
    """The run description over the manifests of phases (name -> URL), written; and its URL.

    Phases go on with the segments that they go on with in the store, but for those `begun_with`.
    """
    run = describe_run(recipe, store, sealed, heldout_url, manifests)
    run = runs.with_segments(store, run, dict.fromkeys(begun_with))
    return run, runs.publish(store, run)


def describe_run(
    recipe: Recipe, store: Store, sealed: Seal, heldout_url: str, manifests: Mapping[str, str]
) -> Run:
    start = None
    if recipe.start:
        # Where the trainer finds it, whatever folder it is started in.
        place = {"model": str(Path(recipe.start.model).absolute())}
        digest = runs.digest_of_weights(recipe.start.model)
        start = RunStart(settings=recipe.start.model_copy(update=place), digest=digest)
    return Run(
        recipe=recipe.name,
        seed=recipe.seed,
        tokenizer=store.relative(seals.seal_folder(store.url, sealed.digest)),
        heldout=store.relative(heldout_url),
        model=recipe.model,
        optimiser=recipe.optimiser,
        phases=tuple(
            RunPhase(name=name, manifest=store.relative(url), settings=recipe.phases[name])
            for name, url in manifests.items()
        ),
        start=start,
        release=recipe.release,
        title=recipe.title,
        sources=tuple(
            SourceNote(name=name, path=source.path, licence=source.licence)
            for name, source in recipe.sources.items()
        ),
    ).sealed()
