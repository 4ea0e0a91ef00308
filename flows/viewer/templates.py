"""Pages out of templates: everything is escaped, and figures read as in reports and cards."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from flows.viewer.links import page_of
from pipelines.card import figure, percent
from schemas.figures import amount, bits, duration, num_bytes, setting
from schemas.language import language_name

FOLDER = str(Path(__file__).parent / "pages")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; "
        "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def render(request: Request, template: str, status: int = 200, **values: object) -> HTMLResponse:
    """A page of the viewer; `values` are what its template names."""
    store = request.app.state.shelf.store
    page = _templates().get_template(f"{template}.html.j2")
    shared = {"store": store, "page_of": lambda url: page_of(store, url)}
    return HTMLResponse(page.render(shared | values), status, HEADERS)


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("flows.viewer", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "age": age,
        "amount": amount,
        "bits": bits,
        "count": lambda value: f"{value:,}",
        "figure": figure,
        "language": language_name,
        "num_bytes": num_bytes,
        "path": quote,
        "percent": percent,
        "reason": lambda text: str(text).replace("_", " "),
        "setting": setting,
    }
    return found


def age(written: float) -> str:
    """How long ago; nothing where the store does not tell."""
    passed = time.time() - written
    return f"{duration(max(0.0, passed))} ago" if written and passed > -1e6 else ""
