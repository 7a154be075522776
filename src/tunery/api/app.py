"""Builds the app; turns every error into the API's error body and gives every answer its headers."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunery import ids
from tunery.api.guard import OriginGuard
from tunery.api.routes import answer, routes
from tunery.errors import ApiError, InvalidRequest, NotFound, ServerError
from tunery.observability import logger
from tunery.operations.access import Context

API_VERSION = "2020-10-01"
log = logger("api")


class Edge:
    """Adds the headers that clients know from OpenAI to every answer, also to the one that tells of our own bug."""

    def __init__(self, app: ASGIApp, *, organization: str) -> None:
        self._app = app
        self._fixed = [
            (b"openai-version", API_VERSION.encode()),
            (b"openai-organization", organization.encode()),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = ids.request()
        scope["state"]["request_id"] = request_id
        started = time.perf_counter()

        answered = False

        async def send_with_headers(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                milliseconds = int((time.perf_counter() - started) * 1000)
                message["headers"] += [
                    (b"x-request-id", request_id.encode()),
                    (b"openai-processing-ms", str(milliseconds).encode()),
                    *self._fixed,
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            log.exception("a request failed", request_id=request_id, path=scope["path"])
            if answered:
                raise
            await _bug(request_id)(scope, receive, send_with_headers)


def build_app(context: Context, *, hosts: frozenset[str] | None, on_stop: Callable[[], Any]) -> Starlette:
    """The ASGI app over `context`, answering to the names in `hosts`. `on_stop` is awaited when the server stops."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await on_stop()

    app = Starlette(
        routes=routes(),
        lifespan=lifespan,
        exception_handlers={ApiError: _api_error, HTTPException: _http_error},
    )
    app.router.redirect_slashes = False
    app.state.context = context
    app.add_middleware(OriginGuard, hosts=hosts)
    app.add_middleware(Edge, organization=context.organization)
    return app


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    response = answer(error.body(), status=error.status)
    if error.retry_after_seconds is not None:
        response.headers["retry-after"] = str(error.retry_after_seconds)
    else:
        # A permanent refusal: the official SDKs obey this and do not ask again.
        response.headers["x-should-retry"] = "false"
    return response


async def _http_error(request: Request, error: Exception) -> Response:
    """What the framework refuses by itself: unknown routes and methods."""
    assert isinstance(error, HTTPException)
    message = f"Invalid URL ({request.method} {request.url.path})"
    if error.status_code == 405:
        return await _api_error(request, _method_error(f"Not allowed to {request.method} on {request.url.path}"))
    if error.status_code == 404:
        return await _api_error(request, NotFound(message))
    return await _api_error(request, InvalidRequest(str(error.detail)))


def _bug(request_id: str) -> Response:
    told = ServerError(
        "The server had an error while processing your request. Its log has the details under the request id "
        f"{request_id}."
    )
    return answer(told.body(), status=told.status)


class MethodNotAllowed(ApiError):
    status = 405


def _method_error(message: str) -> ApiError:
    return MethodNotAllowed(message, code="method_not_supported")
