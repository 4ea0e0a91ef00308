"""The four sources of a sample, written one after the other, text with its noise.

In: an empty folder, a seed, the languages, bytes for each source. Out: the sources' files, and what
was counted on the way: documents, bytes of text, injections.
"""

from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

from pipelines.sample import plan
from pipelines.sample.code import programming_languages, programs, write_code
from pipelines.sample.dclm import FOLDER as DCLM_FOLDER
from pipelines.sample.dclm import broken_lines, lines_of, write_dclm
from pipelines.sample.documents import Document, write_text, write_texts, writer_of
from pipelines.sample.dolmino import SUBSETS, subset_texts, write_dolmino
from pipelines.sample.draws import Draws, uuid
from pipelines.sample.fineweb2 import write_fineweb2
from pipelines.sample.noise import KINDS, Foreign, Injection, num_noisy, spoil
from schemas.language import Language

_DCLM_FILES = 3
_NUM_FOREIGN = 24
"""`wrong_lang` texts come from the first languages of a sample: those with passages."""


class Corpus:
    """A sample in the making: where it is written and what was counted so far."""

    def __init__(
        self, root: Path, seed: int, rows: tuple[Language, ...], progress: Callable[[str], None]
    ) -> None:
        self.root = root
        self.seed = seed
        self.rows = rows
        self.progress = progress
        self.num_documents = 0
        self.num_bytes = 0
        self.injections: list[tuple[str, str, Injection]] = []

    def fineweb2(self, num_bytes: float) -> None:
        """One training file a language, and a test file where the real one has a test split."""
        kinds = cycle(KINDS)
        for number, share in enumerate(plan.plan_fineweb2(self.rows, num_bytes)):
            if number % 100 == 0:
                self.progress(f"fineweb2: {number} of {len(self.rows) - 1} languages")
            subset = share.language.subset
            texts = write_texts(
                writer_of(subset),
                self._draws("fineweb2", subset),
                share.num_train + share.num_test,
                share.mean_bytes,
            )
            clean = [
                Document(f"<urn:uuid:{self._uuid('fineweb2', subset, i)}>", text)
                for i, text in enumerate(texts)
            ]
            file = f"fineweb2/data/{subset}/train/000_00000.parquet"
            train = self._spoil("fineweb2", file, clean[share.num_test :], subset, kinds)
            self._write_split(subset, "train", train)
            if share.num_test:
                self._write_split(subset, "test", clean[: share.num_test])

    def dclm(self, num_bytes: float) -> None:
        """English web text in a few files, two broken lines in the first."""
        self.progress("dclm: English")
        kinds = cycle(KINDS)
        count = max(_DCLM_FILES * 4, round(num_bytes / plan.MEAN_BYTES)) + 2
        texts = write_texts(writer_of(plan.ENGLISH), self._draws("dclm"), count, num_bytes / count)
        documents = [
            Document(f"<urn:uuid:{self._uuid('dclm', i)}>", text) for i, text in enumerate(texts)
        ]
        to_break, clean = documents[:2], documents[2:]
        for number in range(_DCLM_FILES):
            file = f"{DCLM_FOLDER}/shard_{number:08}_processed.jsonl.zst"
            dirty = self._spoil("dclm", file, clean[number::_DCLM_FILES], plan.ENGLISH, kinds)
            draws = self._draws("columns", file)
            lines = lines_of(dirty, draws)
            if number == 0:
                broken, injections = broken_lines(to_break, draws)
                for line in broken:
                    lines.insert(draws.below(len(lines) + 1), line)
                self.injections += (("dclm", file, injection) for injection in injections)
            write_dclm(self.root / file, lines)
            self._count(dirty)

    def dolmino(self, num_bytes: float) -> None:
        """The five English subsets."""
        self.progress("dolmino: English")
        kinds = cycle(KINDS)
        for subset in SUBSETS:
            file = f"dolmino/data/{subset.file}"
            draws = self._draws("dolmino", subset.name)
            clean = [
                Document(self._uuid("dolmino", subset.name, i), text)
                for i, text in enumerate(subset_texts(subset, draws, num_bytes * subset.part))
            ]
            dirty = self._spoil("dolmino", file, clean, plan.ENGLISH, kinds)
            write_dolmino(self.root / file, subset, dirty, self._draws("columns", file))
            self._count(dirty)

    def code(self, num_bytes: float) -> None:
        """A file a programming language, without noise."""
        self.progress("code")
        languages = programming_languages()
        for language in languages:
            draws = self._draws("code", language.name)
            documents = [
                Document(str(number), text)
                for number, text in enumerate(programs(language, draws, num_bytes / len(languages)))
            ]
            file = self.root / f"code/{language.name}/train-00000-of-00001.parquet"
            write_code(file, language, documents, draws)
            self._count(documents)

    def _write_split(self, subset: str, split: str, documents: list[Document]) -> None:
        file = self.root / f"fineweb2/data/{subset}/{split}/000_00000.parquet"
        write_fineweb2(file, subset, documents, self._draws("columns", subset, split))
        self._count(documents)

    def _spoil(
        self, source: str, file: str, clean: list[Document], subset: str, kinds: Iterator[str]
    ) -> list[Document]:
        draws = self._draws("noise", file)
        prefix, suffix = ("", "") if source == "dolmino" else ("<urn:uuid:", ">")
        ids = [
            f"{prefix}{self._uuid('noise', file, i)}{suffix}"
            for i in range(num_noisy(len(clean), draws))
        ]
        dirty, injections = spoil(clean, ids, kinds, self._foreign(subset, draws), draws)
        self.injections += ((source, file, injection) for injection in injections)
        return dirty

    def _foreign(self, subset: str, draws: Draws) -> Iterator[Foreign]:
        """Text of the sample's other languages, without end."""
        others = [row.subset for row in self.rows[:_NUM_FOREIGN] if row.subset != subset]
        while True:
            other = draws.pick(others)
            yield Foreign(other, write_text(writer_of(other), draws, draws.between(200, 1500)))

    def _draws(self, *key: str) -> Draws:
        return Draws(self.seed, *key)

    def _uuid(self, *key: str | int) -> str:
        return uuid(self.seed, *key)

    def _count(self, documents: list[Document]) -> None:
        self.num_documents += len(documents)
        self.num_bytes += sum(len(document.text.encode()) for document in documents)
