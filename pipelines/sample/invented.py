"""Invented languages: pseudo-words for the languages that nobody wrote passages for.

In: a subset of the language table (`aai_Latn`). Out: paragraphs of words from a lexicon of its own.
The letters come from the script's blocks (`scripts.csv`: first and last code point, how many
letters an alphabet takes from them; letters only, lower case where there is case); the k-th word of
the lexicon comes with a probability of about 1/k (Zipf). So each language is learnable, and no two
are alike.
"""

import csv
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipelines.sample.draws import Draws
from pipelines.sample.passages import join_sentences, sentence_case

_LEXICON = 400
_FULL_STOPS = {"Deva": "।", "Beng": "।", "Guru": "।", "Orya": "।", "Ethi": "።", "Armn": "։"}


@dataclass(frozen=True)
class InventedLanguage:
    """A lexicon, its most frequent word first."""

    lexicon: tuple[str, ...]
    full_stop: str

    def paragraph(self, draws: Draws, num_sentences: int) -> str:
        """`num_sentences` sentences of 4 to 12 words, on one line."""
        return join_sentences(self._sentence(draws) for _ in range(num_sentences))

    def _sentence(self, draws: Draws) -> str:
        size = len(self.lexicon)
        # floor(size ** u) is k with probability log(1 + 1/k) / log(size): Zipf without a table
        words = (
            self.lexicon[int(size ** draws.uniform()) - 1] for _ in range(draws.between(4, 12))
        )
        return sentence_case(" ".join(words)) + self.full_stop


@cache
def _letters(script: str) -> tuple[tuple[tuple[str, ...], int], ...]:
    """For each block of the script: its letters, and how many of them an alphabet takes."""
    with (Path(__file__).parent / "scripts.csv").open(encoding="utf-8", newline="") as lines:
        blocks = [row for row in csv.DictReader(lines) if row["script"] == script]
    assert blocks, f"scripts.csv has no block of {script}"
    return tuple(
        (_letters_between(int(row["first"], 16), int(row["last"], 16)), int(row["letters"]))
        for row in blocks
    )


def _letters_between(first: int, last: int) -> tuple[str, ...]:
    """The letters of a range; of scripts that Unicode files as symbols (Braille), the signs."""
    signs = [chr(code) for code in range(first, last + 1)]
    letters = [s for s in signs if unicodedata.category(s) in ("Ll", "Lo")]
    return tuple(letters or [s for s in signs if unicodedata.category(s) in ("So", "Lu")])


@cache
def invented_language(subset: str) -> InventedLanguage:
    """The invented language that stands for a subset: the same for every seed of a sample."""
    draws = Draws("lexicon", subset)
    script = subset[-4:]
    alphabet = [
        letter for letters, count in _letters(script) for letter in draws.sample(letters, count)
    ]
    longest = 3 if len(alphabet) > 60 else 9
    lexicon: dict[str, None] = {}
    while len(lexicon) < _LEXICON:
        # frequent words are short ones, as in every language
        length = min(longest, draws.between(1, 3) + draws.below(2 + len(lexicon) // 40))
        lexicon["".join(alphabet[draws.below(len(alphabet))] for _ in range(length))] = None
    return InventedLanguage(tuple(lexicon), _FULL_STOPS.get(script, "."))
