"""HF datasets: python hf.py map|iterable TEXT FOLDER CONTEXT

A data set a language, interleaved by weight: over indices (`map`), or as streams (`iterable`). The
Arrow files are written before anything is measured, where they are not there.
"""

import sys
from pathlib import Path

import numpy as np
from datasets import Dataset, disable_progress_bars, interleave_datasets, load_from_disk
from packer import measure, pieces

how, text, arrow, context = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
disable_progress_bars()
found = pieces(text, context)
for language, documents in found.items():
    if not (arrow / language / "state.json").exists():
        Dataset.from_dict({"tokens": documents}).save_to_disk(str(arrow / language))
languages = {language: sum(map(len, documents)) for language, documents in found.items()}
total = sum(languages.values())
del found


def documents():
    sets = [load_from_disk(str(arrow / language)) for language in languages]
    weights = [tokens / total for tokens in languages.values()]
    if how == "iterable":
        sets = [each.to_iterable_dataset().shuffle(seed=0, buffer_size=1_000) for each in sets]
    mixed = interleave_datasets(
        sets, probabilities=weights, seed=0, stopping_strategy="all_exhausted"
    )
    for sample in mixed.with_format("numpy"):
        yield np.asarray(sample["tokens"])


measure(documents)
