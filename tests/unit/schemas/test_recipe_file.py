"""A recipe is read from anywhere, extends one level, and says which line to mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import UserError
from schemas.recipe import Recipe
from schemas.recipe_file import load_recipe

TINY = """\
name = "tiny"

[tokenizer]
path = "tok"

[sources.fineweb2]
path = "fw"
format = "fineweb2"

[packing]
pack_tokens = 4096
max_pieces = 256
window_packs = 32

[phases.pretrain]
context = 256
mask_rate = 0.3
rope_theta = 1e4
languages = "pretrain-60"
tau = 0.7
shares = { multilingual = 1 }
pool_tokens = 1000
budget_tokens = 1000
learning_rate = 1e-3
batch_packs = 1
"""


@pytest.fixture
def packaged(tmp_path: Path) -> Path:
    folder = tmp_path / "packaged"
    folder.mkdir()
    (folder / "tiny.toml").write_text(TINY)
    return folder


def refused(packaged: Path, reference: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_recipe(reference, overrides, packaged)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edited(packaged: Path, old: str, new: str) -> str:
    assert old in TINY
    path = packaged.parent / "edited.toml"
    path.write_text(TINY.replace(old, new))
    return str(path)


def test_a_packaged_name_a_path_and_a_url_give_the_same_recipe(packaged: Path) -> None:
    path = packaged / "tiny.toml"
    recipes = [load_recipe(r, (), packaged) for r in ("tiny", str(path), f"file://{path}")]
    assert recipes[0] == recipes[1] == recipes[2]
    assert isinstance(recipes[0], Recipe)


def test_set_values_are_toml_or_else_strings(packaged: Path) -> None:
    recipe = load_recipe(
        "tiny",
        (
            "phases.pretrain.tau=0.5",
            "sources.fineweb2.path=s3://bucket/fw",
            'phases.pretrain.languages=["fao", "isl"]',
        ),
        packaged,
    )
    assert recipe.phases["pretrain"].tau == 0.5
    assert recipe.sources["fineweb2"].path == "s3://bucket/fw"
    assert recipe.phases["pretrain"].languages == ("fao", "isl")


def test_extends_lays_keys_over_one_other_recipe(packaged: Path) -> None:
    (packaged.parent / "child.toml").write_text(
        'extends = "packaged/tiny.toml"\nname = "child"\n[phases.pretrain]\ntau = 0.1\n'
    )
    child = load_recipe(str(packaged.parent / "child.toml"), (), packaged)
    assert child.name == "child"
    assert child.phases["pretrain"].tau == 0.1
    assert child.phases["pretrain"].mask_rate == 0.3

    (packaged.parent / "grandchild.toml").write_text('extends = "child.toml"\n')
    message = refused(packaged, str(packaged.parent / "grandchild.toml"))
    assert "grandchild.toml line 1" in message
    assert "one level" in message


def test_an_unknown_key_is_refused_with_its_line_and_the_key_meant(packaged: Path) -> None:
    message = refused(packaged, edited(packaged, "tau = 0.7", "tua = 0.7"))
    assert "edited.toml line 20: phases.pretrain.tua is no key of a recipe" in message
    assert message.endswith("did you mean tau?")
    assert "line 6: source is no key" in refused(
        packaged, edited(packaged, "[sources.fineweb2]", "[source.fineweb2]")
    )
    assert refused(packaged, "tiny", "phases.pretrain.tua=1").startswith(
        "--set phases.pretrain.tua=1: phases.pretrain.tua is no key"
    )


def test_a_mistyped_phase_or_source_is_told_from_a_new_one(packaged: Path) -> None:
    told = refused(packaged, "tiny", "phases.pretrian.tau=0.5")
    assert told.startswith("--set phases.pretrian.tau=0.5: there is no phase 'pretrian'")
    assert "did you mean pretrain?" in told
    assert "the phases are pretrain; a new one needs context, mask_rate, " in told
    told = refused(packaged, "tiny", "sources.finweb2.path=fw")
    assert "there is no source 'finweb2' (did you mean fineweb2?)" in told
    child = packaged.parent / "child.toml"
    phase = TINY[TINY.index("[phases.pretrain]") :].replace("pretrain]", "more]")
    child.write_text(f'extends = "packaged/tiny.toml"\n{phase.replace("tau = 0.7", "")}')
    assert refused(packaged, str(child)).endswith("phases.more.tau is missing; add it")


def test_an_error_in_the_extended_file_names_that_file(packaged: Path) -> None:
    base = edited(packaged, "mask_rate = 0.3", "mask_rate = 3")
    child = packaged.parent / "child.toml"
    child.write_text('extends = "edited.toml"\n[phases.pretrain]\ntau = 0.2\n')
    assert refused(packaged, str(child)).startswith(f"{base} line 17: phases.pretrain.mask_rate")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("tau = 0.7", "tau = 1.7", "line 20: phases.pretrain.tau = 1.7: input should be less"),
        ("tau = 0.7", "tau = ", "line 20: this is not TOML (invalid value)"),
        ("tau = 0.7\n", "", "line 15: phases.pretrain.tau is missing"),
        ('format = "fineweb2"', 'format = "fw"', "line 8: sources.fineweb2.format = 'fw'"),
        ('languages = "pretrain-60"', "languages = 3", "line 19: phases.pretrain.languages = 3"),
        ("context = 256", "context = 257", "line 16: phases.pretrain.context: context must be"),
        ("multilingual = 1", "dclm = 1", "line 21: phases.pretrain.shares names the source 'dclm'"),
        (
            "batch_packs = 1",
            'batch_packs = 1\nschedule = "linear"\ndecay_tokens = 1001',
            "line 15: phases.pretrain: decay_tokens (1001) is more than",
        ),
        ("[phases.pretrain]", "[phases.'../x']", "line 15: phases.../x: a name is made of a-z"),
        ("[phases.pretrain]", "[phases.untrained]", "line 15: phases.untrained: a model of this"),
        ("[sources.fineweb2]", "[sources.Fine_Web]", "line 6: sources.Fine_Web: a name is made of"),
        (
            "window_packs = 32",
            "window_packs = 0",
            "line 13: packing.window_packs = 0: input should",
        ),
        ("[packing]", "[model]\nlocal_window = 7\n[packing]", "line 11: model.local_window = 7: "),
        ("[packing]", "[model]\nnum_heads = 0\n[packing]", "line 11: model.num_heads = 0: "),
    ],
)
def test_a_wrong_value_is_refused_with_its_line(
    packaged: Path, old: str, new: str, told: str
) -> None:
    assert told in refused(packaged, edited(packaged, old, new))


@pytest.mark.parametrize("reference", ["tinny", "nowhere/x.toml"])
def test_a_missing_recipe_lists_the_packaged_ones(packaged: Path, reference: str) -> None:
    assert "packaged name (tiny)" in refused(packaged, reference)


@pytest.mark.parametrize("text", ["phases.pretrain.tau", "=1", "a b=1"])
def test_a_set_without_key_or_value_shows_how(packaged: Path, text: str) -> None:
    assert "as in --set phases.pretrain.tau=0.5" in refused(packaged, "tiny", text)


def test_the_tokenizer_that_is_named_last_replaces_one_of_the_other_kind(packaged: Path) -> None:
    train = load_recipe("tiny", ["tokenizer.train.vocab_size=600"], packaged).tokenizer
    assert train.train is not None
    assert train.path is None
    both = ["tokenizer.train.vocab_size=600", "tokenizer.path=there"]
    assert load_recipe("tiny", both, packaged).tokenizer.path == "there"
    assert "either path or train" in refused(
        packaged, "tiny", 'tokenizer={path="x",train={vocab_size=600}}'
    )
