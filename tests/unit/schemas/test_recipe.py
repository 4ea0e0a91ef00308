"""What a recipe may say of a source's size and of its release."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from schemas.recipe import Release
from schemas.text import Source


def test_a_size_is_told_the_way_the_source_is_divided() -> None:
    with pytest.raises(ValidationError, match="a table, a key a subset"):
        Source(path="d", format="dolmino", published_tokens=5)
    with pytest.raises(ValidationError, match="one number"):
        Source(path="d", format="dclm", published_tokens={"a": 5})
    with pytest.raises(ValidationError, match="one number"):
        Source(path="d", format="documents", language="eng_Latn", published_tokens={"eng_Latn": 5})


def test_an_empty_base_takes_back_an_extended_one() -> None:
    assert Release(method="ema", phases=("decay-all",), base="").base is None
