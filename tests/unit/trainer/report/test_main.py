"""`python -m trainer.report RUN_FOLDER` draws a run again, page and cards."""

import sys

import pytest

from schemas import folder_digests
from tests.reports import make_run
from trainer.report import card, draw
from trainer.report.__main__ import main


def test_a_run_is_drawn_again_with_the_cards_of_the_models_that_are_there(
    tmp_path, monkeypatch, capsys
):
    folder = make_run(tmp_path, 3)
    model = folder / "models" / "extend"
    model.mkdir(parents=True)
    (model / "config.json").write_text('{"global_rope_theta": 7000.0}')
    folder_digests.record(model)
    monkeypatch.setattr(draw, "FOLDER", "drawn")
    monkeypatch.setattr(sys, "argv", ["trainer.report", str(folder)])
    main()
    assert capsys.readouterr().out.strip() == str(folder / "drawn" / "index.html")
    text = (model / card.NAME).read_text()
    assert "the end of the phase extend" in text
    assert "| rotary base (theta) | 7,000 (global), 10,000 (local) |" in text
    digests = folder_digests.load(str(model))
    assert digests is not None
    assert digests.keys() == {"config.json", card.NAME}


def test_a_folder_that_is_no_run_is_bad_input(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["trainer.report", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "name the folder of a run" in capsys.readouterr().err
