"""Forms that a newcomer can fill: what they show, what they refuse, and the job that they make."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.utilities.schema_tools import ValidationError, validate

from flows.serve import deployed, forms
from flows.serve.deployments import DEPLOYMENTS
from flows.serve.forms import (
    Share,
    find_recipe,
    form_of,
    job_of,
    mixed_anew,
    require_groups,
    require_phase,
)
from schemas.errors import UserError

FORMS = [deployment.name for deployment in DEPLOYMENTS]


def schema_of(name: str) -> dict:
    return form_of(getattr(deployed, name))


@pytest.mark.parametrize("name", FORMS)
def test_each_field_has_a_title_and_a_line_of_help(name: str) -> None:
    for key, field in schema_of(name)["properties"].items():
        assert field["title"][0] != "_"
        assert field["title"] != key or key == "tau"
        assert 10 < len(field["description"]) <= 110, key
        assert "anyOf" not in field, f"{key} would ask for its type first"


def test_no_two_fields_of_a_form_share_a_place() -> None:
    for name in FORMS:
        places = [field["position"] for field in schema_of(name)["properties"].values()]
        assert sorted(places) == list(range(len(places)))


def test_numbers_are_bounded_and_names_can_be_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = schema_of("remix")["properties"]
    assert (fields["tau"]["minimum"], fields["tau"]["maximum"]) == (0, 1)
    assert (fields["tau_end"]["minimum"], fields["tau_end"]["maximum"]) == (0, 1)
    assert fields["max_epochs"]["exclusiveMinimum"] == 0
    assert fields["budget_tokens"]["minimum"] == fields["pool_tokens"]["minimum"] == 1
    assert {"tiny", "base", "small"} <= set(fields["recipe"]["enum"])
    assert "local" in fields["profile"]["enum"]
    (tmp_path / "mine.toml").write_text('extends = "tiny"\nname = "mine"\n')
    monkeypatch.setenv(forms.RECIPES_VARIABLE, str(tmp_path))
    assert schema_of("remix")["properties"]["recipe"]["enum"][0] == "mine"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"tau": 1.5}, "tau"),
        ({"tau": "flat"}, "tau"),
        ({"max_epochs": 0}, "max_epochs"),
        ({"name": "My mixture"}, "name"),
        ({"phase": ""}, "phase"),
        ({"recipe": "tniy"}, "recipe"),
        ({"shares": [{"group": "dclm", "share": -1}]}, "share"),
        ({"overrides": ["no value"]}, "overrides"),
        ({"budget_tokens": 0.5}, "budget_tokens"),
    ],
)
def test_the_form_itself_refuses_a_wrong_value(changed: dict, field: str) -> None:
    good = {"name": "flatter", "tau": 0.3, "shares": [{"group": "dclm", "share": 10}]}
    validate(good, schema_of("remix"), raise_on_error=True)
    with pytest.raises(ValidationError, match=field):
        validate(good | changed, schema_of("remix"), raise_on_error=True)


def test_what_was_filled_in_becomes_a_job() -> None:
    changed = mixed_anew("extend", 0.3, None, 2, [Share(group="dclm", share=5)], None, 1000)
    job = job_of("tiny", "", "/store", "local", [*changed, " "], "extend", ["extend=flat"], True)
    phase = job.load().phases["extend"]
    assert (phase.tau, phase.tau_end, phase.max_epochs, phase.budget_tokens) == (0.3, None, 2, 1000)
    assert phase.shares["dclm"] == 5
    assert (job.phase, job.manifests, job.fresh) == ("extend", {"extend": "flat"}, True)
    assert job.store == "/store"


def test_a_recipe_is_found_by_name_in_a_folder_of_ones_own_or_by_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('extends = "tiny"\nname = "mine"\n')
    monkeypatch.setenv(forms.RECIPES_VARIABLE, str(tmp_path))
    assert find_recipe("mine") == str(mine)
    assert find_recipe("tiny") == "tiny"
    assert find_recipe("tiny", f" {mine} ") == str(mine)
    assert job_of("mine", "", "s", "local", []).load().name == "mine"


@pytest.mark.parametrize(("phase", "told"), [(" ", r"\(empty\)"), ("extnd", "extnd")])
def test_a_remix_is_of_a_phase(phase: str, told: str) -> None:
    with pytest.raises(UserError, match=f"Phase {told}: recipe tiny has none of this name"):
        deployed.remix.fn.__wrapped__(name="flatter", phase=phase)  # type: ignore[attr-defined]


def test_what_a_form_cannot_know_is_refused_in_one_sentence() -> None:
    recipe = job_of("tiny", "", "s", "local", []).load()
    with pytest.raises(UserError, match=r"Phase extnd: .*did you mean extend\?.*decay-all$"):
        require_phase(recipe, "extnd")
    with pytest.raises(UserError, match=r"Phase \(empty\): .*its phases are pretrain"):
        require_phase(recipe, " ")
    with pytest.raises(UserError, match=r"Shares, dlcm: .*did you mean dclm\?"):
        require_groups(recipe, [Share(group="multilingual", share=1), Share(group="dlcm", share=1)])
    with pytest.raises(UserError, match=r"Recipe tinny: .*did you mean tiny\?"):
        job_of("tinny", "", "s", "local", [])
