"""The only loop: interleaves every training slot and the engine, one bounded piece of work at a time."""

import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tunery.host.channel import RunnerGone
from tunery.host.engine_server import EngineMessage
from tunery.observability import logger
from tunery.training.reports import Ack, Body, Drain, Failed, Finished, FromHost, Paused, Report, Start, Stop, Stopped
from tunery.types.sampling import FromEngine, Sampled, SampleRequest

IDLE_SECONDS = 1.0
ANSWER_SECONDS_MAX = 10.0
log = logger("host")

Run = tuple[str, int]


class Slot(Protocol):
    """One job's run on the resident base."""

    def advance(self) -> Sequence[Body]:
        """Do one bounded piece of work (a micro-batch, an optimizer step, a save); what is to be reported."""
        ...

    def request_pause(self) -> None:
        """Snapshot at the next optimizer step and leave, with a Paused report."""
        ...

    def close(self) -> None:
        """Give back the memory."""
        ...


class Engine(Protocol):
    """Samples for chat; see inference.engine."""

    @property
    def idle(self) -> bool: ...

    def submit(self, request: SampleRequest) -> None: ...

    def cancel(self, request_id: int) -> None: ...

    def step(self) -> Sequence[FromEngine]: ...


@dataclass
class Placed:
    """A run in the host. Reports are numbered from 1 within the epoch; `unacknowledged` counts those in flight."""

    slot: Slot
    n: int = 0
    unacknowledged: int = 0


class Loop:
    """Runs until drained or until the runner is gone. `inbox` is filled by other threads."""

    def __init__(
        self,
        *,
        inbox: "queue.SimpleQueue[Any]",
        send: Callable[[FromHost], None],
        make_slot: Callable[[Start], Slot],
        trim: Callable[[], None],
        engine: Engine | None = None,
        answer: Callable[..., None] | None = None,
    ) -> None:
        self._inbox = inbox
        self._send = send
        self._make_slot = make_slot
        self._trim = trim
        self._engine = engine
        self._answer = answer
        self._placed: dict[Run, Placed] = {}
        self._leaving: dict[Run, Placed] = {}
        self._draining = False
        self._orphaned = False
        self._answer_until = 0.0

    def run(self) -> None:
        while not self._is_over():
            busy = bool(self._placed) or (self._engine is not None and not self._engine.idle)
            self._receive(wait=not busy)
            for run in list(self._placed):
                self._advance(run)
                self._serve()
            self._serve()

    def _is_over(self) -> bool:
        """Drained hosts leave when all is acknowledged and, for a while, answered; orphans have nobody to wait for."""
        if self._placed or not self._draining:
            return False
        is_answering = self._engine is not None and not self._engine.idle and time.monotonic() < self._answer_until
        return self._orphaned or not (self._leaving or is_answering)

    def _receive(self, *, wait: bool) -> None:
        try:
            message = self._inbox.get(timeout=IDLE_SECONDS) if wait else self._inbox.get_nowait()
            while True:
                self._handle(message)
                message = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _handle(self, message: Any) -> None:
        if isinstance(message, EngineMessage):
            self._to_engine(message)
        elif isinstance(message, Start):
            self._start(message)
        elif isinstance(message, Stop):
            self._stop((message.job_id, message.epoch), message.how)
        elif isinstance(message, Ack):
            self._acknowledged((message.job_id, message.epoch))
        elif isinstance(message, Drain | RunnerGone):
            self._answer_until = time.monotonic() + ANSWER_SECONDS_MAX
            self._draining = True
            self._orphaned |= isinstance(message, RunnerGone)
            for placed in self._placed.values():
                placed.slot.request_pause()

    def _start(self, start: Start) -> None:
        run = (start.job_id, start.epoch)
        if self._draining:
            return
        try:
            self._placed[run] = Placed(self._make_slot(start))
        except Exception:
            log.exception("a job could not be set up", job_id=start.job_id)
            self._report(run, Placed(_Refused()), Failed("server_error", "The job could not be set up; see the log."))

    def _stop(self, run: Run, how: str) -> None:
        placed = self._placed.get(run)
        if how == "cancel":
            if placed is not None:
                self._remove(run)
            self._leaving.pop(run, None)
            self._send(Stopped(*run))
        elif placed is not None:
            placed.slot.request_pause()

    def _acknowledged(self, run: Run) -> None:
        placed = self._placed.get(run) or self._leaving.get(run)
        if placed is not None:
            placed.unacknowledged -= 1
            if placed.unacknowledged == 0:
                self._leaving.pop(run, None)

    def _advance(self, run: Run) -> None:
        """One piece of work of one slot. Whatever breaks in it ends this job and disturbs no neighbour."""
        placed = self._placed[run]
        try:
            bodies = placed.slot.advance()
        except Exception:
            log.exception("a job failed", job_id=run[0])
            bodies = [Failed("server_error", "Training stopped because of an internal error; the log has the details.")]
        for body in bodies:
            self._report(run, placed, body)

    def _report(self, run: Run, placed: Placed, body: Body) -> None:
        placed.n += 1
        placed.unacknowledged += 1
        leaves = isinstance(body, Paused | Finished | Failed)
        if leaves:
            self._leaving[run] = placed
            if run in self._placed:
                self._remove(run)
        self._send(Report(run[0], run[1], placed.n, body))

    def _remove(self, run: Run) -> None:
        self._placed.pop(run).slot.close()
        self._trim()

    def _to_engine(self, message: EngineMessage) -> None:
        assert self._engine is not None
        if isinstance(message.message, SampleRequest):
            self._engine.submit(message.message)
        else:
            self._engine.cancel(message.message.id)

    def _serve(self) -> None:
        if self._engine is None or self._engine.idle:
            return
        assert self._answer is not None
        for result in self._engine.step():
            last = not isinstance(result, Sampled) or result.finish_reason is not None
            self._answer(result, last=last)


class _Refused:
    """Stands for a slot that could not be made, so that its failure is reported like any other."""

    def advance(self) -> Sequence[Body]:
        return []

    def request_pause(self) -> None:
        return

    def close(self) -> None:
        return
