"""The viewer as an ASGI application: which address is answered by what, and under which headers.

    /                                front page: runs, mixtures, data
    /runs/NAME                       a run, as far as it has come
    /mixtures/RECIPE/PHASE/ID        a mixture, or with ?against=RECIPE/PHASE/ID what differs
    /data/SOURCE?tier=TIER           the languages of a source
    /strata/SOURCE/LANGUAGE/TIER/ID  a stratum with its ledger
    /files/...                       folders and files as they lie in the store

Only GET and HEAD are answered, and nothing is ever written. Texts of a store are anybody's: pages
escape them, may load nothing from elsewhere and run no script of theirs.
"""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from flows.viewer import file_pages, pages
from flows.viewer.auth import HEALTH, Guard
from flows.viewer.shelf import Shelf
from flows.viewer.templates import FOLDER
from schemas.store import Store


def create_app(store_url: str) -> Starlette:
    """The viewer of a store at any fsspec URL; the password is taken from the environment."""
    app = Starlette(
        routes=[
            Route("/", pages.front),
            Route("/runs/{name}", pages.run),
            Route("/mixtures/{path:path}", pages.mixture),
            Route("/data/{source:path}", pages.source),
            Route("/strata/{path:path}", pages.stratum),
            Route("/files", file_pages.files),
            Route("/files/{path:path}", file_pages.files),
            Route(HEALTH, lambda _: PlainTextResponse("ok\n")),
            Route("/style.css", _asset("style.css", "text/css")),
            Route("/tables.js", _asset("tables.js", "text/javascript")),
        ],
        middleware=[Middleware(Guard)],
        exception_handlers={HTTPException: pages.problem},
    )
    app.state.shelf = Shelf(Store.at(store_url))
    return app


def _asset(name: str, kind: str):  # type: ignore[no-untyped-def]  # Starlette's endpoint
    path = Path(FOLDER) / name

    def asset(_: Request) -> Response:
        return FileResponse(path, media_type=kind, headers={"Cache-Control": "max-age=300"})

    return asset
