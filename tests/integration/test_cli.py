"""The commands as real processes against a real server whose trainer only sleeps and whose engine echoes."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fakes.host import Behaviour
from tests.servers import Server

Run = Callable[..., subprocess.CompletedProcess[str]]
TUNERY = [sys.executable, "-m", "tunery"]
SECONDS_MAX = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("cli") / "data", {"host_module": "tests.fakes.host"})
    try:
        yield started.start()
    finally:
        started.stop()


@pytest.fixture(scope="module")
def environment(server: Server) -> dict[str, str]:
    return os.environ | {"TUNERY_DATA_DIR": str(server.data_dir), "NO_COLOR": "1"}


@pytest.fixture(scope="module")
def tunery(environment: dict[str, str]) -> Run:
    """`tunery("files", "list")`, which finds the server by its data folder."""

    def run(*words: str, status: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            [*TUNERY, *words], env=environment, input=stdin, capture_output=True, text=True, timeout=SECONDS_MAX
        )
        assert ran.returncode == status, f"{words}: {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
        return ran

    return run


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "train.jsonl"
    row = {"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}]}
    path.write_text(f"{json.dumps(row)}\n" * 24)
    return path


def test_from_file_to_chat(tunery: Run, rows: Path) -> None:
    followed = tunery("jobs", "create", "--file", str(rows), "--suffix", "life", "--metadata", "from=test", "--follow")
    model = followed.stdout.strip()
    assert re.fullmatch(r"ft:tunery-starter:local:life:\w{8}", model)
    steps = re.findall(r"Step (\d+)/24", followed.stderr)
    assert steps == [str(step) for step in range(1, 25)]

    assert tunery("chat", model, "echo this").stdout == "echo this\n"
    assert tunery("chat", model, stdin="and this\n").stdout == "and this\n"
    assert model in tunery("models", "list").stdout

    job = json.loads(tunery("jobs", "list", "--metadata", "from=test", "--json").stdout)["data"][0]
    assert job["fine_tuned_model"] == model
    result = tunery("files", "content", job["result_files"][0]).stdout
    assert result.splitlines()[0].startswith("step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy")
    assert len(result.splitlines()) == 25
    assert len(json.loads(tunery("jobs", "checkpoints", job["id"], "--json").stdout)["data"]) == 3

    tunery("models", "delete", model)
    assert "does not exist" in tunery("models", "get", model, status=4).stderr
    tunery("files", "delete", job["training_file"])
    assert "No such File object" in tunery("files", "get", job["training_file"], status=4).stderr


def test_follow_json_is_every_event_in_order(tunery: Run, rows: Path) -> None:
    followed = tunery("jobs", "create", "--file", str(rows), "--follow", "--json")
    *events, job = [json.loads(line) for line in followed.stdout.splitlines()]
    assert job["status"] == "succeeded"
    listed = json.loads(tunery("jobs", "events", job["id"], "--limit", "1000", "--json").stdout)
    assert events == listed["data"][::-1]


def test_job_that_fails_exits_3(tunery: Run, rows: Path) -> None:
    seed = str(Behaviour.DIVERGE_AT_STEP_2)
    followed = tunery("jobs", "create", "--file", str(rows), "--seed", seed, "--follow", status=3)
    assert followed.stdout == ""
    assert followed.stderr.splitlines()[-1].startswith("Error: ftjob-")


def test_file_that_is_no_training_file_fails_the_job_with_its_reason(tunery: Run, tmp_path: Path) -> None:
    (tmp_path / "short.jsonl").write_text('{"messages": []}\n')
    followed = tunery("jobs", "create", "--file", str(tmp_path / "short.jsonl"), "--follow", status=3)
    assert "(invalid_" in followed.stderr.splitlines()[-1]


def _slow_job(tunery: Run, rows: Path) -> str:
    """Two minutes of steps, to be cancelled by whoever made it."""
    words = ("--seed", str(Behaviour.SLOW), "--epochs", "50")
    return tunery("jobs", "create", "--file", str(rows), *words).stdout.strip()


def _await_step(tunery: Run, job_id: str) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while "Step 1/" not in tunery("jobs", "events", job_id).stdout:
        assert time.monotonic() < deadline


def test_pause_resume_cancel(tunery: Run, rows: Path) -> None:
    job_id = _slow_job(tunery, rows)
    _await_step(tunery, job_id)
    tunery("jobs", "pause", job_id)
    deadline = time.monotonic() + SECONDS_MAX
    while "paused" not in tunery("jobs", "get", job_id).stdout:
        assert time.monotonic() < deadline
    assert tunery("jobs", "resume", job_id).stdout.splitlines()[1].split()[1] in ("queued", "running")
    assert tunery("jobs", "cancel", job_id).stdout.splitlines()[1].split()[1] == "cancelled"
    assert "was cancelled" in tunery("jobs", "follow", job_id, status=3).stderr
    assert "already" in tunery("jobs", "pause", job_id, status=1).stderr


def _interrupt(process: subprocess.Popen[str]) -> str:
    """Ctrl-C as a person presses it: again when nothing happens, for Python loses one that meets it in a callback."""
    for _ in range(10):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=5)[1]
    raise AssertionError("the command does not end")


def test_interrupted_follow_exits_130_and_the_job_goes_on(tunery: Run, rows: Path, environment: dict[str, str]) -> None:
    job_id = _slow_job(tunery, rows)
    command = [*TUNERY, "jobs", "follow", job_id]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "Step 1/" in line:
                break
        rest = _interrupt(process)
    assert process.returncode == 130
    assert f"tunery jobs follow {job_id}" in rest
    assert "Traceback" not in rest
    assert json.loads(tunery("jobs", "get", job_id, "--json").stdout)["status"] == "running"
    tunery("jobs", "cancel", job_id)


def test_follow_draws_a_bar_on_a_terminal(rows: Path, environment: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    command = [*TUNERY, "jobs", "create", "--file", str(rows), "--suffix", "bar", "--follow"]
    with subprocess.Popen(
        command, env=environment | {"COLUMNS": "90"}, stdout=theirs, stderr=theirs, stdin=theirs
    ) as process:
        os.close(theirs)
        shown = _read_terminal(ours)
    assert process.returncode == 0
    assert "Trained" in shown
    assert "24/24  loss" in shown
    assert re.search(r"\n?ft:tunery-starter:local:bar:\w{8}", shown.rstrip().splitlines()[-1])


def _read_terminal(descriptor: int) -> str:
    """Everything that is written to a terminal until its last writer is gone."""
    written = b""
    while select.select([descriptor], [], [], SECONDS_MAX)[0]:
        try:
            written += os.read(descriptor, 1 << 16)
        except OSError:
            break
    os.close(descriptor)
    return written.decode()


def _read_until(descriptor: int, text: str) -> str:
    written = b""
    while not written.decode(errors="ignore").endswith(text):
        assert select.select([descriptor], [], [], SECONDS_MAX)[0], written
        written += os.read(descriptor, 1)
    return written.decode()


def test_conversation_on_a_terminal(environment: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    command = [*TUNERY, "chat", "tunery-starter"]
    with subprocess.Popen(command, env=environment, stdout=theirs, stderr=theirs, stdin=theirs) as process:
        os.close(theirs)
        shown = _read_until(ours, "> ")
        os.write(ours, b"parrot\n")
        shown += _read_until(ours, "> ")
        os.write(ours, b"\x04")
        shown += _read_terminal(ours)
    assert process.returncode == 0
    assert "Talking with tunery-starter" in shown
    assert "parrot\r\n" in shown.partition("> ")[2]
