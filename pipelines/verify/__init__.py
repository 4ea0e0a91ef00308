"""Verify: everything in a store is as it was written. Nothing is changed.

    shards         against the digest in their names, their tokenizer, and stratum.json's counts
    strata         checksum; the ledger against shards and table of drops
    manifests      id; the shard table against strata and exclusions
    held-out text, exclusions, catalogues, tokenizers, runs, checkpoints, models    ids and digests

In: a store, or one manifest and all that it names. Out: a `Report`. Not covered, since they may be
deleted or grow: spills, what was memorised of equal texts, logs and journals.
"""

from __future__ import annotations

from pipelines.verify.findings import Findings, Report, files_below
from pipelines.verify.mixtures import (
    check_catalogue,
    check_exclusions,
    check_heldout,
    check_manifest,
    check_name,
    check_tokenizer,
    load_manifest,
)
from pipelines.verify.runs import check_run
from pipelines.verify.strata import check_strata
from schemas import seal as seals
from schemas.progress import Progress, silent
from schemas.store import Store, join


def verify_manifest(store: Store, url: str, progress: Progress = silent) -> Report:
    """One manifest: its strata, exclusions and tokenizer."""
    findings = Findings(store, progress)
    manifest = load_manifest(findings, url)
    if manifest is not None:
        strata = check_strata(findings, [store.resolve(s.folder) for s in manifest.strata])
        check_manifest(findings, url, manifest, strata, {})
        check_tokenizer(findings, seals.seal_folder(store.url, manifest.tokenizer))
    return findings.report()


def verify_store(store: Store, progress: Progress = silent) -> Report:
    """All that lies in a store."""
    findings = Findings(store, progress)
    tops = ("strata", "catalogues", "manifests", "heldout", "exclusions", "tokenizers", "runs")
    files = {top: dict(files_below(join(store.url, top))) for top in tops}
    findings.total_bytes = sum(sum(sizes.values()) for sizes in files.values())

    def folders_with(top: str, name: str) -> list[str]:
        return [url.rsplit("/", 1)[0] for url in files[top] if url.rsplit("/", 1)[1] == name]

    strata = check_strata(findings, folders_with("strata", "stratum.json"))
    excluded = {
        url: check_exclusions(findings, url)
        for url in files["exclusions"]
        if "-" not in url.rsplit("/", 1)[1]  # what was looked for in strata may be deleted
    }
    for url in files["catalogues"]:
        check_catalogue(findings, url)
    depth = store.url.count("/") + 4  # manifests/<recipe>/<phase>/<name>.json
    for url in files["manifests"]:
        if url.endswith("/manifest.json"):
            manifest = load_manifest(findings, url)
            if manifest is not None:
                check_manifest(findings, url, manifest, strata, excluded)
        elif url.endswith(".json") and url.count("/") == depth:
            check_name(findings, url)
    for url in files["heldout"]:
        check_heldout(findings, url, strata)
    for folder in folders_with("tokenizers", "seal.json"):
        check_tokenizer(findings, folder)
    for folder in folders_with("runs", "run.json"):
        check_run(findings, folder)
    return findings.report()
