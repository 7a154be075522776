"""Takes engine requests on a Unix socket: one thread for each connection reads, the loop's thread answers."""

import itertools
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tunery import frames
from tunery.types.sampling import Cancel, FromEngine, SampleRequest, ToEngine

# A reader that takes nothing for so long must not hold up everyone else's answers (a timeval: seconds, microseconds).
SEND_TIMEOUT = struct.pack("ll", 5, 0)


class EngineMessage(NamedTuple):
    """A request or cancel; its id is unique in this host, whatever ids the connections use."""

    message: SampleRequest | Cancel


class EngineServer:
    """`deliver` is called with an EngineMessage for each request; `answer` sends results back to whoever asked."""

    def __init__(self, path: Path, *, deliver: Callable[[Any], None]) -> None:
        self._path = path
        self._deliver = deliver
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._origins: dict[int, tuple[socket.socket, int]] = {}
        self._asked_at = time.monotonic()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def idle_seconds(self) -> float:
        """How long no request has been waiting or come in."""
        with self._lock:
            if self._origins:
                self._asked_at = time.monotonic()
            return time.monotonic() - self._asked_at

    def open(self) -> None:
        self._asked_at = time.monotonic()
        self._path.unlink(missing_ok=True)
        self._listener.bind(str(self._path))
        os.chmod(self._path, 0o600)
        self._listener.listen(64)
        threading.Thread(target=self._accept, name="engine-accept", daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def answer(self, message: FromEngine, *, last: bool) -> None:
        """Send a result to its connection; a connection that is gone or stuck loses it."""
        with self._lock:
            origin = self._origins.pop(message.id, None) if last else self._origins.get(message.id)
        if origin is None:
            return
        connection, their_id = origin
        try:
            connection.sendall(frames.encode(msgspec.structs.replace(message, id=their_id)))
        except OSError:
            # Half a message may be out: nothing that follows could be read.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            self._drop(connection)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._read, args=(connection,), name="engine-read", daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        decoder: frames.Decoder[ToEngine] = frames.Decoder(ToEngine)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, SEND_TIMEOUT)
        with suppress(msgspec.MsgspecError, ValueError, OSError):
            while (messages := frames.receive(connection, decoder)) is not None:
                for message in messages:
                    self._pass_on(connection, message)
        self._drop(connection)
        connection.close()

    def _pass_on(self, connection: socket.socket, message: SampleRequest | Cancel) -> None:
        if isinstance(message, SampleRequest):
            unique = next(self._ids)
            with self._lock:
                self._origins[unique] = (connection, message.id)
                self._asked_at = time.monotonic()
            self._deliver(EngineMessage(msgspec.structs.replace(message, id=unique)))
            return
        with self._lock:
            asked = [unique for unique, origin in self._origins.items() if origin == (connection, message.id)]
            for unique in asked:
                del self._origins[unique]
        for unique in asked:
            self._deliver(EngineMessage(Cancel(unique)))

    def _drop(self, connection: socket.socket) -> None:
        """Whatever a closed connection still waited for is cancelled."""
        with self._lock:
            lost = [unique for unique, (origin, _) in self._origins.items() if origin is connection]
            for unique in lost:
                del self._origins[unique]
        for unique in lost:
            self._deliver(EngineMessage(Cancel(unique)))
