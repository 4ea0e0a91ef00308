"""What the page of a flow run shows of a training, while it trains: how far, and its curves.

Two artifacts, changed in place: a bar (`progress-RECIPE-training`), and `training-RECIPE` with the
held-out and loss curves, the scores by language and links to all that the run has made so far.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from flows import markdown, svg
from flows.artifacts import key
from flows.curves import AXIS, heldout_plot, loss_plot
from flows.live import Drawing, Drawn, bar, live
from flows.scores import Event, score_table
from flows.story import Story
from schemas import run as runs
from schemas.figures import amount, bits
from schemas.progress import Progress, silent
from schemas.run import Run
from schemas.store import Store, exists, join

CURVES_EVERY_S = 10.0
MOST_LANGUAGES = 24


class Shown:
    """What is shown, for the thread that draws it."""

    def __init__(self, run: Run, run_url: str, progress: Progress) -> None:
        self.progress = progress
        self._run, self._url = run, run_url
        self._lock = threading.Lock()
        self._story = Story()

    def take(self, event: Event) -> None:
        """A line of the log."""
        with self._lock:
            self._story.take(event)

    def draw(self) -> Drawn | None:
        """The page as Markdown; None before the log says anything."""
        with self._lock:
            if not self._story.loss and not self._story.scores:
                return None
            plots = [heldout_plot(self._run, self._story), loss_plot(self._run, self._story)]
            table = score_table(self._story.latest, MOST_LANGUAGES)
            is_over = self._run.models[-1] in self._story.scores
            told = _told(self._story)
        store = runs.store_of(self._url)
        parts = [markdown.links(store, self._links(store))]
        if not is_over:
            parts.append("*Drawn anew every ten seconds: load this page again to see it go on.*")
        parts += [markdown.image(svg.image(plot), "curves") for plot in plots if plot is not None]
        parts.append(AXIS)
        if table is not None:
            parts.append("Bits per byte of held-out text; smaller is better.")
            rows = [(name, *map(bits, values)) for name, values in table.rows]
            parts.append(markdown.table(("language", *table.columns), rows))
        return Drawn("\n\n".join(parts), told)

    def _links(self, store: Store) -> Iterator[str]:
        folder = self._url.rsplit("/", 1)[0]
        yield markdown.to(store, self._url, "the run")
        for name, place in (("report", "report/index.html"), ("log", "log.jsonl")):
            if exists(join(folder, place)):
                yield markdown.to(store, join(folder, place), name)
        for model in self._run.models:
            card = join(folder, "models", model, "README.md")
            if exists(card):
                yield markdown.to(store, card, f"card of {model}")
        for phase in self._run.phases:
            yield markdown.to(store, store.resolve(phase.current), f"mixture of {phase.name}")


def _told(story: Story) -> str:
    step = story.step
    found = []
    if step is not None:
        found.append(
            f"{markdown.text(step.phase)}, step {step.step:,}: loss {step.loss:.3f}, "
            f"{amount(step.tokens_per_s)} tokens a second"
        )
    if story.macro is not None:
        found.append(f"{bits(story.macro)} bits per byte of held-out text, the mean of languages")
    return "; ".join(found)


def show_trained(run: Run, run_url: str, log: Sequence[Event]) -> None:
    """The same for a training that ended before."""
    with show_training(run, run_url) as shown:
        for event in log:
            shown.take(event)


@contextmanager
def show_training(run: Run, run_url: str, also: Progress = silent) -> Iterator[Shown]:
    """Inside the block, what is handed to `Shown` is on the page of the flow run within seconds.

    `also` is told of the progress, too.
    """
    with bar(run.recipe, "training", also) as progress:
        shown = Shown(run, run_url, progress)
        with live(Drawing(key("training", run.recipe), "markdown", CURVES_EVERY_S, shown.draw)):
            yield shown
