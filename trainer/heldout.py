"""The held-out score: bits per byte, the same for every phase, model, seed and world size.

    bits per byte of a language = sum over targets of -log2 p(token) / UTF-8 bytes of those targets

Targets are drawn once, by a key of (shard, document) alone, so two scores differ by the model and
by nothing else; training losses, whose mask rate and context change, are never compared. A
language has a figure from the text that the recipe asks for on; others are pooled, once by script
and once by the phase in which mmBERT first saw them. `macro` is the plain mean over languages.

In: the `Heldout` file of a run. Out: `Score`, from sums that any number of ranks share out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from schemas.digest import Json
from schemas.language import entry_phase, split_subset
from trainer.distributed import Ranks
from trainer.heldout_text import HeldoutRow, HeldoutText
from trainer.micro_batch import of_rows
from trainer.model import ModernBert, Theta

MOST = 8  # scores a phase
MAX_SHARE = 0.1  # of a phase's cost, if that allows more than one
ROWS = 8  # full rows a pack


@dataclass(frozen=True)
class Least:
    """The text from which on a language has a figure of its own."""

    documents: int
    targets: int


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

    def bits_per_byte(self, least: Least) -> float | None:
        """None where there is too little text for a figure."""
        if self.documents < least.documents or self.targets < least.targets or not self.num_bytes:
            return None
        return self.nats / math.log(2) / self.num_bytes

    def line(self, least: Least) -> dict[str, Json]:
        return {
            "bits_per_byte": self.bits_per_byte(least),
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
    least: Least

    @property
    def macro(self) -> float | None:
        figures = [s.bits_per_byte(self.least) for s in self.languages.values()]
        known = [figure for figure in figures if figure is not None]
        return sum(known) / len(known) if known else None

    def line(self) -> dict[str, Json]:
        """The fields of a log line."""

        def lines(sums: Mapping[str, Sums]) -> dict[str, Json]:
            return {name: sums[name].line(self.least) for name in sorted(sums)}

        return {
            "macro": self.macro,
            "languages": lines(self.languages),
            "pooled": {"script": lines(self.scripts), "phase": lines(self.phases)},
        }


def score(sums: Mapping[str, Sums], least: Least) -> Score:
    """From sums by `lang_Script` to figures by language and by pool."""
    languages: dict[str, Sums] = defaultdict(Sums)
    scripts: dict[str, Sums] = defaultdict(Sums)
    phases: dict[str, Sums] = defaultdict(Sums)
    for subset, part in sums.items():
        languages[split_subset(subset)[0]] += part
    for subset, part in sums.items():
        code, script = split_subset(subset)
        if languages[code].bits_per_byte(least) is None:
            scripts[script] += part
            phases[entry_phase(code) or "never"] += part
    return Score(dict(languages), dict(scripts), dict(phases), least)


def evaluate(
    model: ModernBert,
    theta: float | Theta,
    text: HeldoutText,
    token_bytes: Tensor,
    ranks: Ranks,
) -> Score:
    """Score the model on the whole held-out text, shared out over the ranks by document.

    token_bytes [V] int64. Runs in the precision of the autocast around it.
    """
    languages = {language: i for i, language in enumerate(text.languages)}
    # Columns as in Sums. Float64: the order in which ranks and packs are added must not show.
    sums = torch.zeros(len(languages), 4, dtype=torch.float64)
    for rows in _packs(text.rows(ranks.rank, ranks.world), ROWS * text.held_out.context):
        batch = of_rows([row.masked for row in rows], text.held_out.context, ranks.device)
        nats = model.nll(*batch, theta).cpu().double()
        targets = torch.tensor([row.masked.targets.size for row in rows])
        language = torch.tensor([languages[row.language] for row in rows])
        of_target = language.repeat_interleave(targets)
        sums[:, 0].index_add_(0, of_target, nats)
        sums[:, 1].index_add_(0, of_target, token_bytes[batch.target_ids_M.cpu()].double())
        sums[:, 2].index_add_(0, language, targets.double())
        opens = torch.tensor([row.opens for row in rows])
        sums[:, 3].index_add_(0, language, opens.double())
    ranks.wait()  # documents differ in length: one rank may have much more to do
    total = ranks.sum(sums).tolist()
    least = Least(text.held_out.min_documents, text.held_out.min_targets)
    return score({language: Sums(*total[i]) for language, i in languages.items()}, least)


def num_evaluations(budget_tokens: int, heldout_tokens: int) -> int:
    """How often a phase is scored after its start, at equal distances of its clock.

    A score costs the forward third of a step on its tokens; MAX_SHARE bounds what all cost.
    """
    affordable = MAX_SHARE * 3 * budget_tokens / max(heldout_tokens, 1)
    return max(1, min(MOST, int(affordable)))


def is_due(num: int, before: float, after: float) -> bool:
    """Whether a step that took the clock from one share of the budget to another passed a score."""
    return math.floor(num * after) > math.floor(num * before)


def _packs(rows: Iterable[HeldoutRow], most_tokens: int) -> Iterator[list[HeldoutRow]]:
    pack: list[HeldoutRow] = []
    size = 0
    for row in rows:
        if pack and size + row.masked.ids.size > most_tokens:
            yield pack
            pack, size = [], 0
        pack.append(row)
        size += row.masked.ids.size
    if pack:
        yield pack
