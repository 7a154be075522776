"""The host's end of the socketpair to its runner: messages into the inbox, reports out, a sign of life both ways."""

import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tunery import frames
from tunery.training.reports import FromHost, Heartbeat, ToHost

HEARTBEATS_PER_LEASE = 10


class RunnerGone(Exception):
    """The runner's end is closed or silent for a lease: snapshot and exit."""


class RunnerChannel:
    """`deliver` is called from the receiving thread with each message, and with RunnerGone at the end.

    `idle_seconds` tells how long nothing was asked of the host; each heartbeat passes it on.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        lease_seconds: float,
        deliver: Callable[[Any], None],
        idle_seconds: Callable[[], float],
    ) -> None:
        self._connection = connection
        self._lease_seconds = lease_seconds
        self._deliver = deliver
        self._idle_seconds = idle_seconds
        self._sending = threading.Lock()
        self._heard_at = time.monotonic()
        self._gone = threading.Event()
        self._ending = threading.Lock()
        self._broken = False
        self._pause_seconds = lease_seconds / HEARTBEATS_PER_LEASE

    def open(self) -> None:
        threading.Thread(target=self._receive, name="runner-receive", daemon=True).start()
        threading.Thread(target=self._beat, name="runner-heartbeat", daemon=True).start()
        threading.Thread(target=self._watch, name="runner-watch", daemon=True).start()

    def send(self, message: FromHost) -> None:
        """Blocks while the runner reads slowly. A runner that only sleeps finds what came after its lease, too."""
        try:
            with self._sending:
                self._send_all(memoryview(frames.encode(message)))
        except OSError:
            self._end()

    def _send_all(self, data: memoryview) -> None:
        while data and not self._broken:
            _, writable, _ = select.select([], [self._connection], [], self._pause_seconds)
            if writable:
                with suppress(BlockingIOError):
                    data = data[self._connection.send(data, socket.MSG_DONTWAIT) :]
            elif self._gone.is_set():
                # Nobody reads any more, and behind half a message nothing could be read.
                self._broken = True

    def _receive(self) -> None:
        decoder: frames.Decoder[ToHost] = frames.Decoder(ToHost)
        while (messages := frames.receive(self._connection, decoder)) is not None:
            self._heard_at = time.monotonic()
            for message in messages:
                if not isinstance(message, Heartbeat):
                    self._deliver(message)
        self._end()

    def _beat(self) -> None:
        n = 0
        while not self._gone.wait(self._pause_seconds):
            n += 1
            self.send(Heartbeat(n, self._idle_seconds()))

    def _watch(self) -> None:
        """Apart from the heartbeats, which block together with everything else when a frozen runner reads nothing."""
        while not self._gone.wait(self._pause_seconds):
            # Our own stopping (a sleeping laptop, SIGSTOP) makes the runner look silent: its queued messages
            # are read first, so give the receiver one pause before judging.
            if time.monotonic() - self._heard_at > self._lease_seconds + self._pause_seconds:
                self._end()

    def _end(self) -> None:
        with self._ending:
            if self._gone.is_set():
                return
            self._gone.set()
        self._deliver(RunnerGone())
