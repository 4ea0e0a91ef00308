"""I1, I2 in full breadth: a sample of all 1,833 languages builds, and the last decay has each."""

from pathlib import Path

import pytest

from flows.job import Job
from pipelines.manifests import make_manifest
from pipelines.sample import write_sample
from schemas.ledger import total
from tests.building import build_store

LANGUAGES = 1833


@pytest.mark.slow
def test_1833_languages_are_built_and_each_has_a_row(tmp_path: Path) -> None:
    report = write_sample(tmp_path / "sample", LANGUAGES)
    overrides = [
        f"sources.{name}.path={tmp_path / 'sample' / name}"
        for name in ("fineweb2", "dclm", "dolmino")
    ]
    recipe = Job(recipe="tiny", overrides=tuple(overrides)).load()
    built = build_store(recipe, tmp_path / "store", workers=2)

    ledger = total(stratum.ledger for stratum in built.strata)
    ledger.check("all strata")
    assert ledger.read > 5 * LANGUAGES
    assert report.languages == LANGUAGES

    manifest, _ = make_manifest(recipe, "decay-all", built.store, built.seal, built.strata)
    assert len(manifest.languages) == LANGUAGES
    assert min(language.rows for language in manifest.languages) >= 1
    assert sum(stratum.target_tokens for stratum in manifest.strata) == manifest.pool_tokens
