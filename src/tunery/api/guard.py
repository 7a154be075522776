"""Keeps web pages away from a server on loopback: foreign origins and unknown host names get 403.

A page in the user's browser can send requests to 127.0.0.1, and by DNS rebinding under a name of its own. Neither an
Origin header of another site nor such a Host header ever comes from an SDK.
"""

from urllib.parse import urlsplit

import orjson
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from tunery.errors import Forbidden


class OriginGuard:
    """`hosts` are the names under which the server may be called; None takes any (behind a proxy, with keys)."""

    def __init__(self, app: ASGIApp, *, hosts: frozenset[str] | None) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            refused = self._refuse(Headers(scope=scope))
            if refused is not None:
                await _send_error(refused, send)
                return
        await self._app(scope, receive, send)

    def _refuse(self, headers: Headers) -> Forbidden | None:
        host = headers.get("host")
        name = _name(f"//{host}") if host else None
        if self._hosts is not None and name is not None and name not in self._hosts:
            return Forbidden(f"The host name '{name}' is not one this server answers to.", code="host_not_allowed")
        origin = headers.get("origin")
        if origin is not None and _authority(origin) != (host or "").lower():
            return Forbidden(f"Requests from the origin '{origin}' are not allowed.", code="origin_not_allowed")
        return None


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return ""


def _authority(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return origin


async def _send_error(error: Forbidden, send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"x-should-retry", b"false")]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": orjson.dumps(error.body())})
