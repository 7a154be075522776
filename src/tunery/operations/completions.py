"""Create a completion: a raw prompt continued by a base or tuned model."""

from collections.abc import AsyncIterator
from typing import Any

from tunery.operations.access import Caller, Context
from tunery.operations.chat import begin, find_served
from tunery.serving import completions
from tunery.types.completions import CreateCompletion


async def create(context: Context, caller: Caller, request: CreateCompletion) -> dict[str, Any]:
    served = await find_served(context, caller, request.model)
    return await completions.complete(context.engine, served, request)


async def stream(context: Context, caller: Caller, request: CreateCompletion) -> AsyncIterator[dict[str, Any]]:
    """The first chunk is made before this returns, so that a refused request is still an HTTP error."""
    served = await find_served(context, caller, request.model)
    return await begin(completions.stream(context.engine, served, request))
