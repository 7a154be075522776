"""The engine port: whoever turns prompt tokens into sampled tokens, in this machine or another, ours or vLLM's."""

from collections.abc import AsyncIterator
from typing import Protocol

from tunery.types.sampling import Sampled, SampleRequest


class ChatEngine(Protocol):
    """Samples on a base model, with or without an adapter on top."""

    def sample(self, base_id: str, request: SampleRequest) -> AsyncIterator[Sampled]:
        """The answer as it grows; the last item carries the finish reason. `request.id` is chosen by the engine.

        Raises ApiError (EngineUnavailable while no host can serve the base, InvalidRequest for a prompt that is too
        long). Closing the iterator cancels the request.
        """
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...


class EngineLocator(Protocol):
    """Finds the serving host of a base, bringing one up where there is none."""

    async def __call__(self, base_id: str, *, lost: str | None) -> str:
        """The host's socket path; `lost` is a path that no longer answers. Raises EngineUnavailable."""
        ...
