"""Passages: sentences written for this project, with slots, that recombine into documents.

A file `passages/<lang_Script>.txt` holds lists of slot words and, under `== topic`, one sentence a
line:

    animal = dog; cat; horse                        a slot and its words
    country, capital = France, Paris; Spain, Madrid     slots that are filled together
    == cities x3                                    a topic, three times as frequent as others
    The capital of {country} is {capital}.

Each slot keeps its word for a whole paragraph, so a paragraph speaks of one animal, one city, one
person. A sentence's first letter is made a capital. Lines that begin with `#` are remarks.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipelines.sample.draws import Draws

FOLDER = Path(__file__).parent / "passages"

_UNSPACED = "。！？"
"""A sentence that ends so is followed by the next one without a space."""


@dataclass(frozen=True)
class SlotGroup:
    """Slots filled together: `names` of length n, `fillings` of n words each."""

    names: tuple[str, ...]
    fillings: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Passages:
    """The sentences of one language, by topic."""

    slots: tuple[SlotGroup, ...]
    topics: dict[str, tuple[str, ...]]
    lots: tuple[str, ...]
    """The topics to draw from, each as often as its weight."""

    def paragraph(self, draws: Draws, num_sentences: int, topic: str = "") -> str:
        """Up to `num_sentences` different sentences of one topic (any if unnamed), on one line."""
        filling: dict[str, str] = {}
        for group in self.slots:
            filling.update(zip(group.names, draws.pick(group.fillings), strict=True))
        templates = self.topics[topic or draws.pick(self.lots)]
        return join_sentences(
            sentence_case(template.format_map(filling))
            for template in draws.sample(templates, num_sentences)
        )


def sentence_case(sentence: str) -> str:
    """The sentence with a capital first letter, where the script has capitals."""
    return sentence[:1].title() + sentence[1:]


def join_sentences(sentences: Iterable[str]) -> str:
    """Sentences on one line, with a space between them unless the script writes none."""
    line = ""
    for sentence in sentences:
        line += sentence if not line or line[-1] in _UNSPACED else " " + sentence
    return line


def parse(text: str) -> Passages:
    """Read the text of a passages file."""
    slots: list[SlotGroup] = []
    topics: dict[str, list[str]] = {}
    lots: list[str] = []
    topic = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("#"):
            continue
        if line.startswith("=="):
            topic, _, weight = line.removeprefix("==").strip().partition(" x")
            topics[topic] = []
            lots += [topic] * int(weight or 1)
        elif topic:
            topics[topic].append(line)
        else:
            names, _, fillings = line.partition(" = ")
            slots.append(
                SlotGroup(
                    tuple(name.strip() for name in names.split(",")),
                    tuple(
                        tuple(word.strip() for word in filling.split(","))
                        for filling in fillings.split(";")
                    ),
                )
            )
    sentences = {name: tuple(lines) for name, lines in topics.items()}
    return Passages(tuple(slots), sentences, tuple(lots))


@cache
def passages_of(name: str) -> Passages:
    """The passages of a language (`lang_Script`), or of another file of the folder."""
    return parse((FOLDER / f"{name}.txt").read_text(encoding="utf-8"))


@cache
def written_languages() -> tuple[str, ...]:
    """The languages that have passages, in alphabetical order."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*_*.txt")))
