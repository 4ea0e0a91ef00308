"""What `mmbert trace` says to people: a sentence that answers, and a table below it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.table import Table
from rich.text import Text

from schemas.language import language_name, split_subset
from trainer.sightings import Document, PhaseSightings, Sighting
from trainer.trace import TracedPiece, TracedStep

MOST_ROWS = 20
MOST_STEPS = 6

Part = str | Table

_STANDINGS = {
    "not drawn": "the quota of its stratum ends before it",
    "excluded": "excluded from the start",
    "absent": "not among its data",
}


def of_step(found: TracedStep, every: bool) -> Iterator[Part]:
    """A step: what it is, then its pieces, or its languages where these are many."""
    pieces = found.pieces
    documents = len({(piece.shard, piece.document) for piece in pieces})
    packs = len({(piece.window, piece.pack) for piece in pieces})
    tokens = sum(piece.length + 2 for piece in pieces)
    whose = f"rank {found.rank} of {found.world} of " if found.rank is not None else ""
    yield (
        f"  {whose}step {found.step:,} of {found.phase}, {'done' if found.done else 'to come'}: "
        f"{counted(packs, 'pack')}, {counted(len(pieces), 'piece')} of "
        f"{counted(documents, 'document')}, {tokens:,} tokens"
    )
    yield ""
    if every or len(pieces) <= MOST_ROWS:
        yield _pieces(found)
        return
    yield _languages(pieces)
    yield f"  --all lists the {len(pieces):,} pieces, --json gives them to programs"


def of_document(
    document: Document, phases: Sequence[PhaseSightings], every: bool
) -> Iterator[Part]:
    """A document: whether it was seen, then when."""
    yield f"  {document.doc_id}"
    if document.url:
        yield f"  {document.url}"
    yield (
        f"  {language_of(document.language)}, {document.source}/{document.tier}, "
        f"{document.num_tokens:,} tokens"
    )
    yield f"  {verdict(phases)}"
    delivered = [(p.phase, s) for p in phases for s in p.sightings]
    if delivered:
        yield ""
        shown = delivered if every else delivered[:MOST_ROWS]
        yield _sightings(shown)
        if len(shown) < len(delivered):
            yield f"  and {len(delivered) - len(shown):,} more: --all lists them"
    for standing, words in _STANDINGS.items():
        names = [phase.phase for phase in phases if phase.standing == standing]
        if names:
            yield f"  never in {', '.join(names)}: {words}"


def verdict(phases: Sequence[PhaseSightings]) -> str:
    """`seen 2 times (steps 120, 4,310), planned once more (step ~9,100)`."""
    everything = [sighting for phase in phases for sighting in phase.sightings]
    seen, planned, left_out = (
        [s for s in everything if s.fate == fate] for fate in ("seen", "planned", "left out")
    )
    told = [f"seen {_times(seen)}" if seen else "not seen so far"]
    if planned:
        told.append(f"planned {_times(planned, 'more' if seen else '')}")
    elif seen:
        told.append("not planned again")
    else:
        told.append("not planned")
    if left_out:
        told.append(f"left out {_times(left_out)} by an exclusion")
    pieces = len({sighting.start for sighting in everything})
    return (f"in {pieces} pieces: " if pieces > 1 else "") + ", ".join(told)


def _times(sightings: Sequence[Sighting], more: str = "") -> str:
    number = "once" if len(sightings) == 1 else f"{len(sightings):,} times"
    steps = [_step(s) for s in sightings if s.step is not None]
    if not steps:
        return f"{number} {more}".rstrip()
    few = ", ".join(steps[:MOST_STEPS])
    rest = f" and {len(steps) - MOST_STEPS:,} more" if len(steps) > MOST_STEPS else ""
    return f"{number} {more}".rstrip() + f" (step{'s' if len(steps) > 1 else ''} {few}{rest})"


def _step(sighting: Sighting) -> str:
    return "" if sighting.step is None else f"{'' if sighting.exact else '~'}{sighting.step:,}"


def _sightings(delivered: Iterable[tuple[str, Sighting]]) -> Table:
    table = _grid("  phase", "step", "", "epoch", "window", "pack", "place", "tokens")
    before = ""
    for phase, s in delivered:
        table.add_row(
            f"  {phase if phase != before else ''}",
            _step(s),
            Text(s.fate, style={"seen": "green", "planned": "yellow"}.get(s.fate, "dim")),
            f"{s.epoch + 1}",
            f"{s.window:,}",
            "" if s.pack is None else f"{s.pack:,}",
            "" if s.place is None else f"{s.place:,}",
            _span(s.start, s.length),
        )
        before = phase
    return table


def _pieces(found: TracedStep) -> Table:
    ranks = ["rank"] if found.world > 1 else []
    table = _grid("  pack", *ranks, "#", "language", "tokens", "document")
    for name in ("language", "document"):
        (column,) = (c for c in table.columns if c.header == name)
        column.justify, column.overflow = "left", "fold"
    before = None
    for piece in found.pieces:
        pack = (piece.window, piece.pack)
        new = pack != before
        table.add_row(
            f"  {piece.window:,}:{piece.pack:,}" if new else "",
            *([f"{piece.rank}" if new else ""] if ranks else []),
            f"{piece.place}",
            piece.language,
            _span(piece.start, piece.length),
            Text.assemble(piece.doc_id, "\n" if piece.url else "", (piece.url, "dim")),
        )
        before = pack
    return table


def _languages(pieces: Sequence[TracedPiece]) -> Table:
    table = _grid("  language", "documents", "pieces", "tokens", "share %")
    whole = sum(piece.length + 2 for piece in pieces)
    by: dict[str, list[TracedPiece]] = {}
    for piece in pieces:
        by.setdefault(piece.language, []).append(piece)
    tokens = {name: sum(p.length + 2 for p in mine) for name, mine in by.items()}
    ordered = sorted(by, key=lambda name: (-tokens[name], name))
    for name in ordered[:MOST_ROWS]:
        documents = len({(piece.shard, piece.document) for piece in by[name]})
        table.add_row(
            f"  {language_of(name)}",
            f"{documents:,}",
            f"{len(by[name]):,}",
            f"{tokens[name]:,}",
            f"{100 * tokens[name] / whole:.1f}",
        )
    if rest := ordered[MOST_ROWS:]:
        left = sum(tokens[name] for name in rest)
        share = f"{100 * left / whole:.1f}"
        table.add_row(f"  {len(rest):,} more languages", "", "", f"{left:,}", share, style="dim")
    return table


def _grid(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right" if name else "left")
    return table


def _span(start: int, length: int) -> str:
    return f"{start:,}-{start + length:,}"


def language_of(subset: str) -> str:
    """`Faroese fao_Latn`."""
    return f"{language_name(split_subset(subset)[0])} {subset}"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
