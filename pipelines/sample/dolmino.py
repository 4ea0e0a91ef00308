"""Dolmino's subsets and fields: English in five forms, JSON lines in gzip.

Each subset wraps English passages in its own form; sums are computed, so they are right.
"""

import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.sample.documents import Document, write_text
from pipelines.sample.draws import Draws
from pipelines.sample.passages import passages_of
from pipelines.sample.plan import ENGLISH


@dataclass(frozen=True)
class Subset:
    """A subset: its file below `dolmino/data`, `source` field, part of Dolmino, mean size."""

    name: str
    file: str
    source: str
    part: float
    mean_bytes: int


SUBSETS = (
    Subset("wiki", "wiki/wiki-0000.json.gz", "wiki", 0.35, 1600),
    Subset("gsm8k", "math/gsm8k/gsm8k-0000.json.gz", "math", 0.15, 180),
    Subset("flan", "flan/flan-0000.json.gz", "flan", 0.15, 150),
    Subset("pes2o", "pes2o/pes2o-0000.json.gz", "pes2o", 0.15, 900),
    Subset("stackexchange", "stackexchange/stackexchange-0000.json.gz", "stackexchange", 0.20, 600),
)


def subset_texts(subset: Subset, draws: Draws, num_bytes: float) -> Iterator[str]:
    """Texts of a subset, no two alike, `num_bytes` together."""
    seen: set[str] = set()
    repeats = 0
    while num_bytes > 0 and repeats < 1000:
        text = _FORMS[subset.name](draws, draws.log_normal(subset.mean_bytes, 0.8))
        if text in seen:
            repeats += 1
            continue
        seen.add(text)
        num_bytes -= len(text)
        yield text


def _wiki(draws: Draws, num_bytes: float) -> str:
    title = passages_of("dolmino").paragraph(draws, 1, "titles")
    return f"{title}\n\n{write_text(passages_of(ENGLISH), draws, num_bytes)}"


def _pes2o(draws: Draws, num_bytes: float) -> str:
    report = passages_of("dolmino").paragraph(draws, 9, "reports")
    return f"{report}\n{write_text(passages_of(ENGLISH), draws, num_bytes - len(report))}"


def _stackexchange(draws: Draws, num_bytes: float) -> str:
    question = passages_of("dolmino").paragraph(draws, 2, "questions")
    return f"Q: {question}\n\nA: {write_text(passages_of(ENGLISH), draws, num_bytes)}"


def _flan(draws: Draws, num_bytes: float) -> str:
    exercises = passages_of("dolmino")
    return "\n\n".join(
        exercises.paragraph(draws, 1, "exercises").replace(" Answer: ", "\nAnswer: ")
        for _ in range(1 + int(num_bytes) // 120)
    )


def _gsm8k(draws: Draws, num_bytes: float) -> str:
    first, second = draws.between(2, 40), draws.between(2, 40)
    if draws.uniform() < 0.5:
        task = passages_of("dolmino").paragraph(draws, 1, "sums")
        step, result = f"{first}+{second}={first + second}", first + second
    else:
        task = passages_of("dolmino").paragraph(draws, 1, "products")
        step, result = f"{first}*{second}={first * second}", first * second
    task = task.replace("FIRST", str(first)).replace("SECOND", str(second))
    return f"{task}\n\nThe answer is {step}.\n#### {result}"


_FORMS = {
    "wiki": _wiki,
    "gsm8k": _gsm8k,
    "flan": _flan,
    "pes2o": _pes2o,
    "stackexchange": _stackexchange,
}


def write_dolmino(path: Path, subset: Subset, documents: list[Document], draws: Draws) -> None:
    """Write one subset's file; its gzip header bears neither name nor time."""
    path.parent.mkdir(parents=True)
    raw = io.BytesIO()
    with gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as lines:
        for number, document in enumerate(documents):
            lines.write(json.dumps(_record(subset, document, number, draws)).encode() + b"\n")
    path.write_bytes(raw.getvalue())


def _record(subset: Subset, document: Document, number: int, draws: Draws) -> dict[str, object]:
    metadata: dict[str, str | int] = {}
    if subset.name == "wiki":
        metadata["title"] = document.text.partition("\n")[0][:80]
    elif subset.name == "gsm8k":
        metadata["index"] = number
    elif subset.name == "flan":
        metadata["task"] = "everyday"
    elif subset.name == "pes2o":
        metadata["pmid"] = str(draws.between(10**6, 10**7 - 1))
    else:
        metadata |= {"question_id": str(number), "score": draws.below(9), "answers": 1}
    metadata["url"] = f"https://example.org/{subset.name}/{document.id[:8]}"
    return {
        "id": document.id,
        "text": document.text,
        "source": subset.source,
        "added": "2024-11-24T00:00:00.000Z",
        "created": f"{draws.between(1990, 2020)}-01-01T00:00:00.000Z",
        "metadata": metadata,
    }
