"""The app around the routes: headers on everything, and our own bugs told without internals."""

import asyncio
from typing import Any

import httpx
import pytest

from tunery.api.app import Edge


def ask(app: Any) -> httpx.Response:
    async def get() -> httpx.Response:
        # The server gives every request a state; httpx's transport does not.
        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            await Edge(app, organization="acme")(scope | {"state": {}}, receive, send)

        transport = httpx.ASGITransport(with_state)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/secret-path")

    return asyncio.run(get())


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": scope["state"]["request_id"].encode()})


async def fail(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError("password=hunter2")


async def fail_late(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise RuntimeError("too late")


def test_answers_carry_the_id_that_the_request_had() -> None:
    told = ask(answer)
    assert told.headers["x-request-id"] == told.text
    assert (told.headers["openai-organization"], told.headers["openai-version"]) == ("acme", "2020-10-01")


def test_bug_becomes_an_error_body_with_its_id_and_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    told = ask(fail)
    error = told.json()["error"]
    assert told.status_code == 500
    assert list(error) == ["message", "type", "param", "code"]
    assert error["type"] == "server_error"
    assert told.headers["x-request-id"] in error["message"]
    assert "hunter2" not in told.text
    assert "x-should-retry" not in told.headers, "a bug may be gone the next time"
    assert told.headers["openai-version"] == "2020-10-01"
    logged = capsys.readouterr()
    assert "hunter2" in logged.out + logged.err, "the log has what the answer hides"


def test_bug_behind_the_first_byte_breaks_the_connection() -> None:
    with pytest.raises(RuntimeError, match="too late"):
        ask(fail_late)
