"""A sample corpus: FineWeb2, DCLM, Dolmino and StarCoder in miniature, made text in real formats.

In: how many languages, how many megabytes, a seed. Out: a folder that a recipe reads as it would
read the real sources, `injected.csv` with the truth about its noise, and `sample.json`. The folder
is made beside its place and renamed into it, so it is there in full or not at all; equal parameters
give equal bytes.
"""

import csv
import json
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.sample import plan
from pipelines.sample.corpus import Corpus
from pipelines.sample.noise import NOISE_PART
from pipelines.sample.passages import written_languages
from schemas.errors import UserError

VERSION = 3
"""Grows whenever the same parameters give other bytes."""

_README = """\
# Sample corpus

Made text in the file formats of FineWeb2 (`fineweb2/`), DCLM (`dclm/`), Dolmino (`dolmino/`) and
StarCoder (`code/`), so that every step from raw text to a model can run on a laptop. The sentences
of {written} languages were written for this purpose and are recombined at random; all other
languages are invented words in their script. Codes that FineWeb2 no longer lists have no script
there: they are written in a plausible one (`awi_Latn`). About one document of text in twenty is
noise put in on purpose: `injected.csv` says which, and what is wrong with it.

It teaches a model nothing about the world: do not train a real one on it.

Made with `mmbert sample DIR --languages {languages} --megabytes {megabytes} --seed {seed}`.
"""


@dataclass(frozen=True)
class SampleReport:
    """What a sample holds: languages, whole documents, UTF-8 bytes of their text, and the injected
    documents and broken lines by kind.
    """

    languages: int
    documents: int
    bytes: int
    noise: dict[str, int]


def write_sample(
    directory: Path,
    languages: int = 24,
    megabytes: float = 6.0,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> SampleReport:
    """Write a sample corpus of about `megabytes` million bytes of text to `directory`, or more
    where so many languages need it.

    A directory that holds this very sample already is left as it is. `progress` gets a line now and
    then.

    Raises UserError for impossible numbers and for a directory that holds anything else.
    """
    if not 0 < megabytes < float("inf"):
        raise UserError(
            f"a sample cannot have {megabytes} megabytes: give --megabytes a number above 0"
        )
    rows = plan.chosen_languages(languages)
    parameters = {
        "version": VERSION,
        "languages": languages,
        "megabytes": float(megabytes),
        "seed": seed,
    }
    held = _held_sample(directory, parameters)
    if held is not None:
        return held
    num_clean_bytes = megabytes * 1e6 * (1 - NOISE_PART)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}-") as scratch:
        corpus = Corpus(Path(scratch) / "sample", seed, rows, progress or (lambda _: None))
        corpus.fineweb2(num_clean_bytes * plan.FINEWEB2_PART)
        corpus.dclm(num_clean_bytes * plan.DCLM_PART)
        corpus.dolmino(num_clean_bytes * plan.DOLMINO_PART)
        corpus.code(num_clean_bytes * plan.CODE_PART)
        report = _describe(corpus, parameters)
        if directory.exists():
            directory.rmdir()
        corpus.root.rename(directory)
    return report


def _held_sample(directory: Path, parameters: dict[str, float]) -> SampleReport | None:
    """The report of the sample that `directory` holds; None if there is nothing."""
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return None
    marker = directory / "sample.json"
    if not marker.is_file():
        raise UserError(f"{directory} is not empty and holds no sample: name another directory")
    held = json.loads(marker.read_text(encoding="utf-8"))
    if held["parameters"] != parameters:
        made = ", ".join(f"{key} {value}" for key, value in held["parameters"].items())
        raise UserError(
            f"{directory} holds another sample ({made}): name another directory or remove this one"
        )
    return SampleReport(**held["report"])


def _describe(corpus: Corpus, parameters: dict[str, float]) -> SampleReport:
    """Write `injected.csv`, `README.md` and, last, `sample.json`."""
    with (corpus.root / "injected.csv").open("w", encoding="utf-8", newline="") as lines:
        table = csv.writer(lines, lineterminator="\n")
        table.writerow(("source", "file", "id", "kind", "ref_id", "note"))
        for source, file, injection in corpus.injections:
            table.writerow(
                (source, file, injection.id, injection.kind, injection.ref_id, injection.note)
            )
    written = sum(row.subset in written_languages() for row in corpus.rows)
    (corpus.root / "README.md").write_text(
        _README.format(written=written, **parameters), encoding="utf-8"
    )
    kinds = Counter(injection.kind for _, _, injection in corpus.injections)
    report = SampleReport(
        len(corpus.rows), corpus.num_documents, corpus.num_bytes, dict(sorted(kinds.items()))
    )
    marker = {"parameters": parameters, "report": asdict(report)}
    (corpus.root / "sample.json").write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
    return report
