"""Two mixtures beside each other: what each language gets before and after, and what was set.

In: two manifests, of whatever recipes and phases. Out: a `Difference`, the largest change first.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from schemas.digest import Json
from schemas.manifest import LanguageShare, Manifest

SETTINGS = (
    "recipe",
    "phase",
    "seed",
    "tokenizer",
    "order_version",
    "context",
    "mask_rate",
    "tau",
    "tau_end",
    "max_epochs",
    "min_tokens",
    "weight_by",
    "pool_tokens",
    "budget_tokens",
    "packing",
    "windows",
)


@dataclass(frozen=True)
class Portion:
    """What one language gets of a phase; `share` is its part of the pool."""

    tokens: int
    share: float
    rows: int
    epochs: float


@dataclass(frozen=True)
class LanguageChange:
    """A language of either mixture; None where it is not in it."""

    language: str
    before: Portion | None
    after: Portion | None

    @property
    def change(self) -> float:
        """Of its part of the pool."""
        return (self.after.share if self.after else 0.0) - (
            self.before.share if self.before else 0.0
        )


@dataclass(frozen=True)
class SettingChange:
    name: str
    before: Json
    after: Json


@dataclass(frozen=True)
class Difference:
    settings: tuple[SettingChange, ...]  # those that differ
    languages: tuple[LanguageChange, ...]  # every one, the largest change of its share first

    @property
    def came(self) -> list[str]:
        return sorted(found.language for found in self.languages if found.before is None)

    @property
    def went(self) -> list[str]:
        return sorted(found.language for found in self.languages if found.after is None)

    @property
    def moves(self) -> tuple[tuple[str, list[str]], ...]:
        return ("came", self.came), ("went", self.went)

    @property
    def changed(self) -> list[LanguageChange]:
        return [found for found in self.languages if found.before != found.after]

    def public(self) -> dict[str, Json]:
        """The object that --json prints."""
        return {
            "settings": [asdict(found) for found in self.settings],
            "languages": [
                {
                    "language": found.language,
                    "before": asdict(found.before) if found.before else None,
                    "after": asdict(found.after) if found.after else None,
                }
                for found in self.languages
            ],
            "came": self.came,
            "went": self.went,
        }


def compare(before: Manifest, after: Manifest) -> Difference:
    """The difference between two manifests."""
    old, new = _portions(before), _portions(after)
    changes = [LanguageChange(code, old.get(code), new.get(code)) for code in old | new]
    told_before, told_after = _settings(before), _settings(after)
    return Difference(
        tuple(
            SettingChange(name, told_before.get(name, 0.0), told_after.get(name, 0.0))
            for name in told_before | told_after  # a source may be in one of them alone
            if told_before.get(name, 0.0) != told_after.get(name, 0.0)
        ),
        tuple(sorted(changes, key=lambda found: (-abs(found.change), found.language))),
    )


def _portions(manifest: Manifest) -> dict[str, Portion]:
    return {share.language: _portion(share) for share in manifest.languages}


def _portion(share: LanguageShare) -> Portion:
    return Portion(share.tokens, share.weight, share.rows, share.epochs)


def _percent(manifest: Manifest) -> dict[str, Json]:
    """What each source gets of the pool, as `NAME %`."""
    tokens: dict[str, int] = {}
    for stratum in manifest.strata:
        tokens[stratum.source] = tokens.get(stratum.source, 0) + stratum.target_tokens
    whole = sum(tokens.values()) or 1
    return {f"{source} %": round(100 * tokens[source] / whole, 1) for source in sorted(tokens)}


def _settings(manifest: Manifest) -> dict[str, Json]:
    told = manifest.model_dump(mode="json", include=set(SETTINGS))
    told = {name: told.get(name) for name in SETTINGS}
    told["tiers"] = sorted({stratum.tier for stratum in manifest.strata})
    told["excluded documents"] = sum(listed.documents for listed in manifest.exclusions)
    told["absent languages"] = len(manifest.absent)
    return told | _percent(manifest)
