"""Small corpora in the real layouts, for tests that build data."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from schemas.manifest import Packing
from schemas.recipe import Phase, Recipe
from schemas.text import Source, TokenizerSettings, TrainTokenizer

SYLLABLES = ("ka", "lo", "mi", "ne", "ru", "ta", "vo", "shi", "bel", "dor", "fen", "gul")


def sentences(seed: str, count: int) -> list[str]:
    """Texts of made-up words, each long enough to pass the filters; the same for a seed."""
    draw = np.random.default_rng([*seed.encode()])
    words = ["".join(draw.choice(SYLLABLES, draw.integers(1, 4))) for _ in range(200)]
    return [
        " ".join(draw.choice(words, draw.integers(20, 120))) + f" {seed} {number}."
        for number in range(count)
    ]


def write_fineweb2(
    root: Path, language: str, texts: Sequence[str], split: str = "train", name: str = "000_00000"
) -> Path:
    path = root / "data" / language / split / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "text": list(texts),
            "id": [f"<urn:{language}:{split}:{name}:{i}>" for i in range(len(texts))],
            "url": [f"https://example.org/{language}/{i}" for i in range(len(texts))],
            "language_score": [0.99] * len(texts),
        }
    )
    pq.write_table(table, path, row_group_size=8)
    return path


def dclm_line(text: str, identity: str) -> bytes:
    row = {
        "text": text,
        "url": f"https://example.org/{identity}",
        "metadata": {"WARC-Record-ID": f"<urn:{identity}>"},
        "fasttext_openhermes_reddit_eli5_vs_rw_v2_bigram_200k_train_prob": 0.5,
    }
    return json.dumps(row).encode()


def write_dclm(root: Path, lines: Sequence[bytes], name: str = "shard_0.jsonl.zst") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zstandard.ZstdCompressor().compress(b"\n".join(lines) + b"\n"))
    return path


def write_dolmino(root: Path, subset: str, texts: Sequence[str]) -> Path:
    path = root / "data" / subset / f"{subset}-0000.json.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps({"id": f"{subset}-{i}", "text": t}) for i, t in enumerate(texts)]
    path.write_bytes(gzip.compress("\n".join(rows).encode() + b"\n", mtime=0))
    return path


def write_corpus(root: Path, languages: Mapping[str, int]) -> Path:
    """FineWeb2 in the given languages (documents of each), DCLM and one Dolmino subset."""
    for language, count in languages.items():
        texts = sentences(language, count)
        write_fineweb2(root / "fineweb2", language, texts[: -count // 10])
        write_fineweb2(root / "fineweb2", language, texts[-count // 10 :], split="test")
    english = sentences("english", 60)
    write_dclm(root / "dclm", [dclm_line(t, str(i)) for i, t in enumerate(english)])
    write_dolmino(root / "dolmino", "math", sentences("math", 30))
    return root


def recipe(root: Path, sources: Mapping[str, Source] | None = None, **phase: object) -> Recipe:
    """A recipe of one phase over `write_corpus`; keywords replace keys of the phase.

    `sources` stand in place of DCLM and Dolmino.
    """
    settings: dict[str, object] = {
        "context": 128,
        "mask_rate": 0.3,
        "rope_theta": 1e4,
        "languages": "fineweb2-all",
        "tau": 0.7,
        "max_epochs": 2,
        "shares": {"multilingual": 60, "dclm": 30, "dolmino/math": 10},
        "pool_tokens": 8_000,
        "budget_tokens": 8_000,
        "learning_rate": 1e-3,
        "batch_packs": 2,
    }
    return Recipe(
        name="test",
        tokenizer=TokenizerSettings(
            train=TrainTokenizer(vocab_size=512, sample_megabytes=0.2, tau=0.5)
        ),
        sources={
            "fineweb2": Source(path=str(root / "fineweb2"), format="fineweb2"),
            **(sources or {n: Source(path=str(root / n), format=n) for n in ("dclm", "dolmino")}),
        },
        packing=Packing(pack_tokens=1024, max_pieces=64, window_packs=4),
        phases={"only": Phase.model_validate(settings | phase)},
    )
