"""What can go wrong between a client and the server, each with a message for the person at the terminal.

ClientError
├── ApiFailure     the server answered with an error body
├── Unreachable    nothing answers at the address
├── TimedOut       the server took too long, or a wait came to its end
└── CutShort       the connection broke in the middle of an answer
"""

from typing import Any

import httpx

BODY_CHARACTERS_MAX = 200


class ClientError(Exception):
    """Base of every failure that the client raises."""


class ApiFailure(ClientError):
    """A refusal: the HTTP status, and `message`, `code` and `param` of the error body (null where it has none)."""

    def __init__(self, message: str, *, status: int, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.param = param

    @property
    def may_pass(self) -> bool:
        """Whether the same request can succeed a moment later."""
        return self.status == 429 or self.status >= 500


class Unreachable(ClientError):
    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"Nothing answers at {url} ({reason}).\n"
            "Start a server with `tunery serve`, or name another one with --base-url or TUNERY_BASE_URL."
        )
        self.url = url


class TimedOut(ClientError):
    pass


class CutShort(ClientError):
    pass


def api_failure(response: httpx.Response) -> ApiFailure:
    """The failure that a read answer describes; an answer without an error body is quoted."""
    body = _json(response)
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        return failure_of(body["error"], status=response.status_code)
    text = " ".join(response.text.split())[:BODY_CHARACTERS_MAX]
    quoted = f": {text}" if text else ""
    return ApiFailure(
        f"{response.url} answered {response.status_code} {response.reason_phrase} and no error body of the API{quoted}",
        status=response.status_code,
    )


def failure_of(error: dict[str, Any], *, status: int) -> ApiFailure:
    """`error` is the member of that name in an error body; other servers leave some of its keys out."""
    message = error.get("message") or f"The server answered with status {status}."
    return ApiFailure(str(message), status=status, code=error.get("code"), param=error.get("param"))


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None
