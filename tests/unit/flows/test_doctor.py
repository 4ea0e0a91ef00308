"""The doctor says what is wrong and what mends it, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flows.cli import main
from flows.doctor.finding import Finding
from flows.doctor.machine import machine_findings
from flows.doctor.packages import import_of_prefect, package_findings
from flows.doctor.place import place_findings
from flows.doctor.recipe import recipe_findings
from flows.doctor.server import server_findings
from flows.job import Job, load_profile
from schemas.catalogue import NewestBuild
from schemas.store import Store
from tests.corpora import write_corpus
from tests.runs import tokenizer_json

PROJECT = """
[project]
requires-python = "{python}"
dependencies = ["numpy{numpy}", "pydantic", "nowhere-to-be-had>=1; python_version < '3'"]
"""


def states(findings: Iterator[Finding]) -> dict[str, str]:
    return {finding.name: finding.state for finding in findings}


def checkout(tmp_path: Path, python: str = ">=3.11", numpy: str = ">=2", pins: str = "") -> Path:
    (tmp_path / "infra").mkdir()
    (tmp_path / "pyproject.toml").write_text(PROJECT.format(python=python, numpy=numpy))
    (tmp_path / "infra" / "constraints.txt").write_text(f"# tested together\n{pins}")
    return tmp_path


def test_this_installation_is_in_its_ranges() -> None:
    assert {states(package_findings())[name] for name in ("python", "packages")} == {"ok"}


def test_versions_out_of_range_are_named(tmp_path: Path) -> None:
    place = checkout(tmp_path, python=">=4", numpy="<2", pins="numpy==1.0\nunknown==1\n")
    python, packages, pins = package_findings(place)
    assert (python.state, packages.state, pins.state) == ("problem", "problem", "warning")
    assert "is not <2" in packages.told
    assert "(1.0)" in pins.told
    assert "infra/constraints.txt" in packages.mend


def test_a_server_that_cannot_be_imported_is_found_whatever_the_ranges_say() -> None:
    with import_of_prefect("raise TypeError('Body() got an unexpected keyword')") as finding:
        found = finding()
    assert found.state == "problem"
    assert "TypeError: Body()" in found.told
    with import_of_prefect("import json") as finding:
        assert finding().state == "ok"


def test_a_broken_prefect_does_not_break_the_doctor() -> None:
    script = "import sys, flows.doctor.server; assert 'prefect' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_machine_is_described() -> None:
    found = states(machine_findings())
    assert found.keys() == {"machine", "gpu", "attention"}


def test_a_store_is_written_to_and_left_as_it_was(tmp_path: Path) -> None:
    before = list(tmp_path.iterdir())
    for place in (tmp_path, tmp_path / "new" / "store"):
        assert states(place_findings(Job(store=str(place)))) == {"store": "ok"}
    assert list(tmp_path.iterdir()) == before
    (tmp_path / "file").touch()
    (found,) = place_findings(Job(store=str(tmp_path / "file")))
    assert found.state == "problem"
    assert "--store" in found.mend


def test_a_remote_store_is_tried_too_and_has_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMBERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MMBERT_CACHE_GB", "0.001")
    found = states(place_findings(Job(store="memory://doctor")))
    assert found == {"store": "ok", "training": "warning", "cache": "ok"}
    monkeypatch.setenv("MMBERT_CACHE_GB", "1e9")
    assert states(place_findings(Job(store="memory://doctor")))["cache"] == "warning"


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_what_a_profile_needs_of_this_machine_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    job = Job(store=str(tmp_path), profile=load_profile(name))
    assert states(place_findings(job))[name] == "problem"
    for command in ("sbatch", "scancel", "srun", "kubectl"):
        (tmp_path / command).write_text("#!/bin/sh\n")
        (tmp_path / command).chmod(0o755)
    assert states(place_findings(job))[name] == "ok"


def job_on(root: Path, *overrides: str) -> Job:
    paths = [f"sources.{name}.path={root / name}" for name in ("fineweb2", "dclm", "dolmino")]
    return Job(recipe="tiny", overrides=(*paths, *overrides), store=str(root / "store"))


def test_a_recipe_that_can_be_built_is_ok(tmp_path: Path) -> None:
    root = write_corpus(tmp_path, {"isl_Latn": 20})
    findings = list(recipe_findings(job_on(root)))
    assert {finding.state for finding in findings} == {"ok"}, findings
    assert states(iter(findings)).keys() == {"recipe", "tokenizer", "inputs", "disk"}


def test_a_recipe_that_was_built_here_has_the_text_of_that_build(tmp_path: Path) -> None:
    job = job_on(write_corpus(tmp_path, {"isl_Latn": 20}))
    NewestBuild(job.load(), "catalogue").save(job.at())
    plain = job.model_copy(update={"overrides": ()})
    findings = list(recipe_findings(plain))
    assert {finding.state for finding in findings} == {"ok"}, findings
    assert findings[0].told.endswith(", with what the store was last built from")
    assert "last built" not in next(recipe_findings(job_on(tmp_path, "phases.extend.tau=1"))).told


def test_missing_inputs_and_a_wrong_recipe_are_told_with_what_mends_them(tmp_path: Path) -> None:
    missing = list(recipe_findings(job_on(tmp_path)))[-1]
    assert missing.state == "problem"
    assert "--set" in missing.mend
    (wrong,) = recipe_findings(Job(recipe="tiny", overrides=("phases.extend.tua=1",)))
    assert wrong.state == "problem"
    assert "tua" in wrong.told


def test_a_tokenizer_is_read_and_told_by_its_digest(tmp_path: Path) -> None:
    root = write_corpus(tmp_path, {"isl_Latn": 20})
    (root / "tokenizer.json").write_bytes(tokenizer_json())
    job = job_on(root, f"tokenizer.path={root / 'tokenizer.json'}")
    found = {finding.name: finding for finding in recipe_findings(job)}
    assert "500 pieces" in found["tokenizer"].told
    (root / "tokenizer.json").write_text("{}")
    found = {finding.name: finding for finding in recipe_findings(job)}
    assert found["tokenizer"].state == "problem"


class Prefect(BaseHTTPRequestHandler):
    """A server's answers: of health, and of the workers of its pool."""

    workers: object = None

    def do_GET(self) -> None:
        if self.path == "/api/health":
            self._say(200, True)
        else:  # the page of the UI, as Prefect has it at every other path
            self._write(200, b"<!doctype html>")

    def do_POST(self) -> None:
        if self.workers == "locked":
            known = self.headers.get("Authorization") == f"Basic {b64encode(b'a:b').decode()}"
            self._say(200 if known else 401, [{"name": "one", "status": "ONLINE"}])
        else:
            self._say(404 if self.workers is None else 200, self.workers)

    def _say(self, status: int, body: object) -> None:
        self._write(status, json.dumps(body).encode())

    def _write(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def prefect(workers: object) -> Iterator[str]:
    handler = type("Handler", (Prefect,), {"workers": workers})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/api"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("workers", "state"),
    [
        (None, "warning"),
        ([{"name": "one", "status": "OFFLINE"}], "warning"),
        ([{"name": "one", "status": "ONLINE"}], "ok"),
        ("locked", "problem"),
        ({"detail": "moved"}, "warning"),
    ],
)
def test_a_server_its_pool_and_its_workers_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: object, state: str
) -> None:
    with prefect(workers) as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        found = states(server_findings(Store.at(str(tmp_path))))
    assert found == {"server": "ok", "worker": state}


