"""A probe learns to tell texts apart, and scores a text alike whenever it is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.probe import LEAST_TEXTS, Probe, main, train
from pipelines.tokenizer import from_sentencepiece
from schemas.errors import UserError
from schemas.seal import SpecialIds
from schemas.text import Filters, Source
from tests import corpora, pieces
from tests.building import build_store

pytest.importorskip("sklearn")

GOOD = corpora.sentences("good", 40)
BAD = [text.upper().replace(" ", " !! ") for text in corpora.sentences("bad", 40)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny ModernBERT of random weights, as a transformers folder."""
    import torch
    from transformers import ModernBertConfig, ModernBertModel, PreTrainedTokenizerFast

    folder = str(tmp_path_factory.mktemp("encoder"))
    torch.manual_seed(0)
    config = ModernBertConfig(
        vocab_size=600,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
        cls_token_id=2,
        sep_token_id=1,
    )
    ModernBertModel(config).save_pretrained(folder)
    tokenizer = from_sentencepiece(pieces.train([*GOOD, *BAD]), SpecialIds())
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def probe(encoder: str) -> Probe:
    return train(encoder, GOOD, BAD)


def test_it_tells_good_from_bad(probe: Probe) -> None:
    assert probe.file.accuracy > 0.9
    assert min(probe.scores(GOOD[:5])) > 0.5 > max(probe.scores(BAD[:5]))
    assert all(0 < score < 1 for score in probe.scores(["", "x", GOOD[0] * 50]))


def test_a_text_has_one_score(probe: Probe, tmp_path: Path) -> None:
    probe.save(str(tmp_path))
    loaded = Probe.load(str(tmp_path))
    assert loaded.digest == probe.digest
    together = probe.scores([GOOD[0], BAD[0], GOOD[1]])
    assert loaded.scores([GOOD[1]]) == together[2:]
    assert loaded.scores([BAD[0], GOOD[0]]) == [together[1], together[0]]


def test_training_twice_gives_the_same_probe(encoder: str, probe: Probe) -> None:
    assert train(encoder, GOOD, BAD).digest == probe.digest


def test_it_makes_the_tiers_of_a_source_without_scores(probe: Probe, tmp_path: Path) -> None:
    probe.save(str(tmp_path / "probe"))
    root = corpora.write_corpus(tmp_path / "raw", {"fao_Latn": 30})
    corpora.write_fineweb2(root / "fineweb2", "isl_Latn", [*GOOD, *BAD])
    corpora.write_fineweb2(root / "fineweb2", "isl_Latn", GOOD[:3], split="test")
    recipe = corpora.recipe(root)
    source = recipe.sources["fineweb2"].model_dump() | {
        "probe": str(tmp_path / "probe"),
        "tiers": {"better": 0.5, "worse": 0.0},
    }
    sources = recipe.sources | {"fineweb2": Source.model_validate(source)}
    filters = Filters(use=("length",))
    graded = recipe.model_copy(update={"sources": sources, "filters": filters})
    built = build_store(graded, tmp_path / "store")
    # Three of the good ones are held out, in the test split too.
    assert built.stratum("fineweb2/isl_Latn/better").ledger.kept == len(GOOD) - 3
    assert built.stratum("fineweb2/isl_Latn/worse").ledger.kept == len(BAD)


def test_another_probe_in_the_same_folder_builds_new_strata(
    encoder: str, probe: Probe, tmp_path: Path
) -> None:
    probe.save(str(tmp_path / "probe"))
    root = corpora.write_corpus(tmp_path / "raw", {})
    corpora.write_fineweb2(root / "fineweb2", "isl_Latn", GOOD)
    recipe = corpora.recipe(root)
    source = recipe.sources["fineweb2"].model_copy(
        update={"probe": str(tmp_path / "probe"), "tiers": {"better": 0.5, "worse": 0.0}}
    )
    graded = recipe.model_copy(update={"sources": recipe.sources | {"fineweb2": source}})
    first = build_store(graded, tmp_path / "store").stratum("fineweb2/isl_Latn/better")
    train(encoder, BAD, GOOD).save(str(tmp_path / "probe"))
    second = build_store(graded, tmp_path / "store").stratum("fineweb2/isl_Latn/better")
    assert first.id != second.id
    assert first.ledger.kept > second.ledger.kept


def test_another_encoder_is_refused(probe: Probe, tmp_path: Path) -> None:
    probe.save(str(tmp_path))
    content = json.loads((tmp_path / "probe.json").read_text())
    content["encoder_digest"] = "0" * 64
    (tmp_path / "probe.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="0000000000000000, which now has"):
        Probe.load(str(tmp_path)).scores(["text"])


def test_what_cannot_be_learned_from_is_refused(encoder: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--bad: 3 texts are too few"):
        train(encoder, GOOD, BAD[:3])
    with pytest.raises(UserError, match="no encoder that transformers can load"):
        train(str(tmp_path), GOOD[:LEAST_TEXTS], BAD[:LEAST_TEXTS])
    with pytest.raises(UserError, match=r"holds no probe.json"):
        Probe.load(str(tmp_path))


def test_the_commands_train_and_score(
    encoder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, texts in (("good", GOOD), ("bad", BAD)):
        (tmp_path / f"{name}.txt").write_text("\n".join(texts[:20]), encoding="utf-8")
    good, bad, out = (str(tmp_path / name) for name in ("good.txt", "bad.txt", "probe"))
    main(["train", encoder, "--good", good, "--bad", bad, "--out", out])
    capsys.readouterr()
    main(["score", out, good])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 20
    assert float(lines[0].split("\t")[0]) == round(Probe.load(out).scores(GOOD[:1])[0], 6)
    with pytest.raises(SystemExit) as ended:
        main(["score", str(tmp_path / "nowhere"), good])
    assert ended.value.code == 2
