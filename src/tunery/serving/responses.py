"""The responses endpoint over the same sampling: one text message out, whole or as a stream of typed events."""

import time
from collections.abc import AsyncIterator
from typing import Any

from tunery import ids
from tunery.serving.answers import Choice, Served, finish_all, grow, new_choice, sample_requests
from tunery.serving.chat import render_messages
from tunery.serving.port import ChatEngine
from tunery.types.responses import CreateResponse, message_item, response_object, response_usage, text_part


async def complete(engine: ChatEngine, served: Served, request: CreateResponse) -> dict[str, Any]:
    draft = Draft(served, request)
    [draft.choice] = await finish_all(engine, served, draft.samples, request)
    return draft.finished()


async def stream(engine: ChatEngine, served: Served, request: CreateResponse) -> AsyncIterator[dict[str, Any]]:
    """Events in the documented order, numbered from 0."""
    draft = Draft(served, request)
    number = 0
    async for event in _events(engine, served, draft):
        yield {"type": event.pop("type"), "sequence_number": number} | event
        number += 1


class Draft:
    """A response in the making."""

    def __init__(self, served: Served, request: CreateResponse) -> None:
        self._request = request
        self.prompt = render_messages(served, request.messages, tools=None)
        self.samples = sample_requests(served, self.prompt, request, n=1)
        self.choice: Choice = new_choice(served, request, 0)
        self.response_id = ids.response()
        self.item_id = ids.output_message()
        self._created_at = int(time.time())

    def begun(self) -> dict[str, Any]:
        return self._object("in_progress", output=[], usage=None)

    def finished(self) -> dict[str, Any]:
        status = "incomplete" if self.choice.finish_reason == "length" else "completed"
        usage = response_usage(len(self.prompt), self.choice.tokens)
        return self._object(status, output=[self.item()], usage=usage)

    def item(self) -> dict[str, Any]:
        status = "incomplete" if self.choice.finish_reason == "length" else "completed"
        return message_item(self.item_id, status=status, parts=[text_part(self.choice.text)])

    def _object(self, status: str, *, output: list[dict[str, Any]], usage: dict[str, Any] | None) -> dict[str, Any]:
        return response_object(
            self.response_id, self._request, created_at=self._created_at, status=status, output=output, usage=usage
        )


async def _events(engine: ChatEngine, served: Served, draft: Draft) -> AsyncIterator[dict[str, Any]]:
    growing = grow(engine, served, draft.samples[0], draft.choice)
    # The engine has accepted the request before the response is said to exist.
    await anext(growing)
    place = {"item_id": draft.item_id, "output_index": 0, "content_index": 0}
    yield {"type": "response.created", "response": draft.begun()}
    yield {"type": "response.in_progress", "response": draft.begun()}
    empty = message_item(draft.item_id, status="in_progress", parts=[])
    yield {"type": "response.output_item.added", "output_index": 0, "item": empty}
    yield {"type": "response.content_part.added", **place, "part": text_part("")}
    if piece := draft.choice.take():
        yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
    async for _ in growing:
        if piece := draft.choice.take():
            yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
    text = draft.choice.text
    yield {"type": "response.output_text.done", **place, "text": text, "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": text_part(text)}
    yield {"type": "response.output_item.done", "output_index": 0, "item": draft.item()}
    final = draft.finished()
    yield {"type": f"response.{final['status']}", "response": final}