def test_a_password_that_the_environment_has_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "a:b")
    with prefect("locked") as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        assert states(server_findings(Store.at(str(tmp_path))))["worker"] == "ok"


def test_a_server_that_is_gone_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    (found,) = server_findings(Store.at(str(tmp_path)))
    assert found.state == "problem"
    assert "unset PREFECT_API_URL" in found.mend


@pytest.mark.parametrize(
    "url", ["foo", "/api", "http://", "http://127.0.0.1:x/api", "http://[::1/api", "ftp://a/api"]
)
def test_what_is_no_address_of_a_server_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", url)
    (found,) = server_findings(Store.at(str(tmp_path)))
    assert (found.state, found.told) == (
        "problem",
        f"PREFECT_API_URL={url} is not the address of a server",
    )
    assert "http://HOST:4200/api" in found.mend


def test_an_address_without_api_is_a_problem_and_a_slash_at_its_end_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with prefect([{"name": "one", "status": "ONLINE"}]) as url:
        monkeypatch.setenv("PREFECT_API_URL", url.removesuffix("/api"))
        (found,) = server_findings(Store.at(str(tmp_path)))
        monkeypatch.setenv("PREFECT_API_URL", f"{url}/")
        assert states(server_findings(Store.at(str(tmp_path)))) == {"server": "ok", "worker": "ok"}
    assert found.state == "problem"
    assert "is not Prefect's API" in found.told
    assert "/api" in found.mend


def test_a_program_that_speaks_no_http_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            asked, _ = other.accept()
            with asked:
                asked.recv(4096)
                asked.sendall(b"220 mail is taken here\r\n")

        threading.Thread(target=answer, daemon=True).start()
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{other.getsockname()[1]}/api")
        (found,) = server_findings(Store.at(str(tmp_path)))
    assert found.state == "problem"


def test_the_command_ends_with_1_where_something_is_wrong_and_prints_one_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setattr("flows.doctor.packages.IMPORT", "import json")
    status = main(["doctor", "--store", str(tmp_path), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert status == 1
    assert told["ok"] is False
    assert [f["name"] for f in told["findings"] if f["state"] == "problem"] == ["server"]
    assert all(f["mend"] for f in told["findings"] if f["state"] != "ok")
    assert not os.listdir(tmp_path)
    assert main(["doctor", "--on", "moon"]) == 2
