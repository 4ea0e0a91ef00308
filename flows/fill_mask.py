"""What a model puts in the place of `<mask>`, beside what its untrained twin puts there.

In: a run's folder (its exports are `transformers` models) and sentences. Out: `Answer`s.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.language import language_name

PROBES = Path(__file__).parent.parent / "pipelines" / "sample" / "probes.toml"


@dataclass(frozen=True)
class Probe:
    language: str  # lang_Script
    text: str  # with one <mask>
    answer: str


@dataclass(frozen=True)
class Answer:
    language: str
    text: str
    expected: str
    trained: str
    untrained: str


def sample_probes() -> list[Probe]:
    """The sentences that a model trained on the sample corpus can complete."""
    table = tomllib.loads(PROBES.read_text(encoding="utf-8"))
    return [Probe(p["language"], p["text"], p["answer"]) for p in table["probe"]]


def fill_masks(models: Path, phase: str, probes: Sequence[Probe]) -> list[Answer]:
    """The best answer of `models/<phase>` and of `models/untrained` to each probe."""
    texts = [probe.text for probe in probes]
    trained = best_tokens(models / phase, texts)
    untrained = best_tokens(models / "untrained", texts)
    return [
        Answer(language_name(probe.language.split("_")[0]), probe.text, probe.answer, *found)
        for probe, *found in zip(probes, trained, untrained, strict=True)
    ]


def best_tokens(model_folder: Path, texts: Sequence[str]) -> list[str]:
    """The likeliest token for the `<mask>` of each text, with its probability."""
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForMaskedLM.from_pretrained(model_folder).eval()
    answers = []
    for text in texts:
        batch = tokenizer(text.replace("<mask>", tokenizer.mask_token), return_tensors="pt")
        place = (batch["input_ids"][0] == tokenizer.mask_token_id).nonzero()[0, 0]
        with torch.no_grad():
            logits = model(input_ids=batch["input_ids"]).logits[0, place]
        logits[tokenizer.all_special_ids] = -torch.inf
        share, token = logits.softmax(-1).max(-1)
        answers.append(f"{readable(tokenizer.decode([int(token)]))} ({100 * share:.0f} %)")
    return answers


def readable(text: str) -> str:
    """The text of a token; of one that shows nothing, what it consists of: '\\x89'."""
    word = text.strip()
    return word if word and word.isprintable() else ascii(text)
