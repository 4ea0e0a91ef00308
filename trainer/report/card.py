"""Model cards: README.md of an exported model, from run.json, the manifests and the log alone.

`of_run` says what a model of a run is, how to use it, what it was trained on in every language, how
it does on held-out text, whose text that was, and what it is not good for. `short` is for a model
whose run nobody knows. No card names a place of the machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from schemas import folder_digests
from schemas import run as runs
from schemas.figures import amount, bits
from schemas.language import language_name
from schemas.recipe import MAX_POSITION, RELEASE, START, UNTRAINED, ModelSettings
from schemas.store import Store
from trainer.flops import num_parameters
from trainer.report import history, tables, words
from trainer.report.exposure import Exposure
from trainer.report.history import Fields, History
from trainer.report.tables import ScoreTable
from trainer.theta import Theta, theta_of

if TYPE_CHECKING:
    from trainer.session import Session  # it imports torch

NAME = "README.md"
LITTLE_TOKENS = 1_000_000  # of a language; with fewer, a card warns
MOST_NAMED = 20  # languages in a sentence


class LanguageLine(NamedTuple):
    """A language in the table of a card, all of it text."""

    code: str
    name: str
    tokens: str
    epochs: str
    targets: str
    bits: list[str]


def of_run(found: History, model: str, theta: Theta) -> str:
    """The card of one of a run's models: `untrained`, `start`, a phase's or `release`.

    `theta` are the rotary bases that its config.json says: a start has its own, an export others.
    """
    branch = found.branch(model)
    table = tables.score_table(found, {UNTRAINED, START, *branch, model})
    phases = [found.phase(name) for name in branch]
    seen = found.exposure(model)
    return _render(
        "card.md.j2",
        run=found.run,
        title=words.title(found),
        model=model,
        what=_what(found, model),
        codes=sorted(code for code in seen if code != "code"),
        seen=seen,
        phases=phases,
        table=table,
        languages=_languages(found, model, table, seen),
        absent=tables.absences(found, model),
        architecture=_architecture(_config(found, theta)),
        limitations=_limitations(found, model, table, seen),
        tokenizer=found.phases[0].manifest.tokenizer,
        heldout_id=Path(found.run.heldout).stem,
        machines=found.machines if phases else (),
    )


def short(config: Fields) -> str:
    """The card of a model of which only its config.json is known."""
    return _render("card_short.md.j2", architecture=_architecture(config))


def write(folder: Path, text: str) -> None:
    """Put a card into a model's folder, in place of one that is there, and in its digests."""
    folder_digests.put(folder, NAME, text.encode())


def with_bases(text: str, theta: Theta) -> str:
    """A card of a model that was exported again with other rotary bases than it says."""
    return (
        f"{text.rstrip()}\n\n## Exported again\n\nIn this folder config.json says a rotary base "
        f"(theta) of {_bases(theta)}, in place of what stands above.\n"
    )


def for_session(session: Session, folder: Path, theta: Theta) -> str | None:
    """The card of a model of a run in training, models/<name> or snapshots/<phase>-<step>.

    None where it cannot be made, and a warning in the log.
    """
    is_model = folder == session.model_folder(folder.name)
    name = folder.name if is_model else folder.name.rpartition("-")[0]
    try:
        return of_run(history.read(session.folder, session.store), name, theta)
    except Exception as error:  # the model is worth more than its card
        session.log.warn(f"the card of {folder.name} could not be written: {error}")
        return None


def rewrite_all(run_folder: Path, store: Store | None = None) -> list[Path]:
    """Write the cards of all models of a run that are there; returns their folders."""
    found = history.read(run_folder, store)
    names = (UNTRAINED, START, *found.run.models)
    # Not of a release that was made otherwise than run.json says by now.
    there = [run_folder / "models" / n for n in names if runs.is_made(run_folder, found.run, n)]
    for folder in there:
        config = json.loads((folder / "config.json").read_bytes())
        write(folder, of_run(found, folder.name, theta_of(config)))
    return there


def _render(template: str, **values: object) -> str:
    return words.templates(autoescape=False).get_template(template).render(values)


def _config(found: History, theta: Theta) -> dict[str, object]:
    """The fields of config.json that a card shows, as export writes them."""
    settings = found.run.model
    contexts = [phase.settings.context for phase in found.run.phases]
    return {
        "hidden_size": settings.hidden_size,
        "intermediate_size": settings.intermediate_size,
        "num_hidden_layers": settings.num_layers,
        "num_attention_heads": settings.num_heads,
        "vocab_size": found.vocab_size,
        "max_position_embeddings": max(MAX_POSITION, *contexts),
        "global_rope_theta": theta.full,
        "local_rope_theta": theta.local,
    }


