"""The engine port over sockets: one connection to each serving host, many requests on it."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec

from tunery import frames
from tunery.errors import ApiError, EngineUnavailable, InvalidRequest, NotFound, Overloaded, ServerError
from tunery.serving.port import EngineLocator
from tunery.types.sampling import Cancel, FromEngine, Sampled, SampleFailed, SampleRequest

QUEUE_FULL_RETRY_SECONDS = 1
LOST_RETRY_SECONDS = 1


class HostConnection:
    """One socket to one serving host; dispatches its answers to whoever waits for them."""

    def __init__(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.path = path
        self._reader = reader
        self._writer = writer
        self._waiting: dict[int, asyncio.Queue[Sampled | SampleFailed | None]] = {}
        self._receiving = asyncio.create_task(self._receive())

    @classmethod
    async def open(cls, path: str) -> "HostConnection":
        reader, writer = await asyncio.open_unix_connection(path)
        return cls(path, reader, writer)

    @property
    def is_open(self) -> bool:
        return not self._receiving.done()

    async def sample(self, request: SampleRequest) -> AsyncIterator[Sampled]:
        queue: asyncio.Queue[Sampled | SampleFailed | None] = asyncio.Queue()
        frame = frames.encode(request)
        self._waiting[request.id] = queue
        self._writer.write(frame)
        finished = False
        try:
            while True:
                item = await queue.get()
                if item is None:
                    message = "The engine stopped while answering. Please try again."
                    raise EngineUnavailable(message, retry_after_seconds=LOST_RETRY_SECONDS)
                if isinstance(item, SampleFailed):
                    finished = True
                    raise _api_error(item)
                finished = item.finish_reason is not None
                yield item
                if finished:
                    return
        finally:
            del self._waiting[request.id]
            if not finished and self.is_open:
                self._writer.write(frames.encode(Cancel(request.id)))

    async def close(self) -> None:
        self._receiving.cancel()
        self._writer.close()
        with suppress(asyncio.CancelledError, OSError):
            await self._receiving

    async def _receive(self) -> None:
        decoder: msgspec.msgpack.Decoder[Sampled | SampleFailed] = msgspec.msgpack.Decoder(FromEngine)
        try:
            while (message := await frames.read(self._reader, decoder)) is not None:
                queue = self._waiting.get(message.id)
                if queue is not None:
                    queue.put_nowait(message)
        finally:
            self._writer.close()
            for queue in self._waiting.values():
                queue.put_nowait(None)


class SocketEngines:
    """Every serving host of this machine behind the engine port."""

    def __init__(self, locate: EngineLocator) -> None:
        self._locate = locate
        self._connections: dict[str, HostConnection] = {}
        self._connecting: dict[str, asyncio.Lock] = {}
        self._ids = itertools.count(1)

    async def sample(self, base_id: str, request: SampleRequest) -> AsyncIterator[Sampled]:
        connection = await self._connection(base_id)
        async for item in connection.sample(msgspec.structs.replace(request, id=next(self._ids))):
            yield item

    async def close(self) -> None:
        for connection in self._connections.values():
            await connection.close()

    async def _connection(self, base_id: str) -> HostConnection:
        async with self._connecting.setdefault(base_id, asyncio.Lock()):
            known = self._connections.get(base_id)
            if known is not None and known.is_open:
                return known
            path = await self._locate(base_id, lost=None)
            try:
                connection = await HostConnection.open(path)
            except OSError:
                path = await self._locate(base_id, lost=path)
                connection = await self._open(path)
            self._connections[base_id] = connection
            return connection

    async def _open(self, path: str) -> HostConnection:
        try:
            return await HostConnection.open(path)
        except OSError as error:
            raise EngineUnavailable(f"The engine cannot be reached: {error.strerror}.", retry_after_seconds=2) from None


def _api_error(failed: SampleFailed) -> ApiError:
    if failed.code in ("context_length_exceeded", "invalid_value"):
        return InvalidRequest(failed.message, code=failed.code)
    if failed.code == "rate_limit_exceeded":
        return Overloaded(failed.message, code=failed.code, retry_after_seconds=QUEUE_FULL_RETRY_SECONDS)
    if failed.code == "model_not_found":
        return NotFound(failed.message, code=failed.code, param="model")
    return ServerError(failed.message, code=failed.code)
