"""The text subset of the responses endpoint on the wire."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tunery.types.chat import Message


class Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore")


class InputText(Lenient):
    type: Literal["input_text", "output_text"]
    text: str


class InputMessage(Lenient):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[InputText]

    def as_message(self) -> Message:
        content = self.content
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        return Message(role=self.role, content=text)


class CreateResponse(Lenient):
    """POST /responses, for text in and text out; nothing is stored."""

    model: str
    input: str | Annotated[list[InputMessage], Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 1.0
    top_p: Annotated[float, Field(ge=0, le=1)] | None = 1.0
    metadata: dict[str, str] | None = None
    stream: bool | None = False
    previous_response_id: None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None

    @property
    def messages(self) -> list[Message]:
        head = [Message(role="system", content=self.instructions)] if self.instructions else []
        if isinstance(self.input, str):
            return [*head, Message(role="user", content=self.input)]
        return [*head, *(each.as_message() for each in self.input)]

    @property
    def stops(self) -> list[str]:
        return []

    @property
    def tokens_max(self) -> int | None:
        return self.max_output_tokens

    @property
    def alternatives(self) -> int:
        return 0

    # What other endpoints let a caller choose and this one does not.
    @property
    def seed(self) -> None:
        return None

    @property
    def frequency_penalty(self) -> None:
        return None

    @property
    def presence_penalty(self) -> None:
        return None

    @property
    def logit_bias(self) -> None:
        return None


def text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def message_item(item_id: str, *, status: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": item_id, "type": "message", "status": status, "content": parts, "role": "assistant"}


def response_object(
    response_id: str,
    request: CreateResponse,
    *,
    created_at: int,
    status: str,
    output: list[dict[str, Any]],
    usage: dict[str, Any] | None,
) -> dict[str, Any]:
    """The response in its present state; `incomplete` means that it was cut at `max_output_tokens`."""
    incomplete = {"reason": "max_output_tokens"} if status == "incomplete" else None
    return {
        "id": response_id,
        "object": "response",
        "created_at": created_at,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": incomplete,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "model": request.model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "store": False,
        "temperature": request.temperature,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": request.top_p,
        "truncation": "disabled",
        "usage": usage,
        "metadata": request.metadata or {},
    }


def response_usage(input_tokens: int, output_tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input_tokens + output_tokens,
    }
