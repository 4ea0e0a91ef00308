"""Noise: documents that a good build drops, repairs or counts, put in on purpose and written down.

In: the clean documents of one file. Out: about one noisy document for nineteen clean ones, each
with an `Injection` that says what it is and which clean document it was made from. The list of all
injections (`injected.csv`) is the ground truth against which filters are tested.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.sample.documents import Document
from pipelines.sample.draws import Draws

KINDS = (
    "exact_dup",
    "near_dup",
    "too_short",
    "control_chars",
    "symbol_spam",
    "repeated_lines",
    "mojibake",
    "wrong_lang",
    "boilerplate",
)
NOISE_PART = 0.05

_CONTROLS = "\x00\x08\x0b\x1b\x7f\u200b\ufeff"
_SYMBOLS = ("★☆", "=-", "~*", "►◄", "■□", "+.", "♥ ", "|_")
_MENU = (
    "Home",
    "About us",
    "Contact",
    "Sign in",
    "Register",
    "Search",
    "Read more",
    "Skip to content",
    "Cookie settings",
    "Privacy policy",
    "Terms of use",
    "Add to basket",
    "Share this page",
    "Previous",
    "Next",
    "Subscribe",
    "All rights reserved",
    "Back to top",
)


@dataclass(frozen=True)
class Injection:
    """One line of `injected.csv` but for the file it stands in."""

    id: str
    kind: str
    ref_id: str = ""
    note: str = ""


@dataclass(frozen=True)
class Foreign:
    """Text of another language, for `wrong_lang`."""

    subset: str
    text: str


def num_noisy(num_clean: int, draws: Draws) -> int:
    """How many noisy documents go with so many clean ones, rounded up or down at random."""
    return int(num_clean * NOISE_PART / (1 - NOISE_PART) + draws.uniform())


def spoil(
    clean: list[Document],
    ids: list[str],
    kinds: Iterator[str],
    foreign: Iterator[Foreign],
    draws: Draws,
) -> tuple[list[Document], list[Injection]]:
    """The clean documents with one noisy document for each of `ids` put in at random places."""
    documents, injections = list(clean), []
    for noisy_id in ids:
        kind = next(kinds)
        if kind in ("symbol_spam", "boilerplate", "wrong_lang"):
            ref = None
            text, note = _unrelated(kind, foreign, draws)
        else:
            # the longest of a few: what comes of a one-sentence document proves little
            ref = max((draws.pick(clean) for _ in range(4)), key=lambda made: len(made.text))
            text, note = _related(kind, ref.text, draws)
        documents.insert(draws.below(len(documents) + 1), Document(noisy_id, text))
        injections.append(Injection(noisy_id, kind, ref.id if ref else "", note))
    return documents, injections


def _unrelated(kind: str, foreign: Iterator[Foreign], draws: Draws) -> tuple[str, str]:
    if kind == "wrong_lang":
        other = next(foreign)
        return other.text, f"text is {other.subset}"
    if kind == "boilerplate":
        return " | ".join(draws.pick(_MENU) for _ in range(draws.between(30, 80))), "menu words"
    return draws.pick(_SYMBOLS) * draws.between(60, 400), "symbols only"


def _related(kind: str, text: str, draws: Draws) -> tuple[str, str]:
    if kind == "exact_dup":
        return text, ""
    if kind == "near_dup":
        return _edit_words(text, draws)
    if kind == "too_short":
        return text[: draws.between(4, 16)].strip(), "first characters of a document"
    if kind == "control_chars":
        return _put_in(text, _CONTROLS, draws), "control and invisible characters put in"
    if kind == "repeated_lines":
        line = draws.pick(text.split("\n"))
        return "\n".join([line] * draws.between(15, 40)), "one line repeated"
    assert kind == "mojibake", kind
    if text.isascii():
        return _put_in(text, "\ufffd", draws), "replacement characters put in"
    if draws.uniform() < 0.5:
        return text.encode().decode("latin-1"), "utf-8 read as latin-1"
    return _read_as_cp1252(text.encode()), "utf-8 read as cp1252"


def _edit_words(text: str, draws: Draws) -> tuple[str, str]:
    """Replace about one word in forty by another of the text (character, without spaces)."""
    gap = " " if text.count(" ") * 12 > len(text) else ""
    words = text.split(" ") if gap else list(text)
    num_edits = max(1, len(words) // 40)
    for _ in range(num_edits):
        place = draws.below(len(words))
        others = [word for word in words if word != words[place]] or [words[place] * 2]
        words[place] = draws.pick(others)
    return gap.join(words), f"{num_edits} {'word' if gap else 'character'} edits of {len(words)}"


def _put_in(text: str, signs: str, draws: Draws) -> str:
    """The text with one of the signs put in for about every thirty characters."""
    characters = list(text)
    for _ in range(max(3, len(text) // 30)):
        characters.insert(draws.below(len(characters) + 1), draws.pick(signs))
    return "".join(characters)


def _read_as_cp1252(raw: bytes) -> str:
    """Decode as browsers do: the five bytes that Windows-1252 leaves open keep their number."""
    return "".join(
        chr(byte) if byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else bytes([byte]).decode("cp1252")
        for byte in raw
    )
