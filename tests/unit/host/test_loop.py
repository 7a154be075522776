"""The host's only loop: slots take turns, failures stay in their slot, and leaving waits for what is owed."""

import queue
from collections.abc import Sequence
from typing import Any

import pytest

from tests.fakes.engine import ScriptedEngine
from tunery.host.channel import RunnerGone
from tunery.host.engine_server import EngineMessage
from tunery.host.loop import Loop
from tunery.training.reports import (
    Ack,
    Artefact,
    Body,
    Drain,
    Failed,
    Finished,
    Paused,
    Report,
    Start,
    Stop,
    Stopped,
    Warned,
)
from tunery.types.sampling import Cancel, SampleRequest

DONE = Finished(1, Artefact(path="p", sha256="s", file_bytes=1))


class ScriptedSlot:
    """Does what its script says, one entry each turn; an exception in it is raised."""

    def __init__(self, script: Sequence[Any], log: list[str], name: str) -> None:
        self._script = list(script)
        self._log = log
        self._name = name
        self._pausing = False

    def advance(self) -> Sequence[Body]:
        self._log.append(self._name)
        if self._pausing:
            return [Paused(1)]
        entry = self._script.pop(0)
        if isinstance(entry, Exception):
            raise entry
        return list(entry)

    def request_pause(self) -> None:
        self._pausing = True

    def close(self) -> None:
        self._log.append(f"{self._name} closed")


class Stage:
    """A loop, what was put into its inbox, and what it said; every report is acknowledged unless `deaf`."""

    def __init__(self, scripts: dict[str, Sequence[Any]], *, engine: Any = None, deaf: bool = False) -> None:
        self.log: list[str] = []
        self.said: list[Any] = []
        self.answers: list[tuple[Any, bool]] = []
        self._scripts = scripts
        self._deaf = deaf
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.loop = Loop(
            inbox=self.inbox,
            send=self._hear,
            make_slot=self._make_slot,
            trim=lambda: self.log.append("trim"),
            engine=engine,
            answer=lambda message, last: self.answers.append((message, last)),
        )

    def put(self, *messages: Any) -> "Stage":
        for message in messages:
            self.inbox.put(message)
        return self

    def start(self, *names: str) -> "Stage":
        spec: Any = None
        return self.put(*(Start(name, 1, spec, "/out", None) for name in names))

    def bodies(self, name: str) -> list[Body]:
        return [each.body for each in self.said if isinstance(each, Report) and each.job_id == name]

    def _hear(self, message: Any) -> None:
        self.said.append(message)
        if isinstance(message, Report) and not self._deaf:
            self.inbox.put(Ack(message.job_id, message.epoch, message.n))

    def _make_slot(self, start: Start) -> ScriptedSlot:
        if start.job_id not in self._scripts:
            raise RuntimeError("no such base")
        return ScriptedSlot(self._scripts[start.job_id], self.log, start.job_id)


def test_slots_take_turns() -> None:
    stage = Stage({"a": [[], [], [DONE]], "b": [[], [], [DONE]]}).start("a", "b")
    drain_when_done(stage)
    stage.loop.run()
    turns = [entry for entry in stage.log if entry in "ab"]
    assert turns == ["a", "b"] * 3


def drain_when_done(stage: Stage) -> None:
    """Let the loop leave once nothing is placed: a drain then finds nobody to pause."""
    original = stage.loop._remove

    def remove(run: tuple[str, int]) -> None:
        original(run)
        if not stage.loop._placed:
            stage.put(Drain())

    stage.loop._remove = remove  # type: ignore[method-assign]


def test_reports_are_numbered_within_their_epoch() -> None:
    stage = Stage({"a": [[Warned("1"), Warned("2")], [Warned("3"), DONE]]}).start("a")
    drain_when_done(stage)
    stage.loop.run()
    assert [each.n for each in stage.said] == [1, 2, 3, 4]


def test_slot_that_breaks_fails_its_job_alone() -> None:
    stage = Stage({"bad": [[], RuntimeError("boom")], "good": [[], [], [DONE]]}).start("bad", "good")
    drain_when_done(stage)
    stage.loop.run()
    (failed,) = stage.bodies("bad")
    assert isinstance(failed, Failed)
    assert failed.code == "server_error"
    assert "boom" not in failed.message
    assert stage.bodies("good") == [DONE]
    assert "bad closed" in stage.log


