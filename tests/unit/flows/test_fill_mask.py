"""An answer can be read on a console, whatever token it is."""

from __future__ import annotations

import pytest

from flows.fill_mask import readable


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (" Paris", "Paris"),
        ("часов", "часов"),
        ("\x89", r"'\x89'"),
        (" ", "' '"),
        ("", "''"),
        ("\u200b", r"'\u200b'"),
    ],
)
def test_a_token_that_shows_nothing_is_told_by_its_code(text: str, told: str) -> None:
    assert readable(text) == told
