"""Documents: paragraphs of a language, gathered to log-normal lengths.

In: a language that can write a paragraph, a number of documents and their mean size in UTF-8 bytes.
Out: that many different texts, some of two sentences, some of thousands of words, one paragraph a
line.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from pipelines.sample.draws import Draws
from pipelines.sample.invented import invented_language
from pipelines.sample.passages import passages_of, written_languages

LONGEST_BYTES = 30_000
SHORTEST = 100
"""Characters, in any script: what is shorter is noise, put in on purpose and dropped by a build."""
_SIGMA = 1.1
_SENTENCE_BYTES = 45


@dataclass(frozen=True)
class Document:
    """One record before it gets the columns of its source."""

    id: str
    text: str


class Writer(Protocol):
    """A language that can write: one made of passages, or an invented one."""

    def paragraph(self, draws: Draws, num_sentences: int) -> str: ...


@cache
def writer_of(subset: str) -> Writer:
    """The passages of a language where there are some, else its invented stand-in."""
    return passages_of(subset) if subset in written_languages() else invented_language(subset)


def write_text(writer: Writer, draws: Draws, num_bytes: float) -> str:
    """A text of about `num_bytes` UTF-8 bytes, at least SHORTEST characters."""
    lines: list[str] = []
    left = num_bytes
    while sum(map(len, lines)) < SHORTEST or left > _SENTENCE_BYTES:
        num_sentences = min(draws.between(3, 7), max(1, round(left / _SENTENCE_BYTES)))
        lines.append(writer.paragraph(draws, num_sentences))
        left -= len(lines[-1].encode()) + 1
    return "\n".join(lines)


def write_texts(writer: Writer, draws: Draws, count: int, mean_bytes: float) -> Iterator[str]:
    """`count` texts, no two alike."""
    seen: set[str] = set()
    while len(seen) < count:
        num_bytes = min(draws.log_normal(mean_bytes, _SIGMA), LONGEST_BYTES)
        text = write_text(writer, draws, num_bytes)
        while text in seen:
            # texts of one or two sentences collide: a longer one seldom does
            num_bytes = num_bytes * 1.5 + _SENTENCE_BYTES
            text = write_text(writer, draws, num_bytes)
        seen.add(text)
        yield text
