"""What a flow hands back: where the run lies, what became of the text, what training said."""

from __future__ import annotations

from collections.abc import Sequence

from flows.scores import Event, HeldoutScore
from schemas.digest import Json
from schemas.ledger import Frozen, Ledger


class Outcome(Frozen):
    run_url: str | None = None  # of all phases; a part of them makes no run
    manifests: dict[str, str]  # phase -> URL
    ledger: Ledger  # of all strata
    built: str = ""  # how much of it was made, in words
    log: tuple[Event, ...] = ()  # of training

    def trained(self, log: Sequence[Event]) -> Outcome:
        return self.model_copy(update={"log": tuple(log)})

    def public(self) -> dict[str, Json]:
        """The one object that --json prints."""
        shown: dict[str, Json] = {
            "run": self.run_url,
            "manifests": dict(self.manifests),
            "ledger": self.ledger.public(),
        }
        scores = [event for event in self.log if isinstance(event, HeldoutScore)]
        if scores:
            shown["heldout"] = [
                {
                    "phase": score.phase,
                    "step": score.step,
                    "macro": score.macro,
                    "languages": {k: v.bits_per_byte for k, v in score.languages.items()},
                }
                for score in scores
            ]
        return shown
