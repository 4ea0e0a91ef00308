"""Published MDS shards become a stratum as raw text does: keyed, ordered, and every sample told.

The shards are written by `tests.mds` in the format's layout; where mosaicml-streaming can be
imported, its own writer makes them as well.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from pipelines.import_mds import import_mds
from pipelines.mds import read_index, read_shard
from schemas import seal as seals
from schemas.doc_names import document_key
from schemas.errors import UserError
from schemas.profile import Workers
from schemas.seal import Seal, SpecialIds
from schemas.shard import open_shard
from schemas.store import Store
from schemas.stratum import Stratum, StratumName, stratum_folder
from tests.mds import Sample, write_mds

NAME = StratumName(source="fineweb2", language="fao_Latn")
VOCABULARY = 300
BOS, EOS, MASK = 2, 1, 4


def sealed_in(store: Store) -> Seal:
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"▁{i}" for i in range(5, VOCABULARY))]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, "<unk>"))
    data = tokenizer.to_str().encode()
    sealed = seals.seal(data, SpecialIds(), "test")
    seals.save(store.url, sealed, data)
    return sealed


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(str(tmp_path / "store"))


def chunks(seed: int, count: int, low: int = 5) -> list[Sample]:
    """Chunks as they were published: BOS, text, EOS."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, 400, count)
    return [
        Sample(f"{seed}-{i}", [BOS, *draw.integers(low, VOCABULARY, n).tolist(), EOS])
        for i, n in enumerate(lengths)
    ]


def documents(store: Store, stratum: Stratum) -> list[tuple[str, int, list[int]]]:
    """(doc_id, key, tokens) in the order of the shards."""
    folder = stratum_folder(store, stratum.name, stratum.id)
    found = []
    for entry in stratum.shards:
        shard = open_shard(f"{folder}/{entry.name}")
        names = shard.table.column("doc_id").to_pylist()
        keys = shard.table.column("key").to_pylist()
        found += [
            (name, key, shard.document(i).tolist())
            for i, (name, key) in enumerate(zip(names, keys, strict=True))
        ]
    return found


@pytest.mark.parametrize("dtype", ["uint32", "int16", "int32", "int64"])
@pytest.mark.parametrize("zstd", [False, True])
def test_samples_become_documents_in_the_order_of_their_keys(
    tmp_path: Path, store: Store, dtype: str, zstd: bool
) -> None:
    samples = chunks(0, 30)
    url = write_mds(tmp_path / "mds", [samples[:20], samples[20:]], dtype, zstd, with_length=zstd)
    stratum = import_mds(url, store, sealed_in(store), NAME, seed=21)
    found = documents(store, stratum)
    keys = {f"fineweb2:{s.identity}": document_key(21, f"fineweb2:{s.identity}") for s in samples}
    assert [name for name, _, _ in found] == sorted(keys, key=keys.__getitem__)
    assert [key for _, key, _ in found] == sorted(keys.values())
    bodies = {f"fineweb2:{s.identity}": list(s.tokens[1:-1]) for s in samples}
    assert {name: tokens for name, _, tokens in found} == bodies
    assert stratum.ledger.public() == {"read": 30, "kept": 30, "dropped": {}}
    assert stratum.ledger.kept_tokens == sum(map(len, bodies.values()))
    pieces = [len(f" {token}") for body in bodies.values() for token in body]
    assert stratum.ledger.kept_bytes == sum(pieces)
    assert (stratum.tokenizer, stratum.vocab_size) == (sealed_in(store).digest, VOCABULARY)


def test_every_sample_that_is_not_kept_is_named_with_its_reason(
    tmp_path: Path, store: Store
) -> None:
    samples = [
        Sample("plain", [BOS, 7, 8, EOS]),
        Sample("bare", [9, 10]),  # a chunk without ends stays as it is
        Sample("masked", [BOS, 7, MASK, 8, EOS]),
        Sample("two", [BOS, 7, EOS, BOS, 8, EOS]),
        Sample("empty", [BOS, EOS]),
        Sample("eos", [EOS]),
        Sample("plain", [BOS, 11, EOS]),  # the second of its id
        Sample("copy", [BOS, 9, 10, EOS]),  # the tokens of "bare"
        Sample("", [BOS, 12, EOS]),  # no id: named by its place
    ]
    url = write_mds(tmp_path / "mds", [samples[:4], samples[4:]], prefix="fao/")
    stratum = import_mds(url, store, sealed_in(store), NAME)
    assert stratum.ledger.public() == {
        "read": 9,
        "kept": 4,
        "dropped": {"exact_duplicate": 1, "no_tokens": 2, "special_token": 2},
    }
    kept = {name: tokens for name, _, tokens in documents(store, stratum)}
    copy = {"fineweb2:bare", "fineweb2:copy"} & set(kept)
    assert kept == {
        "fineweb2:plain": [7, 8],
        "fineweb2:plain~2": [11],
        "fineweb2:fao/shard.00001.mds#4": [12],
        copy.pop(): [9, 10],
    }
    folder = stratum_folder(store, NAME, stratum.id)
    told = pq.read_table(f"{folder}/dropped.parquet").to_pylist()
    assert {(t["doc_id"], t["reason"], t["file"], t["record"]) for t in told} >= {
        ("fineweb2:masked", "special_token", "fao/shard.00000.mds", 2),
        ("fineweb2:eos", "no_tokens", "fao/shard.00001.mds", 1),
    }


