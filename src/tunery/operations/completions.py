"""Create a completion: a raw prompt continued by a base or tuned model."""

from collections.abc import AsyncIterator
from typing import Any

from tunery.operations.access import Context
from tunery.operations.chat import begin
from tunery.serving import completions
from tunery.serving.answers import Served
from tunery.types.completions import CreateCompletion


async def create(context: Context, served: Served, request: CreateCompletion) -> dict[str, Any]:
    return await completions.complete(context.engine, served, request)


async def stream(context: Context, served: Served, request: CreateCompletion) -> AsyncIterator[dict[str, Any]]:
    """The first chunk is made before this returns, so that a refused request is still an HTTP error."""
    return await begin(completions.stream(context.engine, served, request))
