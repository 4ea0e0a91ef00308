"""Files for a scheduler, filled in from `infra/templates`."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from schemas.store import write_bytes

CHECKOUT = Path(__file__).parents[2]
TEMPLATES = CHECKOUT / "infra" / "templates"


def fill(template: str, values: dict[str, object]) -> str:
    """A template's text; a name that it needs and does not get is an error of this program."""
    environment = Environment(  # of shell and YAML, which escape in their own ways
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=True
    )
    return environment.get_template(template).render(values)


def write(path: Path, text: str) -> str:
    write_bytes(str(path), text.encode())
    return str(path)
