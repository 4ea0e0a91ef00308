"""Runs, re-read: the description and what it names, checkpoints, models.

Logs and journal grow while a run trains, and no digest covers them.
"""

from __future__ import annotations

import json

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from pipelines.verify.findings import Findings, files_below
from pipelines.verify.strata import NOT_AS_WRITTEN
from schemas import folder_digests
from schemas.digest import content_id
from schemas.run import Run
from schemas.store import exists, join, json_file, local_path, read_bytes

WEIGHTS = "model.safetensors"


def check_run(findings: Findings, folder: str) -> None:
    """Everything in a run's folder that does not grow."""
    _check_description(findings, join(folder, "run.json"))
    names = [url[len(folder) + 1 :] for url, _ in files_below(folder)]
    folders = {name.rpartition("/")[0]: name for name in names if not _is_unfinished(name)}
    for name in sorted(folders):
        place = join(folder, name)
        if name.startswith("checkpoints/") and name.count("/") == 1:
            _check_checkpoint(findings, place)
        elif join(name, WEIGHTS) in names:
            _check_model(findings, place)
    if "checkpoints/latest.json" in names:
        _check_latest(findings, join(folder, "checkpoints"))


def _is_unfinished(name: str) -> bool:
    """Folders that are being written begin with a dot."""
    return any(part.startswith(".") for part in name.split("/")[:-1])


def _check_description(findings: Findings, url: str) -> None:
    mend = "run the `mmbert train` that it is of again, which writes it"
    content = findings.record(url, mend)
    if content is None:
        return
    try:
        run = Run.model_validate(content)
    except ValidationError as error:
        wrong = f"is a run of another version ({error.errors()[0]['msg']})"
        findings.problem(url, wrong, mend)
        return
    if not run.checksum:
        findings.num_undigested += 1
    elif run.checksum != content_id({k: v for k, v in content.items() if k != "checksum"}):
        findings.problem(url, NOT_AS_WRITTEN, mend)
        return
    if not url.split("/")[-2].startswith(f"{run.recipe}-{run.id}"):
        findings.problem(url, f"belongs into runs/{run.recipe}-{run.id}", mend)
    named = [join(run.tokenizer, "seal.json"), run.heldout]
    named += dict.fromkeys(name for p in run.phases for name in (p.manifest, p.current))
    for name in named:
        if not exists(findings.store.resolve(name)):
            place = findings.store.resolve(name)
            wrong = f"is missing, and {findings.store.relative(url)} names it"
            findings.problem(place, wrong, "run `mmbert data` again")


def _check_checkpoint(findings: Findings, folder: str) -> None:
    place = findings.store.relative(folder)
    mend = f"delete the folder {place}, and training goes on from the checkpoint before it"
    before = len(findings.problems)
    findings.folder(folder, mend)
    if not exists(join(folder, "point.json")) and exists(join(folder, folder_digests.NAME)):
        findings.problem(join(folder, "point.json"), "is missing", mend)
    elif not exists(folder):
        del findings.problems[before:]  # a run that trains has deleted it meanwhile


def _check_latest(findings: Findings, folder: str) -> None:
    """latest.json repeats the point of the checkpoint that it names."""
    url = join(folder, "latest.json")
    mend = "delete it; the checkpoints themselves say how far they are"
    latest = findings.record(url, mend)
    if latest is None:
        return
    point = join(folder, str(latest.pop("path", "")), "point.json")
    if exists(point) and findings.has_problem(point):
        return
    if not exists(point) or read_bytes(point) != json_file(latest):
        findings.problem(url, "is not of the checkpoint that it names", mend)


def _check_model(findings: Findings, folder: str) -> None:
    place = findings.store.relative(folder)
    mend = f"delete the folder {place} and run `mmbert train` again, which exports it"
    before = len(findings.problems)
    findings.folder(folder, mend)
    path = local_path(join(folder, WEIGHTS))
    if path is None or len(findings.problems) > before:
        return
    try:
        with safe_open(path, "np") as weights:
            weights.keys()
        json.loads(read_bytes(join(folder, "config.json")))
    except (SafetensorError, OSError, ValueError) as error:
        findings.problem(join(folder, WEIGHTS), f"is no model that can be read ({error})", mend)
