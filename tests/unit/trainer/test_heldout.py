"""The held-out score counts bytes rightly and never hides a language in an average."""

import json
import math

import pytest

from schemas.seal import SpecialIds, seal
from schemas.token_bytes import token_bytes
from trainer.heldout import Least, Sums, score

ENOUGH = {"targets": 2000.0, "documents": 5.0}
LEAST = Least(documents=5, targets=2000)


def test_every_token_stands_for_its_utf8_bytes():
    vocabulary = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁a", "ñ", "<0xE2>", "▁▁", "字x"]
    content = {
        "model": {"type": "BPE", "vocab": {piece: i for i, piece in enumerate(vocabulary)}},
        "added_tokens": [
            {"id": 10, "content": "\n\n", "special": False},
            {"id": 11, "content": "<sep>", "special": True},
        ],
    }
    data = json.dumps(content).encode()
    sizes = token_bytes(data, seal(data, SpecialIds(), "test"))
    assert sizes.tolist() == [0, 0, 0, 0, 0, 2, 2, 1, 2, 4, 2, 0]


def test_bits_per_byte_is_nats_over_bytes_in_base_two():
    sums = Sums(nats=math.log(2) * 300, num_bytes=100.0, **ENOUGH)
    assert sums.bits_per_byte(LEAST) == pytest.approx(3.0)


@pytest.mark.parametrize("few", [{"targets": 1999.0}, {"documents": 4.0}])
def test_a_language_with_too_little_text_has_no_figure_but_keeps_its_sums(few):
    table = score({"fao_Latn": Sums(nats=9.0, num_bytes=9.0, **(ENOUGH | few))}, LEAST)
    line = table.line()["languages"]["fao"]
    assert line["bits_per_byte"] is None
    assert line["nats"] == 9.0
    assert table.macro is None


def test_scripts_of_a_language_are_summed_before_it_is_judged():
    half = Sums(nats=math.log(2), num_bytes=1.0, targets=1000.0, documents=3.0)
    table = score({"srp_Cyrl": half, "srp_Latn": half}, LEAST)
    assert table.languages["srp"].bits_per_byte(LEAST) == pytest.approx(1.0)
    assert not table.scripts


def test_small_languages_are_pooled_by_script_and_by_phase_of_entry():
    small = Sums(nats=math.log(2) * 2, num_bytes=1.0, targets=1000.0, documents=3.0)
    big = Sums(nats=math.log(2) * 4, num_bytes=1.0, **ENOUGH)
    table = score({"fao_Latn": small, "uig_Arab": small, "isl_Latn": small, "deu_Latn": big}, LEAST)
    assert {name: s.documents for name, s in table.scripts.items()} == {"Latn": 6, "Arab": 3}
    assert {name: s.documents for name, s in table.phases.items()} == {"decay-all": 6, "extend": 3}
    assert table.scripts["Latn"].bits_per_byte(LEAST) == pytest.approx(2.0)
    assert table.macro == pytest.approx(4.0)
