"""A model card says every language, how to use the model so that it works, and no place."""

import re
from dataclasses import replace

import pytest
import torch
import yaml
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from schemas import folder_digests
from schemas.recipe import Release
from schemas.run import SourceNote
from tests.reports import make_run
from trainer.convert.to_transformers import export
from trainer.initialise import build
from trainer.model import ModelConfig
from trainer.report import card, history
from trainer.theta import Theta

THETA = Theta(160_000.0, 160_000.0)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return history.read(make_run(tmp_path_factory.mktemp("store"), 12))


def front_matter(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def code_of(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_every_language_of_a_run_has_a_line_with_its_exposure(tmp_path):
    found = history.read(make_run(tmp_path, 1_833))
    text = card.of_run(found, "release", THETA)
    exposure = found.exposure("release")
    lines = dict(re.findall(r"^\| (\w{3}) \| [^|]* \| ([^|]*) \|", text, re.MULTILINE))
    assert len(exposure) > 1_800
    assert lines.keys() >= exposure.keys()
    assert all(lines.values())
    assert set(front_matter(text)["language"]) == set(exposure)
    assert "no source has it (1): xno" in text


def test_a_card_tells_what_its_own_model_has_seen_and_no_more(found):
    text = card.of_run(found, "decay-cont", THETA)
    assert "| decay-cont | extend |" in text
    assert "decay-all" not in text
    columns = next(line for line in text.splitlines() if line.startswith("| code |"))
    assert columns.endswith("| untrained | pretrain | extend | decay-cont |")
    untrained = card.of_run(found, "untrained", THETA)
    assert "random weights" in untrained
    assert "## Training" not in untrained
    assert "language" not in front_matter(untrained)


def test_a_card_has_what_a_hub_reads_and_says_unknown_where_nobody_knows(found):
    text = card.of_run(found, "release", THETA)
    head = front_matter(text)
    assert head["license"] == "unknown"
    assert (head["library_name"], head["pipeline_tag"]) == ("transformers", "fill-mask")
    assert "| fineweb2 | ODC-By 1.0 |" in text
    assert "| dclm | unknown |" in text
    assert "307,786,240" in text
    assert "Worse than extend, which its parts were merged over, in 1 of 11 languages" in text


def test_a_card_says_the_bases_that_its_config_says(found):
    assert "| rotary base (theta) | 160,000 |" in card.of_run(found, "release", THETA)
    text = card.of_run(found, "untrained", Theta(80_000.0, 10_000.0))
    assert "| rotary base (theta) | 80,000 (global), 10,000 (local) |" in text


@pytest.mark.parametrize(
    ("release", "told"),
    [
        (Release(method="average", phases=("decay-eng", "decay-cont")), "decay-cont went on from"),
        (Release(method="ema", phases=("decay-all",)), "decay-all went on from"),
        (None, "it goes on from"),
    ],
)
def test_a_language_that_rose_is_told_with_the_model_it_is_compared_with(found, release, told):
    other = replace(found, run=found.run.model_copy(update={"release": release}))
    text = card.of_run(other, "release" if release else "decay-all", THETA)
    assert f"Worse than extend, which {told}, in 1 of 11 languages" in text


def test_text_of_a_recipe_does_not_break_the_card(found):
    note = SourceNote(name="fineweb2", path="", licence="A | B\nor C")
    run = found.run.model_copy(update={"title": "One\n# Two", "sources": (note,)})
    lines = card.of_run(replace(found, run=run), "extend", THETA).splitlines()
    assert "# One # Two: extend" in lines
    assert "| fineweb2 | A \\| B or C |" in lines


def test_a_card_names_no_place_of_the_machine(found):
    for model in ("untrained", "pretrain", "release"):
        text = card.of_run(found, model, THETA)
        assert str(found.folder) not in text
        assert "/somewhere/private" not in text
        assert not re.search(r"(?<![\w.])/(tmp|home|root|work)\b", text)


def test_the_code_of_a_card_runs_and_padding_does_not_count(tmp_path, capsys):
    sentence = [
        "The",
        "capital",
        "of",
        "France",
        "is",
        "one",
        "text",
        "another",
        "longer",
        ".",
        ",",
    ]
    names = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *sentence]
    tokenizer = Tokenizer(WordLevel({name: i for i, name in enumerate(names)}, "<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    model = build(ModelConfig(len(names), 32, 4, 2, 48), 0)
    export(model, tmp_path / "model", 10_000.0, 10_000.0, tmp_path)
    fill_mask, pool = code_of((tmp_path / "model" / card.NAME).read_text())
    space: dict = {}
    exec(fill_mask.replace('folder = "."', f'folder = "{tmp_path / "model"}"'), space)
    exec(pool, space)
    assert capsys.readouterr().out.strip() in names
    alone = space["tokenizer"](["one text"], return_tensors="pt")
    with torch.no_grad():
        hidden = space["encoder"](**alone).last_hidden_state
    torch.testing.assert_close(hidden.mean(1)[0], space["vectors"][0])


def test_a_model_whose_run_nobody_knows_has_a_short_card():
    config = {
        "hidden_size": 384, "intermediate_size": 1152, "num_hidden_layers": 22,
        "num_attention_heads": 6, "vocab_size": 256_000, "max_position_embeddings": 8192,
        "global_rope_theta": 160_000.0, "local_rope_theta": 10_000.0,
    }  # fmt: skip
    text = card.short(config)
    assert "| parameters | 140,897,536 |" in text
    assert "| rotary base (theta) | 160,000 (global), 10,000 (local) |" in text
    assert front_matter(text)["license"] == "unknown"


def test_a_card_that_is_written_again_keeps_the_digests_of_its_folder_true(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    card.write(tmp_path, "first")
    folder_digests.record(tmp_path)
    card.write(tmp_path, "second")
    files = folder_digests.load(str(tmp_path))
    folder_digests.record(tmp_path)
    assert files == folder_digests.load(str(tmp_path))
