"""MosaicML streaming: python mosaic.py one|many TEXT MDS CONTEXT

`one`: a stream of all documents, shuffled; `many`: a stream a language, drawn by its weight. The
MDS shards are written before anything is measured, where they are not there.
"""

import sys
from pathlib import Path

import numpy as np
from packer import measure, pieces
from streaming import MDSWriter, Stream, StreamingDataset
from streaming.base.util import clean_stale_shared_memory

how, text, mds, context = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
COLUMNS = {"tokens": "ndarray:uint32"}


def write(folder, documents):
    if not (folder / "index.json").exists():
        with MDSWriter(out=str(folder), columns=COLUMNS, size_limit=1 << 26) as writer:
            for tokens in documents:
                writer.write({"tokens": tokens})


found = pieces(text, context)
if how == "one":
    every = [tokens for documents in found.values() for tokens in documents]
    order = np.random.default_rng(0).permutation(len(every))
    write(mds / "one", (every[i] for i in order))
else:
    for language, documents in found.items():
        write(mds / "many" / language, documents)
languages = {language: sum(map(len, documents)) for language, documents in found.items()}
total = sum(languages.values())
del found
clean_stale_shared_memory()


def documents():
    settings = {"shuffle": True, "batch_size": 1, "shuffle_algo": "py1e"}
    if how == "one":
        dataset = StreamingDataset(local=str(mds / "one"), **settings)
    else:
        streams = [
            Stream(local=str(mds / "many" / language), proportion=tokens / total)
            for language, tokens in languages.items()
        ]
        dataset = StreamingDataset(streams=streams, **settings)
    while True:
        yield from (sample["tokens"] for sample in dataset)


measure(documents)
