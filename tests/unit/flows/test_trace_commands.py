"""`mmbert trace`: a step's documents, a document's steps, and mistakes that end with 2."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from flows.cli import main
from flows.trace_tables import verdict
from schemas.manifest import Packing
from schemas.store import Store
from tests.deliveries import Delivered, deliver, describe
from tests.runs import phase_settings
from tests.stores import Settings, make_manifest
from trainer.sightings import PhaseSightings, Sighting

LENGTHS = {
    "dclm/eng_Latn/all": [[40, 90, 33, 150, 64] * 12],
    "fineweb2/fao_Latn/all": [[25, 80, 130, 44], [61]],
}
PACKING = Packing(pack_tokens=1024, max_pieces=64, window_packs=4)
NAME = "fineweb2/fao_Latn/all:2"


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Delivered]]:
    """A run that stands at step 7 of its first phase of three; the others come after it."""
    root = tmp_path_factory.mktemp("trace")
    phases = {}
    for name, after in (("pretrain", None), ("left", "pretrain"), ("right", "pretrain")):
        settings = Settings(packing=PACKING, epochs=5, phase=name)
        settings_of_phase = phase_settings(batch_packs=2, after=after)
        phases[name] = (make_manifest(root, LENGTHS, settings), settings_of_phase)
    run_json = describe(Store.at(str(root)), phases)
    return run_json, deliver(run_json, world=2, until=7)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    capsys.readouterr()
    assert main(["trace", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_step_is_one_object_with_its_pieces(half, capsys) -> None:
    run_json, delivered = half
    found = told(capsys, str(run_json.parent), "--step", "3")
    assert (found["run"], found["phase"], found["step"]) == (run_json.parent.name, "pretrain", 3)
    assert (found["done"], found["world"], found["rank"]) == (True, 2, None)
    mine = [d for d in delivered if (d.phase, d.step) == ("pretrain", 3)]
    assert found["num_packs"] == len({(d.window, d.pack) for d in mine})
    wanted = {(d.rank, d.window, d.pack, d.place, d.shard, d.document, d.start) for d in mine}
    fields = ("rank", "window", "pack", "place", "shard", "document", "start")
    assert {tuple(piece[field] for field in fields) for piece in found["pieces"]} == wanted
    sources = {(p["source"], p["language"], p["tier"]) for p in found["pieces"]}
    assert sources == {("dclm", "eng_Latn", "all"), ("fineweb2", "fao_Latn", "all")}
    for piece in found["pieces"]:
        stratum = f"{piece['source']}/{piece['language']}/{piece['tier']}"
        assert piece["doc_id"].startswith(f"{stratum}:")
    rank = told(capsys, str(run_json), "--step", "3", "--rank", "1")
    assert {piece["rank"] for piece in rank["pieces"]} == {1}


def test_a_step_of_many_pieces_is_told_by_language(half, capsys) -> None:
    run_json, _ = half
    assert main(["trace", str(run_json.parent), "--step", "3"]) == 0
    out = capsys.readouterr().out
    assert "step 3 of pretrain, done: 2 packs, " in out
    assert "Faroese fao_Latn" in out
    assert "--all lists the " in out
    assert "/all:" not in out  # no document is named
    for fewer in (["--all"], ["--rank", "1", "--world", "2"]):
        assert main(["trace", str(run_json.parent), "--step", "3", *fewer]) == 0
        assert "dclm/eng_Latn/all:" in capsys.readouterr().out


def test_a_step_to_come_says_what_it_costs_first(half, capsys) -> None:
    run_json, _ = half
    assert main(["trace", str(run_json.parent), "--step", "9"]) == 0
    out = capsys.readouterr().out
    assert out.index("to come: about ") < out.index("step 9 of pretrain, to come: ")
    assert told(capsys, str(run_json.parent), "--step", "16", "--phase", "left")["done"] is False


def test_a_takedown_is_answered_at_a_glance(half, capsys) -> None:
    run_json, delivered = half
    store = str(run_json.parents[2])
    found = told(capsys, "tests-", "--store", store, "--doc", NAME)  # the start of its name
    (document,) = found["documents"]
    assert found["num_shards"] == 3
    mine = [d for d in delivered if (d.shard, d.document) == (document["shard"], 2)]
    assert document["seen"] == sum(d.step <= 7 for d in mine) > 0
    assert document["seen"] + document["planned"] == len(mine)
    assert [phase["phase"] for phase in document["phases"]] == ["pretrain", "left", "right"]
    assert main(["trace", str(run_json.parent), "--doc", NAME]) == 0
    out = capsys.readouterr().out
    assert f"planned {document['planned']} times more (steps ~" in out
    assert "Faroese fao_Latn, fineweb2/all, 130 tokens" in out


def test_a_document_that_the_run_does_not_have_is_an_answer(half, capsys) -> None:
    run_json, _ = half
    assert told(capsys, str(run_json.parent), "--doc", "https://x.example/")["documents"] == []
    assert main(["trace", str(run_json.parent), "--doc", "https://x.example/"]) == 0
    assert "never seen and not planned" in capsys.readouterr().out


def test_an_erased_document_is_traced_as_before(half, capsys, tmp_path) -> None:
    run_json, _ = half
    store = str(tmp_path / "store")
    shutil.copytree(run_json.parents[2], store)
    before = told(capsys, run_json.parent.name, "--store", store, "--doc", NAME)
    assert main(["data", "erase", NAME, "--store", store]) == 0
    (line,) = (x for x in capsys.readouterr().out.splitlines() if "mmbert trace" in x)
    _, _, *command = shlex.split(line.partition("it: ")[2])
    assert told(capsys, *command) == before


def test_the_verdict_counts_and_dates() -> None:
    def at(step: int, fate: str, exact: bool = True, start: int = 0) -> Sighting:
        return Sighting(0, 0, start, 9, fate, 0, 0, step, exact)  # type: ignore[arg-type]

    seen = (at(120, "seen"), at(4_310, "seen"), at(9_100, "planned", exact=False))
    one = PhaseSightings("pretrain", "delivered", seen)
    assert verdict([one]) == "seen 2 times (steps 120, 4,310), planned once more (step ~9,100)"
    done = PhaseSightings("extend", "delivered", seen[:1])
    assert verdict([done]) == "seen once (step 120), not planned again"
    ahead = PhaseSightings("extend", "delivered", seen[2:])
    gone = PhaseSightings("decay", "delivered", (Sighting(0, 0, 0, 9),))
    assert verdict([ahead, gone]) == (
        "not seen so far, planned once (step ~9,100), left out once by an exclusion"
    )
    many = PhaseSightings("p", "delivered", tuple(at(i, "seen", start=i) for i in range(1, 9)))
    assert verdict([many]).startswith("in 8 pieces: seen 8 times (steps 1, 2, 3, 4, 5, 6 and 2")
    assert verdict([PhaseSightings("p", "absent")]) == "not seen so far, not planned"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["RUN"], "say what to trace: --step N, or --doc ID"),
        (["RUN", "--step", "1", "--doc", "x"], "say what to trace"),
        (["RUN", "--doc", "x", "--rank", "1"], "choose of a --step"),
        (["RUN", "--step", "1", "--rank", "2"], "--rank 2: of 2 ranks the last is 1"),
        (["RUN", "--step", "999"], "pretrain of run .* has no step 999: .* ends with "),
        (["RUN", "--step", "1", "--phase", "left"], "left of run .* has no step 1: it begins with"),
        (["RUN", "--step", "1", "--phase", "decay"], "no phase 'decay': pretrain, left, right"),
        (["nowhere", "--step", "1"], "has no run nowhere; give the folder of a run, .*tests-"),
    ],
)
def test_a_mistake_is_one_sentence_and_2(half, capsys, arguments, sentence) -> None:
    run_json, _ = half
    given = [str(run_json.parent) if part == "RUN" else part for part in arguments]
    store = [] if "RUN" in arguments else ["--store", str(run_json.parents[2])]
    assert main(["trace", *given, *store]) == 2
    assert re.search(sentence, capsys.readouterr().err)


def test_a_run_of_another_version_is_refused(tmp_path, capsys) -> None:
    (tmp_path / "run.json").write_text('{"format_version": 0}')
    assert main(["trace", str(tmp_path), "--step", "1"]) == 2
    assert "is no run description of this version; " in capsys.readouterr().err


def test_branches_that_have_a_step_of_one_number_are_told_apart(half, capsys, tmp_path) -> None:
    run_json, _ = half
    shutil.copytree(run_json.parents[2], tmp_path / "store")
    whole = tmp_path / "store" / run_json.relative_to(run_json.parents[2])
    last = {d.phase: d.step for d in sorted(deliver(whole), key=lambda d: d.step)}
    assert main(["trace", str(whole.parent), "--step", str(last["left"])]) == 2
    assert "left, right of run" in capsys.readouterr().err
    found = told(capsys, str(whole), "--step", str(last["left"]), "--phase", "right")
    assert (found["phase"], found["done"], found["world"]) == ("right", True, 1)
    assert told(capsys, str(whole), "--step", str(last["pretrain"]))["phase"] == "pretrain"
