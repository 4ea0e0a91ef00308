"""I12: whatever goes wrong, every rank ends within a minute, non-zero, and a sentence says why."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests import ranks
from tests.runs import make_run, phase_settings
from trainer import checkpoint
from trainer.journal import Lines


def wait_for_steps(run_json: str, num: int) -> None:
    log = Lines(Path(run_json).with_name("log.jsonl"), write=False)
    while not any(line.get("step", 0) >= num for line in log.read()):
        time.sleep(0.002)


def test_a_dead_rank_ends_the_others(tmp_path):
    run_json = make_run(tmp_path, {"pretrain": phase_settings()}, epochs=50)
    running = ranks.start(run_json, world=2)
    wait_for_steps(run_json, 3)
    os.kill(running.processes[1].pid, signal.SIGKILL)
    assert running.wait(60) == [1, -signal.SIGKILL]
    assert "another rank has died or stopped answering" in running.sentences()[0]


@pytest.mark.parametrize("world", [1, 2])
def test_a_loss_that_is_not_finite_stops_the_run_and_never_reaches_a_checkpoint(tmp_path, world):
    run_json = make_run(tmp_path, {"pretrain": phase_settings(learning_rate=1e25)})
    running = ranks.start(run_json, "--checkpoint-every-s", "0", world=world)
    assert running.wait(60) == [1] * world
    sentence = running.sentences()[0]
    log = Lines(Path(run_json).with_name("log.jsonl"), write=False).read()
    failed = max(line["step"] for line in log) + 1
    assert sentence.startswith(f"mmbert: phase pretrain, step {failed}: the loss is")
    assert "packs" in sentence
    saved = checkpoint.newest(Path(run_json).with_name("checkpoints"), "pretrain")
    assert saved is None or saved.step < failed


def test_a_missing_shard_is_named(tmp_path):
    run_json = make_run(tmp_path, {"pretrain": phase_settings()})
    for shard in tmp_path.glob("strata/dclm/*/all/*/*.arrow"):
        shard.unlink()
    running = ranks.start(run_json)
    assert running.wait() == [2]
    assert ".arrow" in running.sentences()[-1]


def test_a_full_disk_is_named_and_the_checkpoint_before_stays(tmp_path):
    run_json = make_run(tmp_path, {"pretrain": phase_settings()})
    running = ranks.start(run_json, "--checkpoint-every-s", "0", file_bytes=1_000_000)
    assert running.wait() == [2]
    (sentence,) = running.sentences()
    assert "cannot write the checkpoint" in sentence
    assert "free space" in sentence
    assert checkpoint.newest(Path(run_json).with_name("checkpoints"), "pretrain") is None


def test_another_tokenizer_is_refused_naming_both_digests(tmp_path):
    run_json = make_run(tmp_path, {"pretrain": phase_settings()})
    (tokenizer,) = tmp_path.glob("tokenizers/*/tokenizer.json")
    tokenizer.write_text(tokenizer.read_text().replace("w7", "v7"))
    running = ranks.start(run_json)
    assert running.wait() == [2]
    assert "tokenizer" in running.sentences()[-1]


def test_two_trainers_in_one_folder_are_refused(tmp_path):
    run_json = make_run(tmp_path, {"pretrain": phase_settings()}, epochs=50)
    first = ranks.start(run_json)
    wait_for_steps(run_json, 1)
    second = ranks.start(run_json)
    assert second.wait() == [2]
    assert "another trainer is at work" in second.sentences()[-1]
    first.processes[0].terminate()
    assert first.wait() == [0]


def test_ranks_that_plan_different_windows_stop_before_a_step(tmp_path):
    run_json = make_run(tmp_path / "store", {"pretrain": phase_settings()})
    shutil.copytree(tmp_path / "store", tmp_path / "other")
    (manifest,) = (tmp_path / "other").glob("manifests/*/*/*/manifest.json")
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"seed": content["seed"] + 1}))
    running = ranks.start(run_json, world=2, last_rank=("--store", str(tmp_path / "other")))
    assert running.wait(60) == [1, 1]
    assert "the plan of window 0 of phase pretrain differs" in running.sentences()[0]
    log = Lines(Path(run_json).with_name("log.jsonl"), write=False).read()
    assert not [line for line in log if line["kind"] == "step"]
