"""Screen: the filters over the stream of records; a block of the map pipeline.

A dropped record keeps its reason and flows on. What a file's language is like is learned from its
head, which waits in memory meanwhile, so that the file is read once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, groupby

from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from pipelines.filters import screen
from pipelines.identify import LanguageProfile
from pipelines.map import MapFile
from pipelines.record import Record
from schemas.language import split_subset, written_in

HEAD, HEAD_CHARACTERS = 2_000, 20_000_000  # of a file, that its language is learned from


class Screen(PipelineStep):
    """Runs every file's filters, in the recipe's order."""

    name = "filters"
    type = "🔻 - FILTER"

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        for item, documents in groupby(data, key=lambda d: d.metadata["file"]):
            profile: LanguageProfile | None = None
            if asks_for_language(item):
                head = list(_head(documents))
                profile = LanguageProfile(_texts(head))
                documents = chain(head, documents)
            least = None if item.probe else item.min_score
            for document in documents:
                record = document.metadata["record"]
                if isinstance(record, Record):
                    screen(record, item.filters, item.language, least, profile)
                    self.stat_update(record.reason or "kept")
                yield document


def asks_for_language(item: MapFile) -> bool:
    """Not where the script says it all, since one language alone is written in it."""
    _, script = split_subset(item.language)
    return "language" in item.filters.use and len(written_in(script)) > 1


def _head(documents: Iterator[Document]) -> Iterator[Document]:
    """The first of a file that its language is learned from: as many as memory can hold at once."""
    characters = 0
    for number, document in enumerate(documents, 1):
        yield document
        record = document.metadata["record"]
        characters += len(record.text or "") if isinstance(record, Record) else 0
        if number == HEAD or characters > HEAD_CHARACTERS:
            return


def _texts(documents: Sequence[Document]) -> Iterator[tuple[int, str]]:
    for document in documents:
        record = document.metadata["record"]
        if isinstance(record, Record) and record.text:
            yield record.number, record.text
