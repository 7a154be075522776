"""Completions (the endpoint of base models) on the wire."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tunery.types.chat import StreamOptions

TOKENS_DEFAULT = 16


class CreateCompletion(BaseModel):
    """POST /completions. Prompts given as tokens are taken as they are."""

    model_config = ConfigDict(extra="ignore")

    model: str
    prompt: str | list[str] | list[int] | list[list[int]] = ""
    max_tokens: Annotated[int, Field(ge=1)] | None = TOKENS_DEFAULT
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 1.0
    top_p: Annotated[float, Field(ge=0, le=1)] | None = 1.0
    n: Annotated[int, Field(ge=1, le=128)] | None = 1
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    seed: int | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    echo: bool | None = False
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = 0.0
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = 0.0
    logit_bias: dict[int, Annotated[float, Field(ge=-100, le=100)]] | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None

    @property
    def prompts(self) -> list[str | list[int]]:
        """Each prompt, as text or tokens."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        tokens = [item for item in self.prompt if isinstance(item, int)]
        return [tokens] if tokens else [item for item in self.prompt if not isinstance(item, int)]

    @property
    def stops(self) -> list[str]:
        if self.stop is None:
            return []
        return [self.stop] if isinstance(self.stop, str) else self.stop

    @property
    def tokens_max(self) -> int | None:
        return self.max_tokens

    @property
    def alternatives(self) -> int:
        return self.logprobs or 0


def text_completion_object(
    completion_id: str,
    *,
    created: int,
    model: str,
    choices: list[dict[str, Any]],
    fingerprint: str,
    usage: dict[str, Any] | None = None,
) -> dict[str, Any]:
    wire = {
        "id": completion_id,
        "object": "text_completion",
        "created": created,
        "model": model,
        "choices": choices,
        "system_fingerprint": fingerprint,
    }
    return wire | {"usage": usage} if usage is not None else wire
