import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from tests.fakes.api import FakeJob, connected
from tests.unit.cli.conftest import Ran
from tunery.cli.progress import Measures, numbers, phase, view_on, watch
from tunery.client import Update


def _update(job: FakeJob, *, since: int = 0) -> Update:
    return Update(job.wire(), job.events[since:])  # type: ignore[arg-type]


def test_measures_newest_numbers_win() -> None:
    job = FakeJob()
    job.tell("Fine-tuning job started")
    job.step(1, 4, valid_loss=2.0)
    job.step(2, 4)
    measures = Measures()
    measures.absorb(_update(job).events)
    assert (measures.step, measures.total_steps, measures.train_loss, measures.valid_loss) == (2, 4, 0.5, 2.0)
    assert measures.tokens_per_second is None


def test_measures_full_validation_wins_over_the_sample() -> None:
    job = FakeJob()
    job.step(1, 1, valid_loss=2.0, full_valid_loss=1.5)
    measures = Measures()
    measures.absorb(_update(job).events)
    assert measures.valid_loss == 1.5


def test_measures_speed_is_of_the_steps_that_told_it() -> None:
    job = FakeJob()
    job.step(1, 3, tokens=300, seconds=2.0)
    job.step(2, 3)
    job.step(3, 3, tokens=100, seconds=2.0)
    measures = Measures()
    measures.absorb(_update(job).events)
    assert measures.tokens_per_second == 100.0


@pytest.mark.parametrize(
    ("status", "step", "extra", "expected"),
    [
        ("validating_files", 0, {}, "Reading the files"),
        ("queued", 0, {}, "Waiting for a device"),
        ("queued", 3, {"paused": True}, "Paused"),
        ("running", 0, {}, "Starting"),
        ("running", 1, {}, "Training"),
        ("succeeded", 4, {}, "Trained"),
        ("failed", 4, {}, "Failed"),
        ("cancelled", 0, {}, "Cancelled"),
    ],
)
def test_phase_of_every_state(status: str, step: int, extra: dict[str, Any], expected: str) -> None:
    job = FakeJob(status=status, extra=extra)
    assert phase(job.wire(), Measures(step=step)) == expected  # type: ignore[arg-type]


def test_numbers_leave_out_what_is_unknown() -> None:
    job = FakeJob().wire()
    assert numbers(job, Measures(), now=0.0) == ""  # type: ignore[arg-type]
    full = Measures(step=12, total_steps=24, train_loss=0.516, valid_loss=0.6, tokens=12_400, seconds=10.0)
    told = numbers(job | {"estimated_finish": 108}, full, now=100.0)  # type: ignore[arg-type]
    assert told == "12/24  loss 0.52  valid 0.60  1,240 tokens/s  0:08 left"


def _console(*, terminal: bool, columns: int = 80) -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, force_terminal=terminal, width=columns, highlight=False, markup=False), written


def test_lines_where_nobody_looks() -> None:
    console, written = _console(terminal=False, columns=20)
    job = FakeJob()
    job.tell("New fine-tuned model created: ft:tunery-starter:local:support:AbCdEfGh [x]")
    job.tell("memory is short", level="warn")
    job.step(1, 2)
    with view_on(console) as view:
        view.show(_update(job))
    lines = written.getvalue().splitlines()
    assert [line[21:] for line in lines] == [event["message"] for event in job.events]


def test_lines_quiet_keep_numbers_and_warnings() -> None:
    console, written = _console(terminal=False)
    job = FakeJob()
    job.tell("Files validated")
    job.tell("memory is short", level="warn")
    job.step(1, 2)
    with view_on(console, quiet=True, indent=3) as view:
        view.show(_update(job))
    lines = written.getvalue().splitlines()
    assert len(lines) == 2
    assert all(line.startswith("   2") for line in lines)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_bar_never_fills_its_line(columns: int) -> None:
    console, written = _console(terminal=True, columns=columns)
    job = FakeJob()
    job.step(7, 24)
    with view_on(console, quiet=True) as view:
        view.show(_update(job))
    shown = [line for line in _plain(written.getvalue()).splitlines() if "7/24" in line]
    assert shown
    assert all("Training" in line and "loss 0.14" in line for line in shown)
    assert all(len(line) <= columns - 3 for line in shown)


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r", "\n")


def test_watch_gives_the_last_state() -> None:
    console, written = _console(terminal=False)
    job = FakeJob(status="succeeded", extra={"fine_tuned_model": "ft:m"})
    job.step(1, 1)
    with connected(job.answers()) as (_, client):
        last = watch(client, job.job_id, view_on(console))
    assert last["fine_tuned_model"] == "ft:m"
    assert "Step 1/1" in written.getvalue()


def _followed(job: FakeJob, tunery: Callable[..., Ran], *options: str) -> Ran:
    with connected(job.answers()) as (api, _):
        return tunery("jobs", "follow", job.job_id, "--base-url", api.url, *options)


def test_follow_succeeded_prints_only_the_model_as_data(tunery: Callable[..., Ran]) -> None:
    extra = {"fine_tuned_model": "ft:m", "finished_at": 1_700_000_075, "trained_tokens": 12_345}
    job = FakeJob(status="succeeded", extra=extra)
    job.step(1, 1)
    ran = _followed(job, tunery)
    assert (ran.status, ran.out) == (0, "ft:m\n")
    assert "Step 1/1" in ran.err
    assert "succeeded in 1:15 with 12,345 trained tokens" in ran.err


def test_follow_failed_says_why_and_exits_3(tunery: Callable[..., Ran]) -> None:
    error = {"code": "invalid_training_file", "message": "line 3 is broken", "param": "training_file"}
    ran = _followed(FakeJob(status="failed", extra={"error": error}), tunery)
    assert (ran.status, ran.out) == (3, "")
    assert "Error: ftjob-fake failed: line 3 is broken (invalid_training_file)" in ran.err


def test_follow_cancelled_exits_3(tunery: Callable[..., Ran]) -> None:
    ran = _followed(FakeJob(status="cancelled"), tunery)
    assert ran.status == 3
    assert "ftjob-fake was cancelled" in ran.err


def test_follow_json_is_every_event_then_the_job(tunery: Callable[..., Ran]) -> None:
    job = FakeJob(status="failed", extra={"error": {"code": "c", "message": "größer", "param": None}})
    job.tell("one")
    job.step(1, 2)
    ran = _followed(job, tunery, "--json")
    told = [json.loads(line) for line in ran.out.splitlines()]
    assert told == [*job.events, job.wire()]
    assert (ran.status, ran.err) == (3, "")


def test_follow_timeout_exits_5(tunery: Callable[..., Ran]) -> None:
    ran = _followed(FakeJob(), tunery, "--timeout", "0")
    assert ran.status == 5
    assert "did not end within 0 s; it goes on" in ran.err
