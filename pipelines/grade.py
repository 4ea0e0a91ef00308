"""Grade: the quality score of documents whose source has none, by a probe (pipelines/probe.py).

A block of the map pipeline behind the filters, so that what they drop costs no encoder's time. A
document below the source's least score is dropped like one that came with its score.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import islice

from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from pipelines.map import MapFile
from pipelines.probe import Probe
from pipelines.record import Record

BATCH = 64


class Grade(PipelineStep):
    """Scores every record that is kept of a file that has a probe."""

    name = "quality"
    type = "🔻 - FILTER"

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        stream = iter(data)
        while batch := list(islice(stream, BATCH)):
            _grade(batch)
            yield from batch


def _grade(batch: list[Document]) -> None:
    waiting: dict[tuple[str, str], list[tuple[Record, MapFile]]] = {}
    for document in batch:
        record, item = document.metadata["record"], document.metadata["file"]
        if item.probe and isinstance(record, Record) and record.reason is None:
            waiting.setdefault(item.probe, []).append((record, item))
    for probe, found in waiting.items():
        scores = _probe(*probe).scores([record.text or "" for record, _ in found])
        for (record, item), score in zip(found, scores, strict=True):
            record.quality_score = score
            if item.min_score is not None and score < item.min_score:
                record.reason = "low_quality_score"


@lru_cache(maxsize=4)  # a worker runs many tasks; the digest tells another probe of one folder
def _probe(folder: str, digest: str) -> Probe:
    return Probe.load(folder)
