"""Chat completions over the API, whole or word by word."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import httpx

from tunery.client.failures import CutShort, failure_of
from tunery.client.objects import Message
from tunery.client.port import Connection

ANSWER_SECONDS_MAX = 600.0
DATA = "data:"
DONE = "[DONE]"


class Chat:
    """`options` are members of the request: temperature, max_tokens, seed and so on."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, model: str, messages: Sequence[Message], **options: Any) -> dict[str, Any]:
        """The whole completion object."""
        body = {"model": model, "messages": list(messages)} | options
        return self._connection.request("POST", "/chat/completions", json=body, timeout=ANSWER_SECONDS_MAX)

    def stream(self, model: str, messages: Sequence[Message], **options: Any) -> Iterator[dict[str, Any]]:
        """The completion's chunks as they are sampled. Raises CutShort when the stream ends before its end mark."""
        body = {"model": model, "messages": list(messages), "stream": True} | options
        with self._connection.stream("POST", "/chat/completions", json=body, timeout=ANSWER_SECONDS_MAX) as response:
            yield from _chunks(response)

    def stream_text(self, model: str, messages: Sequence[Message], **options: Any) -> Iterator[str]:
        """The first choice's text, piece by piece."""
        for chunk in self.stream(model, messages, **options):
            for choice in chunk["choices"][:1]:
                if text := choice["delta"].get("content"):
                    yield text


def _chunks(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """Server-sent events to chunks; an error in mid-stream comes as an event with the error body."""
    for line in response.iter_lines():
        if not line.startswith(DATA):
            continue
        data = line[len(DATA) :].strip()
        if data == DONE:
            return
        chunk = json.loads(data)
        if "error" in chunk:
            raise failure_of(chunk["error"], status=response.status_code)
        yield chunk
    raise CutShort("The answer broke off before its end; the server's log says why.")