def test_slot_that_cannot_be_made_fails_its_job_alone() -> None:
    stage = Stage({"good": [[], [DONE]]}).start("unknown", "good")
    drain_when_done(stage)
    stage.loop.run()
    (failed,) = stage.bodies("unknown")
    assert isinstance(failed, Failed)
    assert stage.bodies("good") == [DONE]


def test_memory_comes_back_when_a_slot_leaves() -> None:
    stage = Stage({"a": [[DONE]]}).start("a")
    drain_when_done(stage)
    stage.loop.run()
    assert stage.log == ["a", "a closed", "trim"]


def test_cancel_stops_at_once_and_is_confirmed_even_for_a_stranger() -> None:
    stage = Stage({"a": [[]] * 5}).start("a")
    stage.put(Stop("a", 1, "cancel"), Stop("stranger", 9, "cancel"), Drain())
    stage.loop.run()
    assert stage.said == [Stopped("a", 1), Stopped("stranger", 9)]
    assert stage.bodies("a") == []


def test_pause_leaves_with_a_report() -> None:
    stage = Stage({"a": [[]] * 5}).start("a").put(Stop("a", 1, "pause"))
    drain_when_done(stage)
    stage.loop.run()
    assert stage.bodies("a") == [Paused(1)]


def test_drain_pauses_everyone_and_waits_for_the_acknowledgements() -> None:
    stage = Stage({"a": [[]] * 5, "b": [[]] * 5}, deaf=True).start("a", "b").put(Drain())
    receive, waited = stage.loop._receive, []

    def counting(*, wait: bool) -> None:
        if wait:
            waited.append(1)
            if len(waited) == 2:
                stage.put(Ack("a", 1, 1), Ack("b", 1, 1))
        receive(wait=False)

    stage.loop._receive = counting  # type: ignore[method-assign]
    stage.loop.run()
    assert stage.bodies("a") == stage.bodies("b") == [Paused(1)]
    assert len(waited) == 2, "it left before what it said was recorded"


def test_orphan_saves_its_work_and_waits_for_nobody() -> None:
    stage = Stage({"a": [[]] * 5}, deaf=True).start("a").put(RunnerGone())
    stage.loop.run()
    assert stage.bodies("a") == [Paused(1)]


def test_draining_host_takes_nothing_new() -> None:
    stage = Stage({"a": [[DONE]]}).put(Drain()).start("a")
    stage.loop.run()
    assert stage.said == []


def request(request_id: int) -> SampleRequest:
    return SampleRequest(id=request_id, prompt=[1], adapter=None, max_tokens=1, seed=1)


def test_engine_is_served_between_the_turns_of_training() -> None:
    engine = ScriptedEngine(steps=3)
    stage = Stage({"a": [[]] * 5 + [[DONE]]}, engine=engine).start("a").put(EngineMessage(request(1)))
    drain_when_done(stage)
    stage.loop.run()
    assert [last for _, last in stage.answers] == [False, False, True]


def test_engine_may_finish_its_answers_before_the_host_leaves() -> None:
    engine = ScriptedEngine(steps=4)
    stage = Stage({}, engine=engine).put(EngineMessage(request(1)), Drain())
    stage.loop.run()
    assert [last for _, last in stage.answers] == [False, False, False, True]


def test_cancelled_answer_holds_up_nobody() -> None:
    engine = ScriptedEngine(steps=10**9)
    stage = Stage({}, engine=engine).put(EngineMessage(request(1)), Drain(), EngineMessage(Cancel(1)))
    stage.loop.run()
    assert engine.idle


@pytest.mark.parametrize("message", [Ack("nobody", 1, 1), Stop("nobody", 1, "pause")])
def test_messages_about_runs_that_are_gone_are_harmless(message: Any) -> None:
    stage = Stage({"a": [[DONE]]}).put(message).start("a")
    drain_when_done(stage)
    stage.loop.run()
    assert stage.bodies("a") == [DONE]
