"""What an artifact says is what was made, and texts of a store are texts in it."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ElementTree

import pytest

from flows import artifacts, markdown, svg
from flows.mixture_plot import mixture_plot
from flows.viewer.links import VIEWER_URL
from schemas.store import Store


@pytest.mark.parametrize("count", [1, 5, 33, 1833])
def test_a_mixture_of_any_size_is_a_small_picture(count: int) -> None:
    after = {f"l{i}": (i + 1) / 10_000 for i in range(count)}
    before = {f"l{i}": (count - i) / 10_000 for i in range(0, count, 2)}
    address = svg.image(mixture_plot(after, before))
    kind, data = address.split(",", 1)
    assert kind == "data:image/svg+xml;base64"
    ElementTree.fromstring(base64.b64decode(data))  # well-formed: a browser shows it
    assert len(address) < 120_000


def test_keys_are_such_that_prefect_takes_them() -> None:
    assert artifacts.key("mixture", "base-v2.1", "Decay_Eng") == "mixture-base-v2-1-decay-eng"


def test_texts_are_no_markdown() -> None:
    hostile = "[x](javascript:alert(1)) <img src=x> a|b `c` *d*\n# e"
    told = markdown.table((hostile, "n"), [(hostile, "1")])
    assert "<img" not in told
    assert "](" not in told.replace("\\](", "")
    assert len(told.splitlines()) == 3
    assert all(line.replace("\\|", "").count("|") == 3 for line in told.splitlines())


def test_links_lead_to_the_viewer_or_name_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store("/data/store")
    monkeypatch.delenv(VIEWER_URL, raising=False)
    assert markdown.to(store, "/data/store/runs/r/run.json", "run") == (
        "run: `/data/store/runs/r/run.json`"
    )
    monkeypatch.setenv(VIEWER_URL, "http://127.0.0.1:4300")
    assert markdown.to(store, "/data/store/runs/r/run.json", "run") == (
        "[run](http://127.0.0.1:4300/runs/r)"
    )
