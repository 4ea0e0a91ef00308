"""I1: read = kept + dropped, the three counted apart; a ledger that does not close stops all."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.inventory import InputFile
from pipelines.read import READERS, read_fineweb2
from pipelines.record import FileRead
from schemas.ledger import Ledger, LedgerError, total
from schemas.stratum import stratum_folder
from tests import corpora
from tests.building import build_store


def test_the_ledger_of_a_build_over_noise_closes(tmp_path: Path) -> None:
    root = corpora.write_corpus(tmp_path / "raw", {"fao_Latn": 60, "rus_Cyrl": 20})
    texts = corpora.sentences("english", 60)
    lines = [corpora.dclm_line(t, str(i)) for i, t in enumerate(texts)]
    lines += [lines[3], corpora.dclm_line(texts[4], "other id"), b"{cut", b"\xff\xfe"]
    lines += [corpora.dclm_line("short", "s"), corpora.dclm_line("#" * 200, "spam")]
    corpora.write_dclm(root / "dclm", lines)
    built = build_store(corpora.recipe(root), tmp_path / "store")

    ledger = total(s.ledger for s in built.strata)
    assert ledger.read == ledger.kept + sum(ledger.dropped.values())
    dclm = built.stratum("dclm/eng_Latn/all").ledger
    assert dclm.read == 66
    assert dclm.dropped == {
        "bad_json": 1,
        "bad_utf8": 1,
        "exact_duplicate": 2,
        "held_out": 1,
        "no_letters": 1,
        "too_short": 1,
    }
    # Made-up Latin words under a Cyrillic label.
    assert built.stratum("fineweb2/rus_Cyrl/all").ledger.dropped == {"wrong_script": 18}
    stratum = built.stratum("dclm/eng_Latn/all")
    folder = Path(stratum_folder(built.store, stratum.name, stratum.id))
    drops = pq.read_table(folder / "dropped.parquet").to_pylist()
    assert {d["doc_id"] for d in drops if d["reason"] == "exact_duplicate"} <= {
        "dclm:<urn:3>~2",
        "dclm:<urn:3>",
        "dclm:<urn:4>",
        "dclm:<urn:other id>",
    }
    assert {d["doc_id"] for d in drops if d["reason"] == "bad_json"} == {
        "dclm:shard_0.jsonl.zst#62"
    }


def test_a_ledger_that_does_not_close_stops_the_build() -> None:
    with pytest.raises(LedgerError, match=r"read 10, kept 7, dropped 2, so \+1 unaccounted"):
        Ledger(read=10, kept=7, dropped={"too_short": 2}).check("a/b_Latn/all")


def test_a_reader_that_loses_a_record_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = corpora.write_corpus(tmp_path / "raw", {"fao_Latn": 30})

    def lossy(file: InputFile, told: FileRead):
        for record in read_fineweb2(file, told):
            if record.number != 3:
                yield record

    monkeypatch.setitem(READERS, "fineweb2", lossy)
    with pytest.raises(LedgerError, match="fineweb2/fao_Latn/all does not close"):
        build_store(corpora.recipe(root), tmp_path / "store")
    assert not list((tmp_path / "store").rglob("fao_Latn/all/*/stratum.json"))