def _architecture(config: Fields) -> list[tuple[str, str]]:
    model = ModelSettings(
        hidden_size=config["hidden_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        intermediate_size=config["intermediate_size"],
    )
    vocab_size = config["vocab_size"]
    embedding = vocab_size * model.hidden_size
    parameters = num_parameters(model, vocab_size)
    shown = {
        "parameters": parameters,
        "of which embedding": embedding,
        "layers": model.num_layers,
        "hidden size": model.hidden_size,
        "heads": model.num_heads,
        "intermediate size": model.intermediate_size,
        "vocabulary": vocab_size,
        "longest context": config["max_position_embeddings"],
    }
    rows = [(label, f"{value:,}") for label, value in shown.items()]
    return [*rows, ("rotary base (theta)", _bases(theta_of(config)))]


def _bases(theta: Theta) -> str:
    full, local = f"{theta.full:,.0f}", f"{theta.local:,.0f}"
    return full if full == local else f"{full} (global), {local} (local)"


def _what(found: History, model: str) -> str:
    """The first paragraph: what this model is."""
    run = found.run
    of_the_run = f"of the run {run.recipe}-{run.id}"
    if model == UNTRAINED:
        return f"The model {of_the_run} before any training: random weights, to compare with."
    if model == START:
        return f"The model that the phases {of_the_run} start from."
    if model == RELEASE:
        assert run.release
        parts = ", ".join(run.release.phases)
        over = f" over {run.release.base}" if run.release.base else ""
        how = {
            "ties": f"merged of {parts} by TIES{over} (density {run.release.density:g}, lambda "
            f"{run.release.lam:g})",
            "average": f"the average of {parts}",
            "ema": f"the exponentially weighted average of the snapshots of {parts}",
        }[run.release.method]
        return f"The released model {of_the_run}: {how}."
    phase = found.phase(model)
    before = f", which goes on from {phase.settings.after}" if phase.settings.after else ""
    place = "at the end of" if phase.ended else f"after {amount(phase.tokens)} tokens of"
    return f"The model {place} the phase {model}{before}, {of_the_run}."


def _languages(
    found: History, model: str, table: ScoreTable, seen: Mapping[str, Exposure]
) -> list[LanguageLine]:
    """Every language that was seen or scored, the most tokens first."""
    rows = {row.code: row for row in table.languages}
    score = found.scores.get(model)
    scored = score.languages if score else {}
    nothing = (None,) * len(table.models)
    lines = []
    for code in (*seen, *sorted(scored.keys() - seen.keys())):
        tokens, epochs = seen.get(code, Exposure(0.0, 0.0))
        across = rows[code].bits if code in rows else nothing
        lines.append(
            LanguageLine(
                code,
                language_name(code),
                amount(tokens),
                words.epochs(epochs),
                f"{scored[code].targets:,}" if code in scored else "",
                [bits(value) for value in across],
            )
        )
    return lines


def _limitations(
    found: History, model: str, table: ScoreTable, seen: Mapping[str, Exposure]
) -> list[str]:
    limits = [
        "It fills in masked tokens. It does not write text, and it follows no instructions; for a "
        "task it must be trained on that task first.",
        "Bits per byte say how well it predicts text like its own, no more: no benchmark of tasks "
        "is part of this card.",
        "It repeats the errors, prejudices and gaps of its sources; in text from the web, the "
        "labels of small languages are often wrong.",
    ]
    if model == UNTRAINED:
        return ["It is of no use but as a baseline: it has learned nothing."]
    little = sum(tokens < LITTLE_TOKENS for tokens, _ in seen.values())
    if little:
        limits.append(
            f"Of {little:,} of its {len(seen):,} languages it has seen less than "
            f"{amount(LITTLE_TOKENS)} tokens; expect little of it there."
        )
    contexts = [found.phase(name).manifest.context for name in found.branch(model)]
    if contexts:
        limits.append(
            f"It was trained on texts of up to {max(contexts):,} tokens; longer ones are untested."
        )
    if found.run.start:
        limits.append(
            "What the model that it started from had been trained on is not counted here."
        )
    rises = table.rises_of(model)
    if rises:
        named = ", ".join(f"{rise.name} ({rise.code})" for rise in rises[:MOST_NAMED])
        more = f" and {len(rises) - MOST_NAMED:,} more" if len(rises) > MOST_NAMED else ""
        limits.append(
            f"Worse than {_before(found, model)}, in {len(rises):,} of {len(table.languages):,} "
            f"languages with a figure: {named}{more}."
        )
    return limits


def _before(found: History, model: str) -> str:
    """The model that one is compared with, and how the one came of the other."""
    before, release = found.run.before(model), found.run.release
    if model != RELEASE or not release:
        return f"{before}, which it goes on from"
    if release.base:
        return f"{before}, which its parts were merged over"
    return f"{before}, which {release.phases[-1]} went on from"
