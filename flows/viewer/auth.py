"""Who may look: everybody on this machine, or whoever knows Prefect's user and password.

PREFECT_SERVER_API_AUTH_STRING ("user:password") guards Prefect's server and, the same, its viewer.
Without it the viewer answers on loopback alone, and only to requests that name a loopback host: a
page of the web that has its own name point here gets nothing.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import os

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from schemas.errors import UserError

AUTH_STRING = "PREFECT_SERVER_API_AUTH_STRING"
HEALTH = "/health"  # says nothing, so nobody is asked


def auth_string() -> str | None:
    """`user:password` of the environment."""
    return os.environ.get(AUTH_STRING) or None


def require_safe(host: str) -> None:
    """Raise UserError for an address that others can reach while no password is set."""
    user, _, password = (auth_string() or "").partition(":")
    if not is_loopback(host) and not (user and password):
        raise UserError(
            f"--host {host}: beyond this machine all of it would be open to everybody; set "
            f"{AUTH_STRING}=USER:PASSWORD first, or leave --host out"
        )


def is_loopback(host: str) -> bool:
    """Whether a name or an address, with or without a port, is this machine for itself."""
    name = host.strip().lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Guard:
    """ASGI middleware: 401 without the password, 400 for a foreign name where there is none."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._secret = auth_string()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == HEALTH:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = None
        if self._secret is None:
            if not is_loopback(headers.get("host", "")):
                refusal = PlainTextResponse("this viewer answers to localhost alone\n", 400)
        elif not _knows(headers.get("authorization", ""), self._secret):
            refusal = PlainTextResponse(
                "user and password, please\n",
                401,
                {"WWW-Authenticate": 'Basic realm="mmbert", charset="UTF-8"'},
            )
        await (refusal or self._app)(scope, receive, send)


def _knows(authorization: str, secret: str) -> bool:
    """Whether a header of basic authentication holds the secret; in constant time."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        given = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return False
    return scheme.lower() == "basic" and hmac.compare_digest(given, secret.encode())
