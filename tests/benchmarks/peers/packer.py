"""What the peers are measured with: a packer of the usual kind, and the meter.

The packer keeps a buffer of documents; a pack takes the longest that still fits, until none does
(best fit in a buffer, as ModernBERT's training packs its sequences). Runs in the peers' own Python,
where this project is not: numpy alone.
"""

import json
import time
from bisect import bisect_right, insort
from itertools import pairwise
from pathlib import Path

import numpy as np

PACK_TOKENS = 49_152
BUFFER = 1_000
LEAST_S, LEAST_PACKS = 8.0, 20  # of CPU time and of packs, before a peer's rate is told
MOST_S = 60.0  # of CPU time, however few packs it was enough for
BOS, EOS = 2, 1


def packs(documents):
    """(ids [t] int64, positions [t], cu_seqlens [p + 1]) of an iterator of token arrays."""
    waiting, number = [], 0  # (length, number, tokens), by length
    left = True
    while left or waiting:
        while left and len(waiting) < BUFFER:
            tokens = next(documents, None)
            if tokens is None:
                left = False
            else:
                insort(waiting, (len(tokens) + 2, number, tokens), key=lambda item: item[:2])
                number += 1
        pack, room = [], PACK_TOKENS
        while at := bisect_right(waiting, room, key=lambda item: item[0]):
            length, _, tokens = waiting.pop(at - 1)
            pack.append(tokens)
            room -= length
        yield joined(pack)


def joined(pack):
    lengths = np.array([len(tokens) + 2 for tokens in pack])
    cu_seqlens = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    ids = np.empty(cu_seqlens[-1], np.int64)
    for tokens, first, last in zip(pack, cu_seqlens[:-1], cu_seqlens[1:], strict=True):
        ids[first], ids[first + 1 : last - 1], ids[last - 1] = BOS, tokens, EOS
    positions = np.arange(ids.size) - np.repeat(cu_seqlens[:-1], lengths)
    return ids, positions, cu_seqlens


def measure(make):
    """Print the figures of the documents of `make()`: rate after the first pack, fill, memory."""
    begun = time.process_time()
    stream = packs(make())
    next(stream)
    first_cpu_s = time.process_time() - begun
    begun, tokens, num_packs = time.process_time(), 0, 0
    for ids, _, _ in stream:
        tokens += ids.size
        num_packs += 1
        taken = time.process_time() - begun
        if taken > MOST_S or (num_packs >= LEAST_PACKS and taken > LEAST_S):
            break
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    anonymous = next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))
    told = {
        "tokens": tokens,
        "packs": num_packs,
        "cpu_s": time.process_time() - begun,
        "first_cpu_s": first_cpu_s,
        "anonymous_mb": anonymous * 1024e-6,
    }
    print(json.dumps(told))


def pieces(folder, context):
    """The documents of each language, cut for a context: {language: [tokens]}."""
    found = {}
    for file in sorted(Path(folder).glob("*.tokens.npy")):
        tokens = np.load(file, mmap_mode="r")
        bounds = np.load(file.with_name(file.name.replace("tokens", "offsets")))
        found[file.name.removesuffix(".tokens.npy")] = [
            np.asarray(tokens[first : min(first + context - 2, last)])
            for begin, last in pairwise(bounds)
            for first in range(begin, last, context - 2)
        ]
    return found
