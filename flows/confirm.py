"""Asking before something large: on a terminal a question, elsewhere `--yes` or nothing."""

from __future__ import annotations

import sys

import typer

from schemas.errors import UserError


def confirm(what: str, yes: bool) -> None:
    """Go on when `yes` or when the person says so; `what` is the deed, as in "remove 3 files".

    Raises UserError where nobody can be asked, and ends with 1 when the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UserError(f"this would {what}, and there is no terminal to ask on; add --yes")
    if not typer.confirm(f"  {what}?"):
        raise typer.Exit(1)
