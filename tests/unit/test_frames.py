"""Frames cut and joined anywhere, and what is no frame."""

import asyncio
import socket
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunery import frames
from tunery.training.reports import Ack, Drain, Heartbeat, ToHost

MESSAGES: list[Any] = [Heartbeat(1), Ack("ftjob-1", 2, 3), Drain(), Heartbeat(2**40)]


@given(st.lists(st.sampled_from(MESSAGES), max_size=6), st.lists(st.integers(1, 40)))
def test_decoder_gives_every_message_once_however_the_bytes_are_cut(sent: list[Any], sizes: list[int]) -> None:
    stream = b"".join(frames.encode(message) for message in sent)
    decoder: frames.Decoder[Any] = frames.Decoder(ToHost)
    received = []
    for size in [*sizes, len(stream)]:
        received += decoder.feed(stream[:size])
        stream = stream[size:]
    assert received == sent


def test_frame_over_the_limit_is_refused_before_its_bytes_arrive() -> None:
    decoder: frames.Decoder[Any] = frames.Decoder(ToHost)
    with pytest.raises(ValueError, match="over the limit"):
        decoder.feed(struct.pack(">I", frames.FRAME_BYTES_MAX + 1))


@pytest.mark.parametrize("body", [b"\xc1", msgspec.msgpack.encode({"type": "Unknown"}), msgspec.msgpack.encode([1])])
def test_what_is_no_message_is_refused_at_the_edge(body: bytes) -> None:
    decoder: frames.Decoder[Any] = frames.Decoder(ToHost)
    with pytest.raises(msgspec.MsgspecError):
        decoder.feed(struct.pack(">I", len(body)) + body)


@pytest.mark.parametrize("cut", [0, 2, 5])
def test_stream_that_ends_early_ends(cut: int) -> None:
    async def read() -> Any:
        reader = asyncio.StreamReader()
        reader.feed_data(frames.encode(Ack("ftjob-1", 2, 3))[:cut])
        reader.feed_eof()
        return await frames.read(reader, msgspec.msgpack.Decoder(ToHost))

    assert asyncio.run(read()) is None


def test_blocking_receive_gives_messages_then_none_at_the_end() -> None:
    ours, theirs = socket.socketpair()
    decoder: frames.Decoder[Any] = frames.Decoder(ToHost)
    with ours:
        with theirs:
            theirs.sendall(frames.encode(Heartbeat(1)) + frames.encode(Heartbeat(2)))
            assert frames.receive(ours, decoder) == [Heartbeat(1), Heartbeat(2)]
        assert frames.receive(ours, decoder) is None
