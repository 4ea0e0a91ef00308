"""I8: what a trace says of a document is every delivery of it, as a scan would find them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.store import Store
from tests.deliveries import Delivered, deliver, describe
from tests.stores import Settings, make_manifest
from tests.traced import (
    GROWING,
    PACKING,
    STRATA,
    in_order,
    run_of,
    scanned,
    timeline,
    told_of,
    watch_plans,
)
from trainer.sightings import find, trace_document


def test_a_trace_of_a_document_plans_the_windows_that_hold_it_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_json = run_of(tmp_path)
    delivered = deliver(run_json, until=5)
    told = timeline(run_json, estimate=True)
    planned = watch_plans(told, "extend", monkeypatch)
    (document,), _ = find(told, f"{STRATA[1]}:7")
    trace_document(told, document)
    mine = scanned(delivered, document.shard, document.document)
    assert planned == {piece.window for piece in mine if piece.phase == "extend"}


def places(delivered: list[Delivered]) -> list[tuple[int | str, ...]]:
    """Where pieces lie, whatever the step."""
    return sorted((d.phase, d.window, d.pack, d.place, d.start, d.length) for d in delivered)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    lengths=st.lists(
        st.lists(st.lists(st.integers(1, 400), min_size=2, max_size=12), min_size=1, max_size=3),
        min_size=1,
        max_size=3,
    ),
    epochs=st.sampled_from([0.4, 1.0, 2.3]),
    gone=st.tuples(st.integers(0, 2), st.integers(0, 5)),
    until=st.integers(0, 12),
    seed=st.integers(0, 2**32),
)
def test_a_document_is_told_where_a_scan_finds_it(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[list[list[int]]],
    epochs: float,
    gone: tuple[int, int],
    until: int,
    seed: int,
) -> None:
    root = tmp_path_factory.mktemp("random")
    shards = {STRATA[i]: stratum for i, stratum in enumerate(lengths)}
    rows = {STRATA[0]: 7} if epochs < 1 else {}
    excluded = {gone[1]: [(STRATA[0], 0, min(gone[0], len(lengths[0][0]) - 1))]}
    described = Settings(packing=PACKING, epochs=epochs, seed=seed, windows=7)
    url = make_manifest(root, shards, described, rows, excluded)
    run_json = describe(Store.at(str(root)), {"pretrain": (url, GROWING)})
    delivered = deliver(run_json, until=until)
    told = timeline(run_json, estimate=True)
    last = max(told.begun("pretrain"), default=-1)
    total = 0
    for stratum, parts in shards.items():
        for number in range(sum(map(len, parts))):
            (document,), _ = find(told, f"{stratum}:{number}")
            phases = trace_document(told, document)
            sightings = [s for phase in phases for s in phase.sightings]
            expected = scanned(delivered, document.shard, document.document)
            found = told_of(document, phases)
            total += len(found)
            assert places(found) == places(expected)
            begun = [in_order([d for d in side if d.window <= last]) for side in (found, expected)]
            assert begun[0] == begun[1]
            assert Counter(s.fate for s in sightings)["seen"] == sum(
                d.step <= until for d in expected
            )
            for s in sightings:
                assert (s.fate == "left out") == (s.step is None)
                assert s.exact == (s.step is None or s.window <= last)
    assert total == len(delivered)


def test_a_row_that_an_exclusion_has_left_out_by_then_is_told_as_left_out(tmp_path: Path) -> None:
    gone = [(STRATA[0], 0, 3), (STRATA[0], 0, 5)]
    run_json = run_of(tmp_path, epochs=3, from_0=[gone[1]], from_9=[gone[0]])
    delivered = deliver(run_json)
    told = timeline(run_json, estimate=True)
    (document,), _ = find(told, f"{STRATA[0]}:3")
    phases = trace_document(told, document)
    fates = Counter(s.fate for phase in phases for s in phase.sightings)
    assert fates["seen"] == len(scanned(delivered, document.shard, 3)) > 0
    assert fates["left out"] > 0
    (other,), _ = find(told, f"{STRATA[0]}:5")
    assert [phase.standing for phase in trace_document(told, other)] == ["excluded"] * 2