@pytest.mark.parametrize("zstd", [False, True])
def test_a_cut_file_loses_what_is_cut_and_says_so(tmp_path: Path, store: Store, zstd: bool) -> None:
    url = write_mds(tmp_path / "mds", [chunks(0, 400), chunks(1, 5)], zstd=zstd)
    path = tmp_path / "mds" / ("shard.00000.mds.zstd" if zstd else "shard.00000.mds")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    stratum = import_mds(url, store, sealed_in(store), NAME)
    assert stratum.ledger.read == 405
    assert stratum.ledger.dropped.keys() == {"unreadable"}
    assert 5 < stratum.ledger.kept < 400
    folder = stratum_folder(store, NAME, stratum.id)
    details = pq.read_table(f"{folder}/dropped.parquet").column("detail").to_pylist()
    assert all("not in the file" in detail or "zstd" in detail for detail in details)


@pytest.mark.parametrize(
    ("place", "byte"),
    [(0, 9), (8, 255), (-400, 77), ("sizes", 200), ("shape", 9)],
)
def test_a_flipped_byte_never_loses_a_sample_silently(
    tmp_path: Path, store: Store, place: int | str, byte: int
) -> None:
    url = write_mds(tmp_path / "mds", [chunks(0, 20)])
    path = tmp_path / "mds" / "shard.00000.mds"
    data = bytearray(path.read_bytes())
    if isinstance(place, str):
        sample = int.from_bytes(data[4 + 4 * 3 : 8 + 4 * 3], "little")
        place = sample + (0 if place == "sizes" else 8 + len("0-3"))
    data[place] = byte
    path.write_bytes(data)
    stratum = import_mds(url, store, sealed_in(store), NAME)
    assert stratum.ledger.read == 20
    assert stratum.ledger.kept + sum(stratum.ledger.dropped.values()) == 20


def test_an_import_is_found_again_and_depends_on_bytes_alone(tmp_path: Path, store: Store) -> None:
    shards = [chunks(0, 10), chunks(1, 10), chunks(2, 10)]
    url = write_mds(tmp_path / "mds", shards)
    first = import_mds(url, store, sealed_in(store), NAME)
    times = [p.stat().st_mtime_ns for p in sorted(Path(store.url).rglob("strata/**/*"))]
    assert import_mds(url, store, sealed_in(store), NAME) == first
    assert times == [p.stat().st_mtime_ns for p in sorted(Path(store.url).rglob("strata/**/*"))]

    other = Store.at(str(tmp_path / "other"))
    moved = write_mds(tmp_path / "elsewhere", shards)
    assert import_mds(moved, other, sealed_in(other), NAME, workers=Workers(workers=2)) == first
    assert import_mds(url, store, sealed_in(store), NAME, seed=1).id != first.id


def test_remote_shards_are_read_through_fsspec(tmp_path: Path, store: Store) -> None:
    import fsspec

    write_mds(tmp_path / "mds", [chunks(0, 5)], zstd=True)
    fs = fsspec.filesystem("memory")
    for path in (tmp_path / "mds").iterdir():
        fs.pipe(f"/mds/{path.name}", path.read_bytes())
    (shard,) = read_index("memory://mds")
    assert sorted(read_shard(shard).tokens) == [0, 1, 2, 3, 4]


def test_ids_beyond_the_vocabulary_name_both_sizes(tmp_path: Path, store: Store) -> None:
    url = write_mds(tmp_path / "mds", [[Sample("a", [BOS, 255_999, EOS])]])
    with pytest.raises(UserError, match=r"at least 256,000 pieces, but tokenizer \w{16} has 300"):
        import_mds(url, store, sealed_in(store), NAME)
    url = write_mds(tmp_path / "negative", [[Sample("a", [BOS, -1, EOS])]], dtype="int32")
    with pytest.raises(UserError, match="token ids from -1"):
        import_mds(url, store, sealed_in(store), NAME)


def test_what_is_no_mds_folder_is_refused(tmp_path: Path, store: Store) -> None:
    sealed = sealed_in(store)
    with pytest.raises(UserError, match=r"index\.json does not exist"):
        import_mds(str(tmp_path), store, sealed, NAME)
    url = write_mds(tmp_path / "mds", [chunks(0, 3)], dtype="float32")
    with pytest.raises(UserError, match="input_ids is ndarray:float32"):
        import_mds(url, store, sealed, NAME)
    url = write_mds(tmp_path / "mds", [chunks(0, 3)])
    (tmp_path / "mds" / "shard.00000.mds").unlink()
    with pytest.raises(UserError, match=r"shard\.00000\.mds does not exist"):
        import_mds(url, store, sealed, NAME)
    (tmp_path / "mds" / "index.json").write_text('{"version": 1, "shards": [{}]}')
    with pytest.raises(UserError, match="version 2"):
        import_mds(url, store, sealed, NAME)
    with pytest.raises(UserError, match="fao_Latn"):
        import_mds(url, store, sealed, StratumName(source="x", language="Faroese"))


def test_what_mosaicml_streaming_writes_is_read(tmp_path: Path) -> None:
    reason = "mosaicml-streaming cannot be imported here: its own writer is not compared"
    streaming = pytest.importorskip(
        "streaming.base.format.mds.writer", reason=reason, exc_type=ImportError
    )
    samples = chunks(0, 50)
    columns = {"input_ids": "ndarray:uint32", "id": "str", "len": "int"}
    out = str(tmp_path / "mds")
    with streaming.MDSWriter(columns=columns, out=out, compression="zstd", size_limit=8192) as mds:
        for sample in samples:
            tokens = np.array(sample.tokens, np.uint32)
            mds.write({"input_ids": tokens, "id": sample.identity, "len": len(tokens)})
    read = [read_shard(shard) for shard in read_index(out)]
    assert len(read) > 1
    found = [Sample(r.ids[i], r.tokens[i].tolist()) for r in read for i in sorted(r.tokens)]
    assert found == samples
    assert not any(r.broken for r in read)
