"""What is exported loads with its tokenizer and configuration, and nothing half-written appears."""

import json

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoConfig, AutoTokenizer

from schemas.errors import UserError
from trainer.convert import from_transformers, to_transformers
from trainer.convert.merge import merge
from trainer.convert.rewrite import rewrite
from trainer.convert.shrink import init_small
from trainer.initialise import build
from trainer.model import ModelConfig, Theta

CONFIG = ModelConfig(64, 32, 4, 2, 48)
WORDS = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *map(str, range(59))]


@pytest.fixture
def tokenizer_folder(tmp_path):
    words = {word: i for i, word in enumerate(WORDS)}
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    Tokenizer(WordLevel(words, "<unk>")).save(str(folder / "tokenizer.json"))
    return folder


def test_configuration_says_what_the_released_one_says(tmp_path):
    to_transformers.export(build(CONFIG, 0), tmp_path / "m", 160_000.0, 10_000.0)
    config = AutoConfig.from_pretrained(tmp_path / "m")
    assert config.layer_types == ["full_attention", *["sliding_attention"] * 2, "full_attention"]
    assert config.rope_parameters["full_attention"]["rope_theta"] == 160_000.0
    assert config.rope_parameters["sliding_attention"]["rope_theta"] == 10_000.0
    assert (config.decoder_bias, config.classifier_pooling) == (True, "mean")
    assert (config.pad_token_id, config.bos_token_id, config.cls_token_id) == (0, 2, 1)
    assert config.tie_word_embeddings
    assert config.dtype == torch.float32


def test_the_tokenizer_goes_along(tmp_path, tokenizer_folder):
    to_transformers.export(build(CONFIG, 0), tmp_path / "m", 1e4, 1e4, tokenizer_folder)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m")
    assert tokenizer.mask_token_id == 4
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (2, 1, 0)
    assert set(tokenizer("7")) == {"input_ids", "attention_mask"}
    sealed = (tokenizer_folder / "tokenizer.json").read_bytes()
    assert (tmp_path / "m" / "tokenizer.json").read_bytes() == sealed


def test_a_bf16_export_holds_rounded_weights_and_passes_its_check(tmp_path):
    model = build(CONFIG, 0)
    to_transformers.export(model, tmp_path / "m", 1e4, 1e4, torch_dtype=torch.bfloat16)
    read, theta = from_transformers.load(tmp_path / "m")
    assert theta == Theta(1e4, 1e4)
    rounded = model.head.dense.weight.bfloat16().float()
    assert torch.equal(read.head.dense.weight, rounded)
    assert read.decoder.weight is read.model.embeddings.tok_embeddings.weight


def test_reading_back_gives_the_configuration_that_was_written(tmp_path):
    model = build(CONFIG, 0)
    to_transformers.export(model, tmp_path / "m", 1e4, 1e4)
    to_transformers.export(model, tmp_path / "m", 1e4, 1e4)  # replaces what stands there
    assert from_transformers.read_config(tmp_path / "m") == CONFIG
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_only_a_model_is_ever_replaced(tmp_path):
    (tmp_path / "empty").mkdir()
    to_transformers.export(build(CONFIG, 0), tmp_path / "empty", 1e4, 1e4)
    run = tmp_path / "run"
    for folder in (run / "models", run / "checkpoints"):
        folder.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.txt").write_text("mine")
    (run / "models" / "config.json").write_text("{}")
    (run / "models" / "pretrain").mkdir()  # a config.json is not enough
    kept = sorted(tmp_path.rglob("*"))
    for taken in (run, run / "models", tmp_path / "notes", run / "run.json", tmp_path):
        with pytest.raises(UserError, match="name another output"):
            to_transformers.export(build(CONFIG, 0), taken, 1e4, 1e4)
    assert sorted(tmp_path.rglob("*")) == kept


def test_a_model_that_is_read_is_not_replaced(tmp_path):
    to_transformers.export(build(CONFIG, 0), tmp_path / "m", 1e4, 1e4)
    to_transformers.export(build(CONFIG, 0), tmp_path / "n", 1e4, 1e4)
    (tmp_path / "link").symlink_to(tmp_path / "m")
    for output in (tmp_path / "m", tmp_path / "link"):
        with pytest.raises(UserError, match="would replace"):
            rewrite(tmp_path / "m", output)
        with pytest.raises(UserError, match="would replace"):
            rewrite(tmp_path / "m" / "model.pt", output, 1e4)
        with pytest.raises(UserError, match="would replace"):
            rewrite(tmp_path / "n", output, tokenizer=str(tmp_path / "m"))
        with pytest.raises(UserError, match="would replace"):
            merge([tmp_path / "m", tmp_path / "n"], output, "average")
        with pytest.raises(UserError, match="would replace"):
            init_small(tmp_path / "m", output, 16, 1)
    assert from_transformers.read_config(tmp_path / "m") == CONFIG


def test_wrong_logits_leave_no_directory(tmp_path, monkeypatch):
    honest = to_transformers.config_json

    def lying(*arguments):
        return {**honest(*arguments), "local_attention": 16}

    monkeypatch.setattr(to_transformers, "config_json", lying)
    monkeypatch.setattr(from_transformers, "read_config", lambda directory: CONFIG)
    with pytest.raises(RuntimeError, match="other logits"):
        to_transformers.export(build(CONFIG, 0), tmp_path / "m", 1e4, 1e4)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bert"}, "modernbert"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"intermediate_size": 40}, "weights"),
    ],
)
def test_another_architecture_is_refused(tmp_path, change, message):
    to_transformers.export(build(CONFIG, 0), tmp_path / "m", 1e4, 1e4)
    path = tmp_path / "m" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        from_transformers.load(tmp_path / "m")


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        to_transformers.export(build(CONFIG, 0), tmp_path / "m", 1e4, 1e4, tmp_path / "nothing")
