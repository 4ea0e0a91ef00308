"""The held-out score: bits per byte, the same for every phase, model, seed and world size.

    bits per byte of a language = sum over targets of -log2 p(token) / UTF-8 bytes of those targets

Targets are drawn once, by a key of (shard, document) alone, so two scores differ by the model and
by nothing else; training losses, whose mask rate and context change, are never compared. A
language has a figure from MIN_DOCUMENTS and MIN_TARGETS on; the others are pooled, once by script
and once by the phase in which mmBERT first saw them. `macro` is the plain mean over languages.

In: the `Heldout` file of a run. Out: `Score`, from sums that any number of ranks share out.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas import run as runs
from schemas import seal, shard
from schemas.digest import Json
from schemas.keyed import key64, keyed, keyed_array
from schemas.language import entry_phase, split_subset
from schemas.rows import count_rows, cut
from schemas.store import Store, join

MIN_DOCUMENTS = 5
MIN_TARGETS = 2_000

U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Sums:
    """What is added up, over any set of held-out text."""

    nats: float = 0.0
    num_bytes: float = 0.0
    targets: float = 0.0
    documents: float = 0.0

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.nats + other.nats,
            self.num_bytes + other.num_bytes,
            self.targets + other.targets,
            self.documents + other.documents,
        )

    @property
    def bits_per_byte(self) -> float | None:
        """None where there is too little text for a figure."""
        if self.documents < MIN_DOCUMENTS or self.targets < MIN_TARGETS or not self.num_bytes:
            return None
        return self.nats / math.log(2) / self.num_bytes

    def line(self) -> dict[str, Json]:
        return {
            "bits_per_byte": self.bits_per_byte,
            "nats": self.nats,
            "bytes": int(self.num_bytes),
            "targets": int(self.targets),
            "documents": int(self.documents),
        }


@dataclass(frozen=True)
class Score:
    """Sums by ISO 639-3 code, and pools of those without a figure, by script and entry phase."""

    languages: dict[str, Sums]
    scripts: dict[str, Sums]
    phases: dict[str, Sums]

    @property
    def macro(self) -> float | None:
        figures = [s.bits_per_byte for s in self.languages.values()]
        known = [figure for figure in figures if figure is not None]
        return sum(known) / len(known) if known else None

    def line(self) -> dict[str, Json]:
        """The fields of a log line."""

        def lines(sums: Mapping[str, Sums]) -> dict[str, Json]:
            return {name: sums[name].line() for name in sorted(sums)}

        return {
            "macro": self.macro,
            "languages": lines(self.languages),
            "pooled": {"script": lines(self.scripts), "phase": lines(self.phases)},
        }


def score(sums: Mapping[str, Sums]) -> Score:
    """From sums by `lang_Script` to figures by language and by pool."""
    languages: dict[str, Sums] = defaultdict(Sums)
    scripts: dict[str, Sums] = defaultdict(Sums)
    phases: dict[str, Sums] = defaultdict(Sums)
    for subset, part in sums.items():
        languages[split_subset(subset)[0]] += part
    for subset, part in sums.items():
        code, script = split_subset(subset)
        if languages[code].bits_per_byte is None:
            scripts[script] += part
            phases[entry_phase(code) or "never"] += part
    return Score(dict(languages), dict(scripts), dict(phases))


@dataclass(frozen=True)
class HeldoutRow:
    """A piece of a held-out document; ids [t] with BOS and EOS, `key` draws its mask."""

    language: str  # lang_Script
    document: int  # number of the document in the whole held-out text
    opens: bool  # the first row of its document
    ids: U32
    key: int


class HeldoutText:
    """The text of a `Heldout` file, read from its shards as it is scored."""

    def __init__(self, store: Store, held_out: runs.Heldout, sealed: seal.Seal) -> None:
        """Raises UserError when the text was tokenised with another tokenizer."""
        seal.require_same(held_out.tokenizer, sealed.digest, "the held-out text")
        self.held_out = held_out
        self._store = store
        self._special = sealed.special
        self.languages = sorted({stratum.language for stratum in held_out.strata})

    def num_tokens(self) -> int:
        """Tokens of one evaluation, BOS and EOS counted."""
        context = self.held_out.context
        shards = self._shards()
        return sum(count_rows(s.lengths[:take], context).tokens for _, s, _, take in shards)

    def rows(self, rank: int, world: int) -> Iterator[HeldoutRow]:
        """The rows of every `world`-th document, from document `rank` on."""
        bos, eos = np.uint32(self._special.bos), np.uint32(self._special.eos)
        before = 0
        for language, opened, name, take in self._shards():
            base = keyed(key64("heldout"), int(shard.digest_of(name), 16))
            keys = keyed_array(base, np.arange(take, dtype=np.uint64))
            document, start, length = cut(opened.lengths[:take], self.held_out.context, keys)
            mine = np.flatnonzero((document + before) % world == rank)
            for i in mine.tolist():
                d = int(document[i])
                body = opened.document(d)[start[i] : start[i] + length[i]]
                ids = np.concatenate([[bos], body, [eos]])
                opens = i == 0 or int(document[i - 1]) != d
                key = keyed(int(keys[d]), int(start[i]))
                yield HeldoutRow(language, before + d, opens, ids, key)
            before += take

    def _shards(self) -> Iterator[tuple[str, shard.Shard, str, int]]:
        """(language, shard, file name, documents to take) until each stratum has its number."""
        for stratum in self.held_out.strata:
            left = stratum.documents
            for name in stratum.shards:
                if left <= 0:
                    break
                opened = shard.open_shard(join(self._store.resolve(stratum.folder), name))
                seal.require_same(opened.meta.tokenizer, self.held_out.tokenizer, opened.url)
                take = min(left, opened.table.num_rows)
                left -= take
                yield stratum.language, opened, name, take


def token_bytes(tokenizer_json: bytes, sealed: seal.Seal) -> I64:
    """UTF-8 bytes that each token id stands for, [vocabulary]; 0 for special tokens.

    U+2581 stands for a space, `<0xNN>` for one byte; in a byte-level vocabulary (as GPT-2's) each
    character of a piece stands for one byte.
    """
    content = json.loads(tokenizer_json)
    vocabulary = content["model"]["vocab"]
    if isinstance(vocabulary, list):  # Unigram: [piece, score] in the order of ids
        vocabulary = {piece: i for i, (piece, _) in enumerate(vocabulary)}
    byte_level = '"ByteLevel"' in json.dumps([content.get("pre_tokenizer"), content.get("decoder")])
    sizes = np.zeros(sealed.vocab_size, np.int64)
    for piece, i in vocabulary.items():
        if byte_level:
            sizes[i] = len(piece)
        elif len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            sizes[i] = 1
        else:
            sizes[i] = len(piece.replace("▁", " ").encode())
    for token in content.get("added_tokens") or []:
        sizes[token["id"]] = 0 if token["special"] else len(token["content"].encode())
    sizes[list(sealed.special.ids())] = 0
    return sizes
