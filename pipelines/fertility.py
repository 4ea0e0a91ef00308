"""Is a tokenizer the same in every engine, and what does it cost each language?

In: a tokenizer (tokenizer.json, a SentencePiece .model, a folder with one) and texts. Out: the
first text of unequal ids for each engine, and the fertility of each language:

    tokens a word         a word is a run of letters, marks and digits; punctuation costs tokens too
    tokens a character    for scripts that are written without spaces, in place of words
    bytes a token         UTF-8 bytes of text; more is better
    byte fallback         share of tokens that are one byte of a character without a piece
    unknown               share of tokens that stand for what the vocabulary cannot write
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import regex
import sentencepiece

from pipelines.encode import Encoder, Ids, Truth, find_fast
from pipelines.texts import Text
from pipelines.tokenizer import from_sentencepiece
from schemas.errors import UserError
from schemas.seal import SpecialIds
from schemas.store import exists, join, read_bytes

UNSPACED = frozenset(
    {"Hani", "Hans", "Hant", "Jpan", "Hira", "Kana", "Bopo", "Thai", "Laoo", "Khmr", "Mymr"}
    | {"Tibt", "Lana", "Tale", "Talu", "Yiii", "Java", "Bali", "Cham"}
)
MOST_BYTES = 200_000  # of each language: the figures hardly move beyond
BATCH = 64  # texts

_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")
_BYTE = regex.compile(r"<0x[0-9A-F]{2}>")


class SentencePiece:
    """The library that trains .model files."""

    def __init__(self, model: bytes) -> None:
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)

    @property
    def engine(self) -> str:
        return f"sentencepiece {sentencepiece.__version__}"

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        return [np.array(ids, np.uint32) for ids in self._processor.encode(list(texts))]


@dataclass(frozen=True)
class Difference:
    """The first text that an engine encodes otherwise than the truth."""

    language: str
    place: str
    token: int  # the first unequal one, counted from 0
    ids: tuple[int, ...]  # from there on, a few
    true_ids: tuple[int, ...]


@dataclass
class Fertility:
    """Counts over the texts of one language, and what follows from them."""

    language: str
    texts: int = 0
    num_bytes: int = 0
    characters: int = 0
    words: int = 0
    tokens: int = 0
    byte_tokens: int = 0
    unknown_tokens: int = 0

    @property
    def is_spaced(self) -> bool:
        return self.language.rpartition("_")[2] not in UNSPACED

    def public(self) -> dict[str, str | int | float | None]:
        """The figures, for --json; no words where none can be told apart."""
        tokens = max(1, self.tokens)
        return {
            "language": self.language,
            "texts": self.texts,
            "bytes": self.num_bytes,
            "tokens": self.tokens,
            "tokens_a_word": self.tokens / max(1, self.words) if self.is_spaced else None,
            "tokens_a_character": self.tokens / max(1, self.characters),
            "bytes_a_token": self.num_bytes / tokens,
            "byte_fallback": self.byte_tokens / tokens,
            "unknown": self.unknown_tokens / tokens,
        }


@dataclass
class Checked:
    """What was found of one tokenizer."""

    name: str
    num_pieces: int
    truth: str
    engines: dict[str, Difference | None]  # beside the truth; None: equal everywhere
    missing: str  # why there is no fast engine, or nothing
    languages: dict[str, Fertility] = field(default_factory=dict)
    num_texts: int = 0

    @property
    def worst_first(self) -> list[Fertility]:
        """Spaced languages by tokens a word, after them unspaced ones by tokens a character."""

        def cost(f: Fertility) -> tuple[bool, float]:
            most = f.words if f.is_spaced else f.characters
            return not f.is_spaced, -f.tokens / max(1, most)

        return sorted(self.languages.values(), key=cost)

    def total(self) -> Fertility:
        """Of all texts."""
        parts = [vars(f) for f in self.languages.values()]
        counts = [key for key in vars(Fertility("")) if key != "language"]
        return Fertility("all", **{key: sum(part[key] for part in parts) for key in counts})


def check(path: str, texts: Iterable[Text]) -> Checked:
    """Compare the engines of a tokenizer on texts, and count what it makes of them.

    At most 200 kB of a language count. Raises UserError for a path that is no tokenizer.
    """
    name, data, others = _engines(path)
    truth, fast = Truth(data), find_fast(data)
    if fast is not None:
        others.append(fast)
    content = json.loads(data)
    vocabulary = _pieces(content)
    bytes_ids = [i for piece, i in vocabulary.items() if _BYTE.fullmatch(piece)]
    unknown = vocabulary.get(content["model"].get("unk_token") or "")
    found = Checked(
        name,
        max(vocabulary.values()) + 1,
        truth.engine,
        {engine.engine: None for engine in others},
        "" if fast else "gigatoken is not installed (pip install gigatoken), or cannot read it",
    )
    batch: list[Text] = []
    for text in _some(texts):
        batch.append(text)
        if len(batch) == BATCH:
            _count(found, batch, truth, others, bytes_ids, unknown)
            batch = []
    _count(found, batch, truth, others, bytes_ids, unknown)
    return found


def _some(texts: Iterable[Text]) -> Iterable[Text]:
    """Texts until a language has had its bytes."""
    had: dict[str, int] = {}
    for text in texts:
        if had.get(text.language, 0) < MOST_BYTES:
            had[text.language] = had.get(text.language, 0) + len(text.text.encode())
            yield text


def _count(
    found: Checked,
    batch: Sequence[Text],
    truth: Truth,
    others: Sequence[Encoder],
    bytes_ids: Sequence[int],
    unknown: int | None,
) -> None:
    if not batch:
        return
    texts = [text.text for text in batch]
    true_ids = truth.encode(texts)
    for engine in others:
        if found.engines[engine.engine] is None:
            found.engines[engine.engine] = _difference(batch, engine.encode(texts), true_ids)
    for text, ids in zip(batch, true_ids, strict=True):
        one = found.languages.setdefault(text.language, Fertility(text.language))
        one.texts += 1
        one.num_bytes += len(text.text.encode())
        one.characters += len(text.text)
        one.words += sum(1 for _ in _WORD.finditer(text.text))
        one.tokens += ids.size
        one.byte_tokens += int(np.isin(ids, bytes_ids).sum())
        one.unknown_tokens += int((ids == unknown).sum()) if unknown is not None else 0
    found.num_texts += len(batch)


def _difference(
    batch: Sequence[Text], found: Sequence[Ids], true_ids: Sequence[Ids]
) -> Difference | None:
    for text, ids, true in zip(batch, found, true_ids, strict=True):
        if not np.array_equal(ids, true):
            both = min(ids.size, true.size)
            unequal = np.flatnonzero(ids[:both] != true[:both])
            at = int(unequal[0]) if unequal.size else both
            some = slice(at, at + 5)
            return Difference(
                text.language, text.place, at, tuple(ids[some].tolist()), tuple(true[some].tolist())
            )
    return None


def _engines(path: str) -> tuple[str, bytes, list[Encoder]]:
    """A tokenizer's name, its tokenizer.json, and the engines that read it in another form."""
    if exists(join(path, "tokenizer.json")):
        path = join(path, "tokenizer.json")
    if not exists(path) or path.endswith("/"):
        raise UserError(
            f"{path}: there is no tokenizer; give a tokenizer.json, a SentencePiece .model or a "
            "folder that holds a tokenizer.json"
        )
    data = read_bytes(path)
    if path.endswith(".model"):
        return (
            path,
            from_sentencepiece(data, _special(data)).to_str().encode(),
            [SentencePiece(data)],
        )
    try:
        _pieces(json.loads(data))
        Truth(data)
    except Exception as error:  # `tokenizers` raises Exception itself
        raise UserError(
            f"{path}: this is no file that the `tokenizers` library wrote; give a tokenizer.json "
            "or a SentencePiece .model"
        ) from error
    return path, data, []


def _special(model: bytes) -> SpecialIds:
    """The special ids as a .model has them; those it has not are its unknown token's."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    unk = processor.unk_id()
    mask = processor.piece_to_id("<mask>")
    known = {"pad": processor.pad_id(), "eos": processor.eos_id(), "bos": processor.bos_id()}
    found = {name: i if i >= 0 else unk for name, i in known.items()}
    return SpecialIds(unk=unk, mask=mask, **found)


def _pieces(content: dict[str, object]) -> dict[str, int]:
    """Piece -> id of a tokenizer.json."""
    model, added = content["model"], content.get("added_tokens") or []
    assert isinstance(model, dict)
    assert isinstance(added, list)
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):  # Unigram: [piece, score] in the order of ids
        vocabulary = {piece: i for i, (piece, _) in enumerate(vocabulary)}
    return vocabulary | {token["content"]: token["id"] for token in added}
