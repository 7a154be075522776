"""Create a response: text in, text out, nothing stored."""

from collections.abc import AsyncIterator
from typing import Any

from tunery.operations.access import Caller, Context
from tunery.operations.chat import begin, find_served
from tunery.serving import responses
from tunery.types.responses import CreateResponse


async def create(context: Context, caller: Caller, request: CreateResponse) -> dict[str, Any]:
    served = await find_served(context, caller, request.model)
    return await responses.complete(context.engine, served, request)


async def stream(context: Context, caller: Caller, request: CreateResponse) -> AsyncIterator[dict[str, Any]]:
    """The first event is made before this returns, so that a refused request is still an HTTP error."""
    served = await find_served(context, caller, request.model)
    return await begin(responses.stream(context.engine, served, request))
