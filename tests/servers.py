"""A web server that fails on purpose: a folder, or another server behind it, by a script of faults.

    with Faulty(folder) as server:          ranges, ETags, an index page of every folder
    with Faulty(upstream="http://...")      the same faults in front of a server, moto's say
        server.faults = [Fault("unavailable"), None, Fault("cut", after=100)]

A GET takes the next fault of the script, if any is left; index pages only if `pages_fail`. Faults:

    unavailable   503
    cut           the connection ends `after` bytes into the body
    short         a body of `after` bytes whose headers say that this is all
    page          a page that says that it is busy, with status 200
    hang          nothing comes until the client goes
    reset         the connection ends before anything is said
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import fsspec
import pytest

_HOP = {"connection", "transfer-encoding", "content-length", "server", "date", "keep-alive"}


@dataclass(frozen=True)
class Fault:
    kind: Literal["unavailable", "cut", "short", "page", "hang", "reset"]
    after: int = 0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Faulty:
    """A server of a folder or in front of `upstream`, with what it was asked and did."""

    def __init__(
        self,
        folder: Path | None = None,
        upstream: str = "",
        etags: bool = True,
        ranges: bool = True,
    ) -> None:
        self.folder, self.upstream, self.etags, self.ranges = folder, upstream, etags, ranges
        self.faults: list[Fault | None] = []
        self.asked: list[tuple[str, str, str]] = []  # method, path, range
        self.failed = 0
        self.pages_fail = True
        self.down = False  # 503 to whatever is asked
        self._closing = threading.Event()
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                owner._handle(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Faulty:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, asked: BaseHTTPRequestHandler) -> None:
        body = asked.rfile.read(int(asked.headers.get("Content-Length") or 0))
        with self._lock:
            self.asked.append((asked.command, asked.path, asked.headers.get("Range", "")))
            may = asked.command == "GET" and (self.pages_fail or not self._is_page(asked.path))
            fault = self.faults.pop(0) if may and self.faults else None
            self.failed += fault is not None
        if fault is not None and fault.kind in ("hang", "reset"):
            if fault.kind == "hang":
                self._closing.wait(20)
            asked.close_connection = True
            asked.connection.shutdown(socket.SHUT_RDWR)
            return
        answer = self._forward(asked, body) if self.upstream else self._file(asked)
        if self.down or (fault is not None and fault.kind == "unavailable"):
            answer = Answer(503, {}, b"later")
        if fault is not None and fault.kind == "page":
            answer = Answer(200, {"Content-Type": "text/html"}, b"<p>Busy: come back later.</p>")
        if fault is not None and fault.kind == "short":
            answer = Answer(answer.status, answer.headers, answer.body[: fault.after])
        asked.send_response(answer.status)
        for name, value in answer.headers.items():
            asked.send_header(name, value)
        told = answer.headers.get("x-length") or str(len(answer.body))
        asked.send_header("Content-Length", told)
        asked.end_headers()
        if asked.command == "HEAD":
            return
        if fault is not None and fault.kind == "cut":
            asked.wfile.write(answer.body[: fault.after])
            asked.wfile.flush()
            asked.close_connection = True
            asked.connection.shutdown(socket.SHUT_RDWR)
            return
        asked.wfile.write(answer.body)

    def _is_page(self, path: str) -> bool:
        return self.folder is not None and (self.folder / path.lstrip("/")).is_dir()

    def _file(self, asked: BaseHTTPRequestHandler) -> Answer:
        assert self.folder is not None
        path = self.folder / unquote(urlsplit(asked.path).path).lstrip("/")
        if path.is_dir():
            names = sorted(p.name + "/" * p.is_dir() for p in path.iterdir())
            page = "".join(f'<a href="{name}">{name}</a>\n' for name in names)
            return Answer(200, {"Content-Type": "text/html"}, page.encode())
        if not path.is_file():
            return Answer(404, {}, b"")
        data = path.read_bytes()
        headers = {"Content-Type": "application/octet-stream", "Last-Modified": _changed(path)}
        if self.etags:
            headers["ETag"] = f'"{hashlib.md5(data).hexdigest()}"'
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", asked.headers.get("Range", ""))
        if wanted and self.ranges:
            first, last = int(wanted[1]), min(int(wanted[2]), len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            return Answer(206, headers, data[first : last + 1])
        return Answer(200, headers, data)

    def _forward(self, asked: BaseHTTPRequestHandler, body: bytes) -> Answer:
        upstream = urlsplit(self.upstream)
        connection = http.client.HTTPConnection(str(upstream.hostname), upstream.port)
        headers = {k: v for k, v in asked.headers.items() if k.lower() not in _HOP - {"host"}}
        connection.request(asked.command, asked.path, body, headers)
        got = connection.getresponse()
        kept = {k: v for k, v in got.getheaders() if k.lower() not in _HOP}
        if asked.command == "HEAD" and got.getheader("Content-Length"):
            kept["x-length"] = str(got.getheader("Content-Length"))
        data = got.read()
        connection.close()
        return Answer(got.status, kept, data)


def _changed(path: Path) -> str:
    from email.utils import formatdate

    return formatdate(path.stat().st_mtime, usegmt=True)


@contextmanager
def moto_s3(patch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    """s3:// is moto's server on loopback, behind a `Faulty`; its objects are of this process."""
    from moto.server import ThreadedMotoServer

    kind = fsspec.get_filesystem_class("s3")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line a request
    try:
        host, port = server.get_host_and_port()
        with Faulty(upstream=f"http://{host}:{port}") as proxy:
            patch.setenv("AWS_ENDPOINT_URL", proxy.url)
            patch.setenv("AWS_ACCESS_KEY_ID", "testing")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            kind.clear_instance_cache()
            yield proxy
    finally:
        server.stop()
        kind.clear_instance_cache()
