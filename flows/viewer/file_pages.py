"""Files of a store as they are asked for: folders listed, JSON and tables shown, bytes streamed.

A browser gets a page of JSON, Arrow and Parquet; `?raw`, and whatever is no browser, gets bytes.
Reports and cards are pages of their own: they are served in a sandbox, as strangers.
"""

from __future__ import annotations

import json
import mimetypes
from urllib.parse import quote

import pyarrow as pa
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from flows.viewer import heads
from flows.viewer.files import Place, byte_range, find
from flows.viewer.templates import HEADERS, render

MOST_SHOWN_BYTES = 4 << 20  # of a JSON file on a page
TEXTS = (".json", ".jsonl", ".log", ".md", ".toml", ".txt", ".csv")
OWN_PAGES = ("card.html", "index.html")  # that this project has drawn
# They draw themselves, and need neither our address nor anybody else's.
SANDBOX = (
    "sandbox allow-scripts allow-popups allow-top-navigation-by-user-activation; default-src "
    "'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src 'self' data:"
)


def files(request: Request) -> Response:
    """A folder or a file of the store."""
    path = request.path_params.get("path", "")
    place = find(request.app.state.shelf.store, path)
    if place is None:
        raise HTTPException(404, f"this store shows no file {path}")
    if place.is_folder:
        if not request.url.path.endswith("/"):
            return RedirectResponse(f"/files/{quote(place.path)}{'/' if place.path else ''}", 307)
        return render(
            request, "folder", place=place, entries=place.entries(), crumbs=_crumbs(place)
        )
    wants_page = "text/html" in request.headers.get("accept", "")
    if wants_page and "raw" not in request.query_params:
        if place.name.endswith(".json"):
            return _json(request, place)
        if place.name.endswith(heads.KINDS):
            return _table(request, place)
    return _bytes(request, place)


def _json(request: Request, place: Place) -> Response:
    data = place.read(MOST_SHOWN_BYTES)
    try:
        text = json.dumps(json.loads(data), indent=2, ensure_ascii=False)
    except ValueError:  # cut, or none
        text = data.decode(errors="replace")
    is_cut = place.num_bytes > MOST_SHOWN_BYTES
    return render(request, "text", place=place, text=text, is_cut=is_cut, crumbs=_crumbs(place))


def _table(request: Request, place: Place) -> Response:
    try:
        head = heads.head_of(place.url)
    except (pa.ArrowInvalid, OSError) as error:
        raise HTTPException(422, f"{place.path} is no table: {error}") from error
    return render(request, "table", place=place, head=head, crumbs=_crumbs(place))


def _bytes(request: Request, place: Place) -> Response:
    headers = {name: value for name, value in HEADERS.items() if name != "Cache-Control"}
    headers |= {"Accept-Ranges": "bytes", "Vary": "Accept", "Cache-Control": "no-cache"}
    kind = mimetypes.guess_type(place.name)[0] or "application/octet-stream"
    if place.name in OWN_PAGES:
        kind = "text/html; charset=utf-8"
        headers["Content-Security-Policy"] = SANDBOX
    elif place.name.endswith(TEXTS) or kind in ("text/html", "image/svg+xml"):
        kind = "text/plain; charset=utf-8"  # whose scripts nobody knows
    status, first, last = 200, 0, place.num_bytes - 1
    if asked := request.headers.get("range"):
        found = byte_range(asked, place.num_bytes)
        if found is None:
            return Response(
                status_code=416, headers={"Content-Range": f"bytes */{place.num_bytes}"}
            )
        if found != (first, last):
            (first, last), status = found, 206
            headers["Content-Range"] = f"bytes {first}-{last}/{place.num_bytes}"
    headers |= {"Content-Length": str(last - first + 1), "Content-Type": kind}
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return StreamingResponse(place.chunks(first, last), status, headers)


def _crumbs(place: Place) -> list[tuple[str, str]]:
    """Name and address of each folder on the way."""
    found, path = [("files", "/files/")], "/files/"
    for part in place.path.split("/") if place.path else []:
        path += f"{quote(part)}/"
        found.append((part, path))
    return found
