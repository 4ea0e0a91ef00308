"""The page of a run: all of it in one file, for one language and for all of them."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from schemas.errors import UserError
from schemas.recipe import UNTRAINED
from tests.reports import make_run
from trainer.report import history, tables, words
from trainer.report.draw import write_report
from trainer.report.page import page

PNG = b"\x89PNG"


class Outline(HTMLParser):
    """What a page holds: rows of its tables, addresses, and what is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows, self.addresses, self.figures = 0, [], 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.rows += tag == "tr"
        self.figures += tag == "svg"
        self.addresses += [v for k, v in attrs if k in ("href", "src", "xlink:href") and v]


@pytest.mark.parametrize("num_languages", [1, 12, 1_833])
def test_a_page_holds_every_language_and_needs_no_network(tmp_path, num_languages):
    folder = make_run(tmp_path, num_languages)
    index = write_report(folder)
    text = index.read_text()
    found = Outline(text)
    scored = sum(i % 9 != 8 for i in range(num_languages))
    assert found.rows > 2 * scored
    assert found.figures == 5
    assert len(text) < 2_000_000
    outside = [a for a in found.addresses if not a.startswith(("#", "data:"))]
    assert all(re.fullmatch(r"\w+\.png|\.\./.*", address) for address in outside)
    assert "http" not in re.sub(r"http://www\.w3\.org/[\w/]+", "", text)
    assert "&lt;of figures&gt;" in text  # the title comes from a recipe
    pictures = sorted(folder.glob("report/*.png"))
    assert [p.stem for p in pictures] == ["exposure", "gains", "heldout", "loss", "training"]
    assert all(p.read_bytes().startswith(PNG) for p in pictures)


def test_links_of_a_page_lead_to_files_of_the_store(tmp_path):
    found = history.read(make_run(tmp_path, 3))
    text = page(found, tables.score_table(found), {})
    linked = [a for a in Outline(text).addresses if a.endswith((".json", "jsonl"))]
    (found.folder / "report").mkdir()
    there = [address for address in linked if (found.folder / "report" / address).is_file()]
    assert {Path(address).name for address in there} == {"run.json", "log.jsonl", "manifest.json"}
    assert len([address for address in there if "manifest" in address]) == 5


def test_a_run_that_has_only_begun_has_a_page(tmp_path):
    folder = make_run(tmp_path, 3)
    log = (folder / "log.jsonl").read_text().splitlines(keepends=True)
    for num_lines in (0, 3, 60):
        (folder / "log.jsonl").write_text("".join(log[:num_lines]) + '{"kind": "st')
        assert "still to come to an end" in write_report(folder).read_text()


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no run\.json"):
        write_report(tmp_path)


def test_languages_that_rose_are_named_with_the_model_they_are_compared_with(tmp_path):
    found = history.read(make_run(tmp_path, 12))
    table = tables.score_table(found)
    rises = {rise.model: (rise.name, rise.before, rise.after) for rise in table.rises}
    # The last language gets worse; a branch is compared with what it started from.
    assert rises["pretrain"] == ("Indonesian", 3.1, 3.2)
    assert rises["decay-cont"] == ("Indonesian", 3.3, 3.4)
    assert rises["release"] == ("Indonesian", 3.3, 3.5)
    changes = [row.change for row in table.languages]
    assert changes == sorted(changes)
    assert table.models[0] == UNTRAINED


def test_branches_lie_side_by_side_on_the_axis_of_tokens(tmp_path):
    found = history.read(make_run(tmp_path, 3))
    ends = {p.name: p.offset for p in found.phases}
    assert ends["decay-eng"] == ends["decay-all"] == 2_900_000_000
    assert found.branch("decay-all") == ["pretrain", "extend", "decay-all"]
    assert found.branch("release") == [phase.name for phase in found.phases]


def test_the_summary_says_what_came_of_it(tmp_path):
    found = history.read(make_run(tmp_path, 12))
    first, release, scores, gains = words.summary(found, tables.score_table(found))
    assert first.startswith("An encoder of 308 M parameters, trained on ")
    assert first.endswith(" tokens in 12 languages and 5 phases.")
    assert release == "The release is made of decay-eng, decay-cont, decay-all by TIES."
    assert "the mean of 11 languages, where 3.347 were needed before training" in scores
    assert gains.startswith("10 of 11 languages gained, English the most (−60.1 %)")


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.000123, "0.000123"), (6.812, "6.81"), (140.4, "140")]
)
def test_epochs_are_never_powers_of_ten(value, text):
    assert words.epochs(value) == text
