"""I1 and I7 over a network: what a server does on the way changes neither a byte nor a ledger.

A build over a server that fails equals the undisturbed one; what cannot be had in the end, or was
changed, is told in one sentence and leaves nothing half-made.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines import open_input as inputs
from pipelines.inventory import InputFile, inventory
from pipelines.open_input import open_input
from pipelines.remote import info_of, version_of
from schemas import remote
from schemas.errors import UserError
from schemas.recipe import Recipe
from schemas.remote import file_system
from schemas.text import Source
from tests import corpora
from tests.building import build_store, files_of
from tests.servers import Fault, Faulty, moto_s3

FAULTS = (
    Fault("unavailable"),
    Fault("cut", after=700),
    Fault("short", after=300),
    Fault("page"),
    Fault("reset"),
    Fault("cut"),
    None,
    None,
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and waits of a size for tests."""
    monkeypatch.setattr(inputs, "BLOCK_BYTES", 3000)
    monkeypatch.setattr(remote, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(remote, "LONGEST_WAIT_S", 0.002)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("raw")
    for split, count in (("train", 40), ("test", 5)):
        texts = corpora.sentences(split, count)
        corpora.write_fineweb2(root / "fineweb2", "fao_Latn", texts, split)
    lines = [corpora.dclm_line(t, str(i)) for i, t in enumerate(corpora.sentences("english", 60))]
    corpora.write_dclm(root / "dclm", [*lines[:30], b"{cut", *lines[30:]])
    return root


@pytest.fixture(scope="module")
def bucket(corpus: Path) -> Iterator[Faulty]:
    """The corpus as s3://raw, behind a proxy that can fail."""
    with pytest.MonkeyPatch.context() as patch, moto_s3(patch) as proxy:
        fs, _ = file_system("s3://raw")
        fs.mkdir("raw")
        for path in filter(Path.is_file, corpus.rglob("*")):
            fs.pipe_file(f"raw/{path.relative_to(corpus)}", path.read_bytes())
        yield proxy


def over(root: str) -> Recipe:
    sources = {n: Source(path=f"{root}/{n}", format=n) for n in ("fineweb2", "dclm")}
    made = corpora.recipe(Path("/"), shares={"multilingual": 70, "dclm": 30})
    return made.model_copy(update={"sources": sources})


def published(store: Path) -> dict[str, str]:
    """Every published file; spills remember addresses."""
    return {name: digest for name, digest in files_of(store).items() if "spills/" not in name}


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    store = tmp_path_factory.mktemp("undisturbed")
    with Faulty(corpus) as server:
        build_store(over(server.url), store)
    assert any("shard-" in name for name in published(store))
    return published(store)


def test_a_build_over_a_failing_web_server_equals_the_undisturbed_one(
    corpus: Path, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    with Faulty(corpus) as server:
        server.faults = list(itertools.islice(itertools.cycle(FAULTS), 200))
        server.pages_fail = (
            False  # a page that is short by its own headers is a page of fewer links
        )
        build_store(over(server.url), tmp_path)
        assert server.failed > 30
    assert published(tmp_path) == undisturbed


def test_a_build_over_a_failing_object_store_equals_the_undisturbed_one(
    bucket: Faulty, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    faults = [fault for fault in FAULTS if fault is None or fault.kind != "page"]
    bucket.faults = list(itertools.islice(itertools.cycle(faults), 28))
    build_store(over("s3://raw"), tmp_path)
    assert not bucket.faults
    assert published(tmp_path) == undisturbed


def test_a_folder_that_cannot_be_listed_is_never_left_out(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "READ_TIMEOUT_S", 0.2)
    with Faulty(corpus) as server:
        recipe = over(server.url)
        expected = inventory(recipe)
        for fault in (Fault("unavailable"), Fault("hang"), Fault("cut", after=10)):
            server.faults = [None, None, fault, None, fault, fault]
            assert inventory(recipe) == expected


@pytest.fixture
def one(tmp_path: Path) -> Iterator[tuple[Faulty, Path]]:
    path = tmp_path / "files" / "a.jsonl"
    path.parent.mkdir()
    path.write_bytes(bytes(range(256)) * 40)
    with Faulty(path.parent) as server:
        yield server, path


def planned(server: Faulty) -> InputFile:
    url = f"{server.url}/a.jsonl"
    info = info_of(url)
    return InputFile(url, "a.jsonl", int(str(info["size"])), version=version_of(info))


def test_reading_goes_on_at_the_block_that_broke(one: tuple[Faulty, Path]) -> None:
    server, path = one
    file = planned(server)
    server.faults = [None, *FAULTS[:4]]
    with open_input(file) as opened:
        assert opened.read() == path.read_bytes()
    fetched = [asked for method, _, asked in server.asked if method == "GET"]
    assert fetched == [
        "bytes=0-2999",
        *["bytes=3000-5999"] * 5,
        "bytes=6000-8999",
        "bytes=9000-10239",
    ]


def test_a_server_that_says_nothing_is_asked_again(
    one: tuple[Faulty, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "READ_TIMEOUT_S", 0.2)
    server, path = one
    file = planned(server)
    server.faults = [Fault("hang"), None, Fault("hang")]
    with open_input(file) as opened:
        assert opened.read() == path.read_bytes()


def test_after_the_last_try_the_address_is_named_and_nothing_is_committed(
    corpus: Path, tmp_path: Path
) -> None:
    with Faulty(corpus) as server:
        recipe = over(server.url)
        found = inventory(recipe)
        server.faults = [Fault("unavailable")] * 10_000
        with pytest.raises(UserError, match=r"http://\S+ could not be read in 8 tries") as told:
            build_store(recipe, tmp_path / "store")
        assert "the same command goes on" in str(told.value)
        assert not list((tmp_path / "store").rglob("stratum.json"))
        server.faults = []
        assert inventory(recipe) == found
        build_store(recipe, tmp_path / "store")


def test_a_refusal_is_told_at_once(one: tuple[Faulty, Path]) -> None:
    server, path = one
    file = planned(server)
    path.unlink()
    with pytest.raises(UserError, match=r"a.jsonl is gone"), open_input(file) as opened:
        opened.read()
    assert len(server.asked) < 6


def overwrite(path: Path) -> None:
    path.write_bytes(path.read_bytes()[::-1])


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def read_around(file: InputFile, num_bytes: int, act: Callable[[], None]) -> None:
    with open_input(file) as opened:
        opened.read(num_bytes)
        act()
        opened.read()


@pytest.mark.parametrize("change", [overwrite, shorten])
@pytest.mark.parametrize("read_bytes", [0, 100, 10_240])
def test_a_file_that_is_changed_after_the_plan_is_refused(
    one: tuple[Faulty, Path], change: Callable[[Path], None], read_bytes: int
) -> None:
    server, path = one
    file = planned(server)
    with pytest.raises(UserError, match=r"a.jsonl was changed since"):
        read_around(file, read_bytes, lambda: change(path))


def test_an_object_that_is_changed_after_the_plan_is_refused(bucket: Faulty) -> None:
    recipe = over("s3://raw").model_copy(
        update={"sources": {"dclm": Source(path="s3://raw/dclm", format="dclm")}}
    )
    ((file,),) = (origin.files for origin in inventory(recipe))
    fs, path = file_system(file.url)
    with pytest.raises(UserError, match=r"was changed since"):
        read_around(file, 100, lambda: fs.pipe_file(path, fs.cat_file(path)[::-1]))


def test_a_local_file_that_is_changed_after_the_plan_is_refused(
    corpus: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(corpus / "dclm", tmp_path / "dclm"))
    recipe = over(str(tmp_path))
    sources = {"dclm": recipe.sources["dclm"]}
    ((file,),) = (o.files for o in inventory(recipe.model_copy(update={"sources": sources})))
    overwrite(root / "shard_0.jsonl.zst")
    with pytest.raises(UserError, match=r"was changed since"), open_input(file) as opened:
        opened.read()


def test_a_server_without_ranges_or_sizes_is_told_so(one: tuple[Faulty, Path]) -> None:
    server, _ = one
    server.ranges = False
    file = planned(server)
    with pytest.raises(UserError, match=r"cannot be read in parts"), open_input(file) as opened:
        opened.read()
