"""The host's end of the line to its runner: what is heard, what is sent, and when the runner counts as gone."""

import queue
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tunery import frames
from tunery.host.channel import RunnerChannel, RunnerGone
from tunery.training.reports import Ack, Drain, FromHost, Heartbeat, Report, Started

LEASE_SECONDS = 0.5
Inbox = queue.SimpleQueue[Any]


@pytest.fixture
def inbox() -> Inbox:
    return queue.SimpleQueue()


@pytest.fixture
def runner(inbox: Inbox) -> Iterator[tuple[socket.socket, RunnerChannel]]:
    """The runner's end, and the host's channel."""
    ours, theirs = socket.socketpair()
    channel = RunnerChannel(theirs, lease_seconds=LEASE_SECONDS, deliver=inbox.put, idle_seconds=lambda: 1.5)
    channel.open()
    with ours:
        yield ours, channel
    # The receiving thread ends with the stream and lets go of its end.
    until_gone(inbox)
    theirs.close()


def until_gone(inbox: Inbox) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if isinstance(inbox.get(timeout=0.3), RunnerGone):
                return
        except queue.Empty:
            return


def test_messages_are_delivered_in_order_and_heartbeats_are_not(
    runner: tuple[socket.socket, RunnerChannel], inbox: Inbox
) -> None:
    ours, _ = runner
    sent: list[Any] = [Ack("a", 1, 1), Heartbeat(1), Ack("a", 1, 2), Drain()]
    ours.sendall(b"".join(frames.encode(message) for message in sent))
    assert [inbox.get(timeout=10) for _ in range(3)] == [sent[0], sent[2], sent[3]]


def test_host_gives_a_sign_of_life_by_itself(runner: tuple[socket.socket, RunnerChannel]) -> None:
    ours, _ = runner
    decoder: frames.Decoder[Any] = frames.Decoder(FromHost)
    beats: list[Any] = []
    while len(beats) < 3:
        beats += frames.receive(ours, decoder) or []
    assert beats[:3] == [Heartbeat(1, 1.5), Heartbeat(2, 1.5), Heartbeat(3, 1.5)]


def test_closed_line_is_a_runner_that_is_gone(runner: tuple[socket.socket, RunnerChannel], inbox: Inbox) -> None:
    ours, _ = runner
    ours.shutdown(socket.SHUT_RDWR)
    assert isinstance(inbox.get(timeout=LEASE_SECONDS / 2), RunnerGone)


def test_silent_runner_is_gone_after_a_lease_and_a_beating_one_is_not(
    runner: tuple[socket.socket, RunnerChannel], inbox: Inbox
) -> None:
    ours, _ = runner
    for n in range(10):
        ours.sendall(frames.encode(Heartbeat(n)))
        time.sleep(LEASE_SECONDS / 5)
    assert inbox.empty()
    began = time.monotonic()
    assert isinstance(inbox.get(timeout=10), RunnerGone)
    assert LEASE_SECONDS / 2 < time.monotonic() - began < 4 * LEASE_SECONDS
    with pytest.raises(queue.Empty):
        inbox.get(timeout=LEASE_SECONDS)


def test_sending_to_a_frozen_runner_ends_when_it_counts_as_gone(
    runner: tuple[socket.socket, RunnerChannel], inbox: Inbox
) -> None:
    """Its socket fills up; the host must come back from that to save its work and leave."""
    _, channel = runner
    report = Report("job" * 1000, 1, 1, Started(1, 0))
    began = time.monotonic()
    for _ in range(2000):
        channel.send(report)
    assert time.monotonic() - began < 10 * LEASE_SECONDS
    assert isinstance(inbox.get(timeout=10), RunnerGone)


def test_what_is_said_after_the_lease_is_still_heard_by_a_runner_that_slept(
    runner: tuple[socket.socket, RunnerChannel], inbox: Inbox
) -> None:
    ours, channel = runner
    assert isinstance(inbox.get(timeout=10), RunnerGone)
    channel.send(Report("job", 1, 1, Started(1, 0)))
    decoder: frames.Decoder[Any] = frames.Decoder(FromHost)
    heard: list[Any] = []
    while not any(isinstance(message, Report) for message in heard):
        heard += frames.receive(ours, decoder) or []
    assert heard[-1] == Report("job", 1, 1, Started(1, 0))
