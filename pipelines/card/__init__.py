"""Data cards: what a manifest delivers, of what, and what was left out; for people.

In: a manifest, the stratum.json files of what it reads, and the other phases' manifests to draw
beside it. Out: `card.md` and `card.html` beside manifest.json. Nothing else is read, no text and no
token, so a card can be drawn again at any time:

    mmbert card RECIPE/PHASE      mmbert card RUN_FOLDER

A card covers no byte of a manifest and is covered by none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipelines.card.facts import Facts, facts_of
from pipelines.card.figures import FEW, epochs_figure, mixture_figure
from schemas.figures import amount, num_bytes
from schemas.manifest import Manifest
from schemas.store import Store, join, write_bytes
from schemas.stratum import Stratum
from schemas.stratum import load as load_stratum

PAGE = "card.html"


def write_card(
    manifest_url: str,
    manifest: Manifest,
    strata: Mapping[str, Stratum],
    beside: Sequence[Manifest] = (),
) -> str:
    """Write both cards of a manifest beside it; returns the URL of card.html.

    `strata` are by id, at least all that the manifest reads; `beside` are other phases.
    """
    facts = facts_of(manifest, strata)
    others = [other for other in beside if other.phase != manifest.phase]
    folder = manifest_url.rsplit("/", 1)[0]
    write_bytes(join(folder, "card.md"), markdown(facts).encode())
    write_bytes(join(folder, PAGE), page(facts, others).encode())
    return join(folder, PAGE)


def strata_of(store: Store, manifest: Manifest) -> dict[str, Stratum]:
    """The strata that a manifest reads, by id, from the store."""
    found = (load_stratum(store.resolve(share.folder)) for share in manifest.strata)
    return {stratum.id: stratum for stratum in found if stratum is not None}


def markdown(facts: Facts) -> str:
    return _templates(False).get_template("card.md.j2").render(facts=facts)


def page(facts: Facts, beside: Sequence[Manifest]) -> str:
    return (
        _templates(True)
        .get_template("card.html.j2")
        .render(
            facts=facts,
            few=FEW,
            mixture=Markup(mixture_figure(facts, beside)),
            epochs=Markup(epochs_figure(facts)),
        )
    )


@cache
def _templates(autoescape: bool) -> Environment:
    found = Environment(
        loader=PackageLoader("pipelines.card", "."),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= {
        "amount": amount,
        "num_bytes": num_bytes,
        "percent": percent,
        "count": lambda value: f"{value:,}",
        "figure": figure,
        "cell": lambda text: " ".join(str(text).split()).replace("|", "\\|"),
    }
    return found


def percent(share: float) -> str:
    """Two figures: `41 %`, `0.012 %`; `0 %`."""
    return f"{float(f'{100 * share:.2g}'):.8f}".rstrip("0").rstrip(".") + " %"


def figure(value: float | None) -> str:
    """Three figures, never as a power of ten; nothing where there is none."""
    if value is None:
        return ""
    return (
        f"{value:,.0f}" if value >= 1000 else f"{float(f'{value:.3g}'):.8f}".rstrip("0").rstrip(".")
    )
