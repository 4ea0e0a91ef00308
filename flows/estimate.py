"""What a phase and a build come to before there are strata: the same arithmetic over guesses.

tokens ~ bytes on disk * TOKENS_PER_BYTE              (within a factor of two)
time   ~ bytes / BUILD_BYTES_PER_S + tokens * operations of a token / OPERATIONS_PER_S
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flows.job import Profile
from pipelines.inventory import Origin, in_group, phase_codes, read_by, share_key
from pipelines.manifests import MULTILINGUAL, Part, share_out
from schemas.errors import UserError
from schemas.ledger import Ledger
from schemas.manifest import Absence
from schemas.recipe import ModelSettings, Phase, Recipe
from schemas.rows import RowCount
from schemas.stratum import Stratum, StratumName

TOKENS_PER_BYTE = 0.7  # of compressed Parquet or JSON; FineWeb2 has 2.6 bytes of text in one
TOKENS_PER_DOCUMENT = 500
BUILD_BYTES_PER_S = 0.25e6  # on disk, one process
OPERATIONS_PER_S = 55e9  # floating-point, one core, bfloat16


@dataclass(frozen=True)
class LanguagePlan:
    language: str
    tokens: int
    rows: int
    epochs: float


@dataclass(frozen=True)
class PhasePlan:
    name: str
    pool_tokens: int
    budget_tokens: int
    languages: tuple[LanguagePlan, ...]
    absent: tuple[Absence, ...]
    doubt: str = ""  # why an estimate says that it cannot be met


def estimated(recipe: Recipe, name: str, origins: Sequence[Origin]) -> PhasePlan:
    """A phase over estimates, by the arithmetic of the manifests."""
    phase = recipe.phases[name]
    parts = [_part(phase, origin) for origin in read_by(name, phase, origins)]
    parts = [part for part in parts if part.count.tokens]
    present = {part.stratum.name.code for part in parts}
    group = {origin.code for origin in origins if in_group(phase, origin.source)}
    absent = tuple(
        Absence(language=code, reason="no source has it")
        for code in sorted(phase_codes(name, phase, group) - present)
    )
    try:
        targets = share_out(phase, f"phases.{name}", parts)
    except UserError as error:
        return PhasePlan(name, phase.pool_tokens, phase.budget_tokens, (), absent, str(error))
    times = phase.budget_tokens / phase.pool_tokens
    tokens: dict[str, int] = {}
    there: dict[str, int] = {}
    for part, target in zip(parts, targets, strict=True):
        code = part.stratum.name.code
        tokens[code] = tokens.get(code, 0) + round(target * times)
        there[code] = there.get(code, 0) + part.count.tokens
    languages = tuple(
        LanguagePlan(code, n, _rows(n, phase.context), n / there[code])
        for code, n in sorted(tokens.items(), key=lambda item: (-item[1], item[0]))
    )
    return PhasePlan(name, phase.pool_tokens, phase.budget_tokens, languages, absent)


def _part(phase: Phase, origin: Origin) -> Part:
    size = sum(file.size_bytes for file in origin.files if file.split == "train")
    tokens = round(size * TOKENS_PER_BYTE)
    stratum = Stratum(
        id="",
        name=StratumName(source=origin.source, language=origin.language),
        tokenizer="",
        vocab_size=0,
        ledger=Ledger(read=0, kept=0),
        shards=(),
        made_from={},
    )
    key = share_key(phase, origin.source) or MULTILINGUAL
    return Part(stratum, key, (RowCount(_rows(tokens, phase.context), tokens, 0),))


def _rows(tokens: int, context: int) -> int:
    return -(-tokens // min(context, TOKENS_PER_DOCUMENT))


def seconds(recipe: Recipe, phases: Iterable[str], num_bytes: int, profile: Profile) -> float:
    """To build what `num_bytes` on disk hold and to train some phases."""
    vocab_size = recipe.tokenizer.train.vocab_size if recipe.tokenizer.train else 256_000
    operations = sum(
        recipe.phases[name].budget_tokens
        * operations_per_token(recipe.model, vocab_size, recipe.phases[name])
        for name in phases
    )
    cores = profile.num_processes * profile.num_threads
    building = num_bytes / BUILD_BYTES_PER_S / profile.num_workers
    return building + operations / OPERATIONS_PER_S / cores


def operations_per_token(model: ModelSettings, vocab_size: int, phase: Phase) -> float:
    """Floating-point operations of a token in training: 6 for each weight that it meets."""
    hidden = model.hidden_size
    layer = 4 * hidden**2 + 3 * hidden * model.intermediate_size
    head = phase.mask_rate * (hidden**2 + hidden * vocab_size)  # only masked tokens reach it
    seen = phase.context / 2 / model.global_every + model.local_window
    attention = 2 * hidden * seen
    return 6 * (model.num_layers * (layer + attention) + head)
