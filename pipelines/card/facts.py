"""What a card says, computed from a manifest and the stratum.json files of what it reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from schemas.figures import amount
from schemas.language import entry_phase, language_name
from schemas.ledger import is_move
from schemas.manifest import LanguageShare, Manifest
from schemas.stratum import Stratum

UNKNOWN = "unknown"


@dataclass
class Tally:
    """Documents of some strata: read = kept + dropped; bytes and tokens are of what was kept."""

    name: str
    read: int = 0
    kept: int = 0
    num_bytes: int = 0
    tokens: int = 0
    repaired: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    languages: set[str] = field(default_factory=set)
    unreadable: int = 0

    def add(self, stratum: Stratum) -> None:
        ledger = stratum.ledger
        # What went to another stratum of its origin is read there, and no loss.
        moved = sum(n for reason, n in ledger.dropped.items() if is_move(reason))
        self.read += ledger.read - moved
        self.kept += ledger.kept
        self.num_bytes += ledger.kept_bytes
        self.tokens += ledger.kept_tokens
        self.repaired += ledger.repaired
        self.unreadable += len(ledger.unreadable)
        self.languages.add(stratum.name.code)
        for reason, count in ledger.dropped.items():
            if not is_move(reason):
                self.dropped[reason] = self.dropped.get(reason, 0) + count

    @property
    def bytes_a_token(self) -> float | None:
        return self.num_bytes / self.tokens if self.tokens and self.num_bytes else None

    @property
    def tokens_a_document(self) -> float | None:
        return self.tokens / self.kept if self.kept else None

    @property
    def num_dropped(self) -> int:
        return sum(self.dropped.values())

    @property
    def dropped_share(self) -> float:
        return self.num_dropped / self.read if self.read else 0.0

    @property
    def most_dropped(self) -> str:
        """Why most of its drops were dropped."""
        return max(self.dropped, key=lambda reason: self.dropped[reason], default="")


@dataclass(frozen=True)
class SourceFacts:
    tally: Tally
    licence: str
    attribution: str
    tiers: tuple[str, ...]


@dataclass(frozen=True)
class LanguageFacts:
    share: LanguageShare
    name: str
    entry: str  # the phase in which mmBERT first saw it
    scripts: tuple[str, ...]
    tally: Tally


@dataclass(frozen=True)
class Facts:
    manifest: Manifest
    total: Tally
    sources: tuple[SourceFacts, ...]
    scripts: tuple[Tally, ...]  # the most tokens first
    languages: tuple[LanguageFacts, ...]  # the most delivered tokens first
    missing: int  # strata of the manifest whose stratum.json is gone

    @property
    def title(self) -> str:
        return f"{self.manifest.recipe}: {self.manifest.phase}"

    @cached_property
    def delivered(self) -> int:
        return sum(language.share.tokens for language in self.languages)

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """Why documents were dropped, the most frequent reason first."""
        return sorted(self.total.dropped.items(), key=lambda item: (-item[1], item[0]))

    @property
    def absent(self) -> dict[str, list[str]]:
        """The codes of absent languages by reason."""
        found: dict[str, list[str]] = {}
        for absence in self.manifest.absent:
            found.setdefault(absence.reason, []).append(absence.language)
        return found

    @property
    def num_excluded(self) -> int:
        return sum(ref.documents for ref in self.manifest.exclusions)

    @property
    def most_epochs(self) -> float:
        """That the recipe lets a language have over the phase."""
        return self.manifest.max_epochs * self.manifest.budget_tokens / self.manifest.pool_tokens

    @property
    def summary(self) -> str:
        """Three sentences that say what it is."""
        m, first, last = self.manifest, self.languages[0], self.languages[-1]
        kept = 100 * self.total.kept / self.total.read if self.total.read else 0
        languages = f"{len(self.languages):,} languages" if len(self.languages) > 1 else first.name
        text = (
            f"{amount(m.budget_tokens)} tokens in {languages} from "
            f"{_listed([s.tally.name for s in self.sources])}. "
        )
        if len(self.languages) > 1:
            text += (
                f"The largest share has {first.name} ({100 * first.share.weight:.0f} %), the "
                f"smallest {last.name} with {amount(last.share.tokens)} tokens: sizes count as "
                f"their power of {m.taus}. "
            )
        return text + (
            f"Of {self.total.read:,} documents that were read, {self.total.kept:,} were kept "
            f"({kept:.1f} %)."
        )


def facts_of(manifest: Manifest, strata: Mapping[str, Stratum]) -> Facts:
    """`strata` by id; those that the manifest reads are counted, and what lacks is told."""
    read = [strata[share.id] for share in manifest.strata if share.id in strata]
    total = Tally("all")
    sources: dict[str, list[Stratum]] = {}
    scripts: dict[str, Tally] = {}
    languages: dict[str, Tally] = {}
    written: dict[str, set[str]] = {}
    for stratum in read:
        code, script = stratum.name.language.split("_")
        total.add(stratum)
        sources.setdefault(stratum.name.source, []).append(stratum)
        scripts.setdefault(script, Tally(script)).add(stratum)
        languages.setdefault(code, Tally(code)).add(stratum)
        written.setdefault(code, set()).add(script)
    shares = sorted(manifest.languages, key=lambda share: (-share.tokens, share.language))
    return Facts(
        manifest=manifest,
        total=total,
        sources=tuple(_source(name, sources[name]) for name in sorted(sources)),
        scripts=tuple(sorted(scripts.values(), key=lambda t: (-t.tokens, t.name))),
        languages=tuple(
            LanguageFacts(
                share=share,
                name=language_name(share.language),
                entry=entry_phase(share.language),
                scripts=tuple(sorted(written.get(share.language, ()))),
                tally=languages.get(share.language, Tally(share.language)),
            )
            for share in shares
        ),
        missing=len(manifest.strata) - len(read),
    )


def _source(name: str, strata: Iterable[Stratum]) -> SourceFacts:
    tally = Tally(name)
    said: dict[str, set[str]] = {"licence": set(), "attribution": set()}
    tiers = set()
    for stratum in strata:
        tally.add(stratum)
        tiers.add(stratum.name.tier)
        for key, values in said.items():
            values.add(str(stratum.made_from.get(key) or UNKNOWN))
    return SourceFacts(
        tally,
        licence="; ".join(sorted(said["licence"])),
        attribution="; ".join(sorted(said["attribution"])),
        tiers=tuple(sorted(tiers)),
    )


def _listed(names: list[str], most: int = 5) -> str:
    """`a, b and c`; the rest are counted."""
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else "nothing"
