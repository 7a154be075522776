"""Length-framed msgpack messages over a stream: between runner and host, and between server and engine.

A frame is a 4-byte big-endian length and so many bytes of msgpack. Both ends decode into one tagged union, so an
unknown or malformed message raises msgspec.ValidationError at the edge instead of travelling on.
"""

import asyncio
import socket
import struct
from typing import Any, Generic, TypeVar

import msgspec

FRAME_BYTES_MAX = 64 * 1024 * 1024
_LENGTH = struct.Struct(">I")
_encoder = msgspec.msgpack.Encoder()

Message = TypeVar("Message")


def encode(message: Any) -> bytes:
    """The message as one frame."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


class Decoder(Generic[Message]):
    """Bytes in, messages out; keeps an incomplete frame until the rest arrives."""

    def __init__(self, union: Any) -> None:
        self._decoder = msgspec.msgpack.Decoder(union)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Every message completed by `data`, in order. Raises ValueError on a frame over the limit."""
        self._buffer += data
        messages: list[Message] = []
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            if length > FRAME_BYTES_MAX:
                raise ValueError(f"a frame of {length} bytes is over the limit of {FRAME_BYTES_MAX}")
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            messages.append(self._decoder.decode(memoryview(self._buffer)[start + _LENGTH.size : end].tobytes()))
            start = end
        del self._buffer[:start]
        return messages


async def read(reader: asyncio.StreamReader, decoder: msgspec.msgpack.Decoder[Message]) -> Message | None:
    """The next message, or None at the end of the stream."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > FRAME_BYTES_MAX:
            raise ValueError(f"a frame of {length} bytes is over the limit of {FRAME_BYTES_MAX}")
        return decoder.decode(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionResetError, BrokenPipeError):
        return None


def receive(connection: socket.socket, decoder: Decoder[Message]) -> list[Message] | None:
    """Messages of one blocking read; None at the end of the stream."""
    try:
        data = connection.recv(1 << 16)
    except ConnectionResetError:
        return None
    return decoder.feed(data) if data else None
