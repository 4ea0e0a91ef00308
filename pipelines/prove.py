"""Proof that a fast engine gives the true ids: on a sample of each language, while it is tokenised.

Of every language the first 32 documents are encoded by both engines, and after them every 256th. A
difference among the first sends the language to the truth, and is noted. One that shows only later
stops the build, since spills are written by then.

What was compared is written down beside the tokenizer, never in what is built: the bytes of strata
are the same whichever engine ran.

    tokenizers/<digest>/proofs/<id>.json      one for each task of a build; the id is its content's
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import fsspec
import numpy as np
import xxhash

from pipelines.encode import Encoder, Ids, Truth, find_fast
from schemas import seal as seals
from schemas.digest import content_id
from schemas.ledger import Frozen
from schemas.store import exists, join, read_bytes, write_json

FIRST = 32
EVERY = 256


class UnequalIds(RuntimeError):
    """The fast engine left the truth after it was trusted."""


class Compared(Frozen):
    """What both engines encoded of one language."""

    documents: int = 0
    num_bytes: int = 0  # UTF-8
    texts: str = ""  # running xxh3-128 of the texts
    differs: str | None = None  # the file of the first text of unequal ids


class Proof(Frozen):
    """`proofs/<id>.json`."""

    engine: str
    truth: str
    languages: dict[str, Compared]


class Proving:
    """The fast engine where it is proved, the truth where it is not or where there is none.

    `known` are proofs of this tokenizer: a language that one of them has proved is not proved
    again. `proof` is what was compared here.
    """

    def __init__(self, truth: Truth, fast: Encoder | None, known: Sequence[Proof] = ()) -> None:
        self._truth = truth
        self._fast = fast
        self._num_seen: dict[str, int] = {}  # texts of a language
        self._differs: set[str] = set()  # languages
        self._compared: dict[str, Compared] = {}
        for proof in known:
            if fast is not None and (proof.engine, proof.truth) == (fast.engine, truth.engine):
                equal = {n: c.documents for n, c in proof.languages.items() if c.differs is None}
                for language, documents in equal.items():
                    seen = self._num_seen.get(language, 0)
                    self._num_seen[language] = min(FIRST, seen + documents)

    @classmethod
    def of(cls, seal_folder: str) -> Proving:
        """With the fast engine, where it is installed and can read the tokenizer."""
        truth, fast = _engines(seal_folder)
        return cls(truth, fast, load_proofs(seal_folder) if fast else ())

    @property
    def proof(self) -> Proof | None:
        if self._fast is None or not self._compared:
            return None
        return Proof(
            engine=self._fast.engine, truth=self._truth.engine, languages=dict(self._compared)
        )

    def encode(self, texts: Sequence[str], file: str, language: str) -> list[Ids]:
        """Raises UnequalIds when the engines differ in a language that was proved."""
        if self._fast is None or language in self._differs:
            return self._truth.encode(texts)
        start = self._num_seen.get(language, 0)
        self._num_seen[language] = start + len(texts)
        ids = self._fast.encode(texts)
        sample = [i for i in range(len(texts)) if start + i < FIRST or (start + i) % EVERY == 0]
        true_ids = self._truth.encode([texts[i] for i in sample])
        for i, true in zip(sample, true_ids, strict=True):
            if not np.array_equal(ids[i], true):
                self._note(language, texts[i], file)
                if start + i >= FIRST:
                    raise UnequalIds(
                        f"{self._fast.engine} gives other ids than {self._truth.engine} for a text "
                        f"of {file}, though {FIRST} texts of {language} were equal: uninstall it, "
                        "delete the store's spills/ and run the same command again"
                    )
                self._differs.add(language)
                return self._truth.encode(texts)
            self._note(language, texts[i], None)
        return ids

    def _note(self, language: str, text: str, differs: str | None) -> None:
        before = self._compared.get(language, Compared())
        data = text.encode()
        self._compared[language] = Compared(
            documents=before.documents + 1,
            num_bytes=before.num_bytes + len(data),
            texts=xxhash.xxh3_128_hexdigest(before.texts.encode() + data),
            differs=before.differs or differs,
        )


@lru_cache(maxsize=1)  # a worker runs many tasks, and a large vocabulary takes seconds to load
def _engines(seal_folder: str) -> tuple[Truth, Encoder | None]:
    tokenizer_json = seals.load(seal_folder)[1]
    return Truth(tokenizer_json), find_fast(tokenizer_json)


def save_proof(seal_folder: str, proof: Proof | None) -> None:
    """Write down what a task compared, beside the tokenizer."""
    if proof is not None:
        content = proof.model_dump(mode="json")
        write_json(join(seal_folder, "proofs", f"{content_id(content)}.json"), content)


def load_proofs(seal_folder: str) -> list[Proof]:
    """Everything that was ever compared for a tokenizer."""
    folder = join(seal_folder, "proofs")
    if not exists(folder):
        return []
    fs, path = fsspec.core.url_to_fs(folder)
    files = sorted(str(file).rsplit("/", 1)[-1] for file in fs.find(path))
    return [
        Proof.model_validate_json(read_bytes(join(folder, name)))
        for name in files
        if name.endswith(".json") and not name.startswith(".")
    ]


def told(proofs: Sequence[Proof]) -> list[str]:
    """Lines for a person: what was proved, and each language in which the engines differ."""
    if not proofs:
        return []
    lines = []
    for engine, truth in sorted({(proof.engine, proof.truth) for proof in proofs}):
        found = [
            (language, compared)
            for proof in proofs
            if (proof.engine, proof.truth) == (engine, truth)
            for language, compared in proof.languages.items()
        ]
        documents = sum(compared.documents for _, compared in found)
        languages = len({language for language, _ in found})
        lines.append(
            f"{engine} did the work of {truth}: equal ids on {documents:,} documents in "
            f"{languages:,} languages"
        )
        lines += [
            f"! {language}: {engine} differs from {truth} in {compared.differs}; {truth} "
            "did the work"
            for language, compared in found
            if compared.differs
        ]
    return lines
