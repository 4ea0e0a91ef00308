"""What the ranks of a run that was started several times have got, step by step.

Each rank of each start has a file of its own, with a line for every batch that it is about to train
on; a batch that a kill cut short stands there, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from trainer.phase import Batch, Pack

Place = tuple[int, int]  # window, pack


class Got(NamedTuple):
    """A pack that a step delivered."""

    phase: str
    window: int
    pack: int
    digest: str


class Part(NamedTuple):
    """A rank's part of a batch."""

    phase: str
    first: Place  # of the batch
    packs: list[Got | None]


def record(path: Path) -> None:
    """Let this process write down what it trains on."""
    from trainer import loop

    batches = loop.batches

    def recorded(session, phase, data, point):  # type: ignore[no-untyped-def]
        with path.open("a") as file:
            for batch in batches(session, phase, data, point):
                file.write(json.dumps(_part(phase.name, batch)) + "\n")
                file.flush()
                yield batch

    loop.batches = recorded


def _part(phase: str, batch: Batch) -> Part:
    packs = [pack and got(phase, pack) for pack in batch.packs]
    return Part(phase, (batch.first.window, batch.first.pack), packs)


def got(phase: str, pack: Pack) -> Got:
    """A pack by what a model sees of it, and by which documents it is of."""
    digest = hashlib.sha256()
    for column in (
        pack.ids,
        pack.positions,
        pack.cu_seqlens,
        pack.shard,
        pack.document,
        pack.start,
    ):
        digest.update(column.tobytes())
    return Got(phase, pack.window, pack.index, digest.hexdigest()[:16])


def steps_of(folder: Path) -> list[Part]:
    """The batches of one start that all its ranks have got, each put together of their parts.

    Of W ranks, rank r is given every W-th pack.
    """
    ranks = [
        [_read(line) for line in file.read_text().splitlines()]
        for file in sorted(folder.glob("*.jsonl"), key=lambda file: int(file.stem))
    ]
    return [_joined(parts) for parts in zip(*ranks, strict=False)]


def _joined(parts: tuple[Part, ...]) -> Part:
    assert len({(part.phase, part.first) for part in parts}) == 1, parts
    dealt = zip(*(part.packs for part in parts), strict=True)
    return parts[0]._replace(packs=[pack for packs in dealt for pack in packs])


def _read(line: str) -> Part:
    phase, (window, pack), packs = json.loads(line)
    return Part(phase, (window, pack), [each and Got(*each) for each in packs])


def counted(starts: list[list[Part]], phases: list[str]) -> Iterator[Got]:
    """What counts of several starts: of each all that lies before the next one's first batch."""
    order = {name: number for number, name in enumerate(phases)}
    for steps, following in zip(starts, [*starts[1:], []], strict=True):
        for step in steps:
            after = following and (order[following[0].phase], following[0].first)
            if not after or (order[step.phase], step.first) < after:
                yield from (pack for pack in step.packs if pack is not None)
