"""The viewer shows all that a store holds, and what lies in a store harms nobody who looks."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from starlette.testclient import TestClient

from flows.viewer.app import create_app
from flows.viewer.links import difference_page, page_of
from schemas.store import Store
from tests.servers import moto_s3
from tests.viewed import SCRIPT, Viewed, make_viewed

LOOPBACK = "http://127.0.0.1"
BROWSER = {"accept": "text/html"}


@pytest.fixture(scope="module")
def viewed(tmp_path_factory: pytest.TempPathFactory) -> Viewed:
    root = tmp_path_factory.mktemp("viewed")
    found = make_viewed(root / "raw", str(root / "store"))
    prefect = root / "store" / "prefect"
    prefect.mkdir()
    (prefect / "prefect.db").write_bytes(b"secret")
    (root / "store" / "runs" / ".part.tmp").write_bytes(b"half")
    (root / "outside.txt").write_bytes(b"secret")
    return found


@pytest.fixture(scope="module", params=["local", "s3"])
def client(request: pytest.FixtureRequest, viewed: Viewed) -> Iterator[TestClient]:
    """The same store on a disk and on S3."""
    if request.param == "local":
        yield TestClient(create_app(viewed.store.url), base_url=LOOPBACK, headers=BROWSER)
        return
    with pytest.MonkeyPatch.context() as patch, moto_s3(patch):
        fs = fsspec.filesystem("s3")
        fs.mkdir("viewed")
        fs.put(viewed.store.url, "viewed/store", recursive=True)
        yield TestClient(create_app("s3://viewed/store"), base_url=LOOPBACK, headers=BROWSER)


@pytest.fixture(scope="module")
def local(viewed: Viewed) -> TestClient:
    return TestClient(create_app(viewed.store.url), base_url=LOOPBACK, headers=BROWSER)


def pages(viewed: Viewed) -> list[str]:
    store = viewed.store
    mixtures = [page_of(store, store.resolve(path)) for path in (viewed.before, viewed.after)]
    difference = difference_page(store, *(store.resolve(p) for p in (viewed.before, viewed.after)))
    run, stratum = (page_of(store, store.resolve(path)) for path in (viewed.run, viewed.stratum))
    return ["/", run, *mixtures, difference, stratum, "/data/dclm?tier=all", "/files/"]


def test_every_page_answers_and_every_link_of_it_leads_somewhere(
    client: TestClient, viewed: Viewed
) -> None:
    links: set[str] = set()
    for page in pages(viewed):
        answer = client.get(page)
        assert answer.status_code == 200, page
        assert client.head(page).status_code == 200, page
        found = re.findall(r'(?:href|src)="(/[^"#]*)', answer.text)
        links |= {link.replace("&amp;", "&") for link in found}
    assert [link for link in links if client.get(link).status_code != 200] == []


def test_the_front_page_says_where_a_run_stands(client: TestClient, viewed: Viewed) -> None:
    front = client.get("/").text
    assert viewed.run.split("/")[1] in front
    assert "only, step 30" in front
    assert "3.000" in front  # its loss
    assert "2.000" in front  # bits per byte
    assert ">finished<" in front


def test_runs_are_told_apart_by_the_mixtures_that_they_read(
    client: TestClient, viewed: Viewed
) -> None:
    table = client.get("/").text.partition('id="runs"')[2].partition("</table>")[0]
    texts = [re.sub(r"<[^>]*>", " ", row).split() for row in table.split("<tr>")[2:]]
    finished, not_begun = sorted(texts, key=lambda words: words[1] != "finished")
    assert finished[1:3] == ["finished", "main"]
    assert not_begun[1:5] == ["not", "begun", "only:", "flatter"]
    page = client.get(page_of(viewed.store, viewed.store.resolve(viewed.run))).text
    assert re.search(r">main <code>[0-9a-f]{12}<", page)


def test_a_mixture_that_is_gone_is_no_main(viewed: Viewed, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(viewed.store.url, store)
    shutil.rmtree(store / viewed.after)
    client = TestClient(create_app(str(store)), base_url=LOOPBACK, headers=BROWSER)
    assert f"only: {Path(viewed.after).name[:12]} <i>(gone)" in client.get("/").text


def test_a_run_shows_its_curves_and_scores(local: TestClient, viewed: Viewed) -> None:
    page = local.get(page_of(viewed.store, viewed.store.resolve(viewed.run))).text
    assert page.count('<svg class="plot"') == 2
    assert "Faroese" in page
    assert "/report/index.html" in page
    assert "/models/only/README.md" in page


def test_mixtures_are_shown_beside_each_other(local: TestClient, viewed: Viewed) -> None:
    store = viewed.store
    page = local.get(page_of(store, store.resolve(viewed.last))).text
    offered = re.findall(r'<option value="([^"]*)"', page)
    before, main = (path.removeprefix("manifests/") for path in (viewed.after, viewed.before))
    assert offered == [before, main]  # the version before comes first
    answer = local.get(page_of(store, store.resolve(viewed.after)), params={"against": main})
    assert answer.status_code == 200
    assert "Settings that differ" in answer.text
    assert re.search(r"tau</th><td[^>]*>0\.7</td><td[^>]*>0\.1<", answer.text)
    nothing = local.get(page_of(store, store.resolve(viewed.after)), params={"against": "no/such"})
    assert nothing.status_code == 404


def test_texts_of_a_store_are_shown_and_never_run(client: TestClient, viewed: Viewed) -> None:
    store = viewed.store
    shard, run = f"/files/{viewed.shard}", page_of(store, store.resolve(viewed.run))
    for page in (shard, run, f"/files/{viewed.run}/run.json"):
        answer = client.get(page)
        assert SCRIPT not in answer.text
        assert "&lt;script&gt;alert(1)" in answer.text
        assert "script-src 'self';" in answer.headers["content-security-policy"]
    assert "uint32" in client.get(shard).text  # its schema
    raw = client.get(f"/files/{viewed.run}/run.json?raw")
    assert raw.headers["content-type"].startswith("text/plain")
    assert json.loads(raw.text)["title"] == viewed.title
    report = client.get(f"/files/{viewed.run}/report/index.html")
    assert report.headers["content-type"].startswith("text/html")
    assert report.headers["content-security-policy"].startswith("sandbox ")


def test_json_is_a_page_for_browsers_and_bytes_for_programs(
    local: TestClient, viewed: Viewed
) -> None:
    url = f"/files/{viewed.after}/manifest.json"
    assert "<pre" in local.get(url).text
    data = Path(viewed.store.resolve(f"{viewed.after}/manifest.json")).read_bytes()
    assert local.get(url, headers={"accept": "*/*"}).content == data


@pytest.mark.parametrize(
    "path",
    [
        "/files/prefect/",
        "/files/prefect/prefect.db",
        "/files/runs/.part.tmp",
        "/files/../outside.txt",
        "/files/%2e%2e/outside.txt",
        "/files/runs/%2e%2e/%2e%2e/outside.txt",
        "/files/runs/..%2f..%2foutside.txt",
        "/files//etc/passwd",
        "/files/%2fetc/passwd",
        "/files/runs/%00",
        "/files/runs/..%5c..%5coutside.txt",
        "/strata/../../outside.txt",
        "/mixtures/../prefect/x",
    ],
)
def test_nothing_but_the_store_is_served(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "secret" not in answer.text


def test_hidden_files_are_not_listed(client: TestClient) -> None:
    assert "prefect" not in re.findall(r'<a href="([^"/]*)/?"', client.get("/files/").text)
    assert ".part.tmp" not in client.get("/files/runs/").text


def test_a_link_out_of_the_store_leads_nowhere(viewed: Viewed, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    store = tmp_path / "store"
    store.mkdir()
    (store / "way-out").symlink_to(tmp_path)
    client = TestClient(create_app(str(store)), base_url=LOOPBACK)
    assert client.get("/files/way-out/secret.txt").status_code == 404


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-99", 0, 99), ("bytes=100-", 100, None), ("bytes=-7", -7, None)],
)
def test_big_files_are_sent_in_parts(
    client: TestClient, viewed: Viewed, asked: str, first: int, last: int | None
) -> None:
    whole = Path(viewed.store.resolve(viewed.shard)).read_bytes()
    url = f"/files/{viewed.shard}?raw"
    answer = client.get(url, headers={"range": asked})
    assert answer.status_code == 206
    assert answer.content == whole[first : None if last is None else last + 1]
    assert answer.headers["content-range"].endswith(f"/{len(whole)}")
    head = client.head(url)
    assert (head.headers["content-length"], head.content) == (str(len(whole)), b"")
    assert client.get(url).content == whole


def test_a_part_that_is_not_there_is_refused(local: TestClient, viewed: Viewed) -> None:
    answer = local.get(f"/files/{viewed.shard}?raw", headers={"range": "bytes=99999999-"})
    assert answer.status_code == 416


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(local: TestClient, viewed: Viewed, method: str) -> None:
    for url in ("/", f"/files/{viewed.run}/run.json", "/files/new"):
        assert local.request(method, url, content=b"x").status_code == 405


def test_a_record_of_another_version_takes_nothing_else_with_it(
    viewed: Viewed, tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / "old-run"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text('{"format_version": 0}')
    answer = TestClient(create_app(str(tmp_path)), base_url=LOOPBACK).get("/")
    assert answer.status_code == 200
    assert "runs/old-run/run.json cannot be read" in answer.text


def test_a_store_that_is_yet_to_be_built_is_an_empty_page(tmp_path: Path) -> None:
    answer = TestClient(create_app(str(tmp_path / "none")), base_url=LOOPBACK).get("/")
    assert answer.status_code == 200
    assert "empty so far" in answer.text
    assert not (tmp_path / "none").exists()


def test_looking_changes_nothing(local: TestClient, viewed: Viewed) -> None:
    def files() -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in Path(viewed.store.url).rglob("*")}

    before = files()
    for page in (*pages(viewed), f"/files/{viewed.shard}", "/data/none"):
        local.get(page)
    assert files() == before


def test_a_missing_thing_is_named(local: TestClient) -> None:
    for url in ("/runs/none", "/mixtures/a/b/c", "/strata/x", "/data/none", "/files/none"):
        answer = local.get(url)
        assert answer.status_code == 404
        assert "this store" in answer.text


def test_links_lead_to_the_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.viewer.links import VIEWER_URL, link

    store = Store("s3://bucket/store")
    manifest = "s3://bucket/store/manifests/r/p/0123456789abcdef/manifest.json"
    monkeypatch.delenv(VIEWER_URL, raising=False)
    assert link(store, manifest) == manifest
    monkeypatch.setenv(VIEWER_URL, "http://127.0.0.1:4300/")
    assert link(store, manifest) == "http://127.0.0.1:4300/mixtures/r/p/0123456789abcdef"
    assert link(store, store.url) == "http://127.0.0.1:4300/"
    card = "s3://bucket/store/manifests/r/p/0123456789abcdef/card.html"
    assert link(store, card).endswith("/files/manifests/r/p/0123456789abcdef/card.html")
