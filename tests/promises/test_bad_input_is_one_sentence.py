"""Bad input ends with exit code 2 and one sentence: what, where, and what mends it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli import main
from pipelines.sample import write_sample
from schemas import run as runs
from schemas import seal as seals
from tests import corpora

Refuse = Callable[..., str]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """English, Russian and Icelandic, 0.4 MB."""
    folder = tmp_path_factory.mktemp("corpus") / "sample"
    write_sample(folder, languages=3, megabytes=0.4)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def refuse(corpus: Path, store: Path, capfd: pytest.CaptureFixture[str]) -> Refuse:
    """Run a command on the corpus; the sentence that it is refused with."""

    def run(*command: str, **changes: str) -> str:
        settings = {f"sources.{name}.path": str(corpus / name) for name in SOURCES}
        settings |= {"tokenizer.train.vocab_size": "1000"} | changes
        sets = [f"--set={key}={value}" for key, value in settings.items()]
        assert main([*command, "--store", str(store), *sets]) == 2
        told = [line for line in capfd.readouterr().err.splitlines() if line.strip()]
        assert len(told) == 1, told
        assert told[0].startswith("mmbert: ")
        return told[0].removeprefix("mmbert: ")

    return run


SOURCES = ("fineweb2", "dclm", "dolmino")
DATA = ("data", "tiny", "--no-server")


@pytest.mark.parametrize("command", [DATA, ("plan", "tiny"), ("train", "tiny", "--no-server")])
def test_a_missing_source_path(refuse: Refuse, tmp_path: Path, command: tuple[str, ...]) -> None:
    missing = str(tmp_path / "nowhere")
    told = refuse(*command, **{"sources.dclm.path": missing})
    assert told.startswith(f"sources.dclm.path: {missing} does not exist")
    assert "--set sources.dclm.path=DIR" in told


def test_a_list_of_evaluation_files_that_names_none(refuse: Refuse, tmp_path: Path) -> None:
    told = refuse(*DATA, **{"exclusions.contamination": f'["{tmp_path}/none-*.jsonl"]'})
    assert told.startswith(f"exclusions.contamination: {tmp_path}/none-*.jsonl names no file")


def test_an_unknown_recipe_key(refuse: Refuse, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('extends = "tiny"\nname = "mine"\n\n[phases.pretrain]\ntua = 0.5\n')
    told = refuse("data", str(recipe), "--no-server")
    assert told.endswith(
        "mine.toml line 5: phases.pretrain.tua is no key of a recipe; did you mean tau?"
    )
    assert "did you mean tau?" in refuse(*DATA, **{"phases.pretrain.tua": "0.5"})


def test_a_named_language_that_no_source_has(refuse: Refuse) -> None:
    told = refuse(*DATA, **{"phases.pretrain.languages": '["rus", "fao"]'})
    assert told.startswith("phases.pretrain.languages: ")
    assert "'fao'" in told


def test_an_unknown_language_set(refuse: Refuse) -> None:
    told = refuse(*DATA, **{"phases.pretrain.languages": "pretrain-61"})
    assert "did you mean 'pretrain-60'?" in told


def test_an_empty_corpus(refuse: Refuse, tmp_path: Path) -> None:
    told = refuse(*DATA, **{"sources.fineweb2.path": str(tmp_path)})
    assert told.startswith(f"sources.fineweb2: {tmp_path} holds no text in the fineweb2 layout")


def test_a_phase_that_the_recipe_does_not_have(refuse: Refuse) -> None:
    assert "pretrain, extend, decay-eng" in refuse(*DATA, "--phase", "decay")


def test_a_profile_that_is_not_there(refuse: Refuse) -> None:
    assert refuse(*DATA, "--on", "moon").startswith("--on moon: no such profile")


def test_a_budget_that_cannot_be_met(refuse: Refuse) -> None:
    told = refuse(*DATA, **{"phases.pretrain.pool_tokens": "100_000_000"})
    assert told.startswith("phases.pretrain.pool_tokens asks for 100,000,000 tokens")
    assert "lower pool_tokens, raise max_epochs or add sources" in told


def test_a_tokenizer_that_the_text_does_not_fit(refuse: Refuse, tmp_path: Path) -> None:
    told = refuse(*DATA, **{"tokenizer.train.vocab_size": "900_000"})
    assert "lower tokenizer.train.vocab_size or give more text" in told
    characters = "".join(map(chr, range(0x4E00, 0x4E00 + 600)))
    corpora.write_fineweb2(
        tmp_path, "cmn_Hani", [f"{characters} {number}。" for number in range(9)]
    )
    changes = {"tokenizer.train.vocab_size": "512", "sources.fineweb2.path": str(tmp_path)}
    assert "raise tokenizer.train.vocab_size or give" in refuse(*DATA, **changes)


@pytest.mark.parametrize("command", ["run", "train"])
def test_training_in_a_store_that_is_on_no_disk(
    command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "tiny", "--no-server", "--store", "memory://store"]) == 2
    told = capfd.readouterr().err
    assert told.startswith("mmbert: --store memory://store: training needs a store on a local disk")
    assert told.count("\n") == 1


def test_a_start_model_that_cannot_be_started_from(refuse: Refuse, tmp_path: Path) -> None:
    told = refuse(*DATA, **{"start.model": "hf://someone/model"})
    assert told.startswith("start.model: hf://someone/model is not on a disk of this machine")
    told = refuse(*DATA, **{"start.model": str(tmp_path)})
    assert told.startswith(f"start.model: {tmp_path} is neither a folder with model.safetensors")


@pytest.fixture
def built(corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """The URL of a run.json whose shards exist."""
    settings = {f"sources.{name}.path": str(corpus / name) for name in SOURCES}
    settings |= {"tokenizer.train.vocab_size": "1000"}
    for phase in ("pretrain", "decay-all"):
        settings |= {f"phases.{phase}.{key}_tokens": "50000" for key in ("pool", "budget")}
    sets = [f"--set={key}={value}" for key, value in settings.items()]
    assert main([*DATA, "--json", "--store", str(tmp_path / "store"), *sets]) == 0
    return json.loads(capfd.readouterr().out)["run"]


def test_shards_of_another_tokenizer(built: str) -> None:
    """The run is pointed at a tokenizer that its shards were not made with."""
    run, store = runs.load(built), runs.store_of(built)
    own, tokenizer_json = seals.load(store.resolve(run.tokenizer))
    other = seals.seal(_other_vocabulary(tokenizer_json), own.special, "another")
    folder = seals.save(store.url, other, _other_vocabulary(tokenizer_json))
    url = runs.publish(store, run.model_copy(update={"tokenizer": store.relative(folder)}))
    done = subprocess.run(
        [sys.executable, "-m", "trainer", url], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2, done.stderr
    told = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(told) == 1, told
    assert own.digest[:16] in told[0]
    assert other.digest[:16] in told[0]


def _other_vocabulary(tokenizer_json: bytes) -> bytes:
    """The same tokenizer with two pieces exchanged."""
    content = json.loads(tokenizer_json)
    vocabulary = content["model"]["vocab"]
    first, second = sorted(vocabulary, key=vocabulary.__getitem__)[-2:]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    return json.dumps(content).encode()
