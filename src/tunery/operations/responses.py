"""Create a response: text in, text out, nothing stored."""

from collections.abc import AsyncIterator
from typing import Any

from tunery.operations.access import Context
from tunery.operations.chat import begin
from tunery.serving import responses
from tunery.serving.answers import Served
from tunery.types.responses import CreateResponse


async def create(context: Context, served: Served, request: CreateResponse) -> dict[str, Any]:
    return await responses.complete(context.engine, served, request)


async def stream(context: Context, served: Served, request: CreateResponse) -> AsyncIterator[dict[str, Any]]:
    """The first event is made before this returns, so that a refused request is still an HTTP error."""
    return await begin(responses.stream(context.engine, served, request))
