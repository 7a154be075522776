"""`tunery demo` as a real process: what it shows, what it leaves behind, and that nothing runs on after it."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.servers import Server

SECONDS_MAX = 300
FAKE = {"TUNERY_HOST_MODULE": "tests.fakes.host"}
ROOT = Path(__file__).parents[2]


def _environment(**more: str) -> dict[str, str]:
    """Without anything that the person who runs the tests has set, and with tests importable from any folder."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TUNERY_")}
    return plain | {"NO_COLOR": "1", "PYTHONPATH": str(ROOT)} | more


def _demo(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tunery", "demo", *words]
    return subprocess.run(
        command, cwd=folder, env=_environment(**more), capture_output=True, text=True, timeout=SECONDS_MAX
    )


def _left_running(data_dir: Path) -> list[str]:
    """Command lines of processes that belong to a data folder."""
    left = []
    for process in psutil.process_iter():
        try:
            words, variables = process.cmdline(), process.environ()
        except psutil.Error:
            continue
        if str(data_dir) in words or variables.get("TUNERY_DATA_DIR") == str(data_dir):
            left.append(" ".join(words))
    return left


def _await_nothing_running(data_dir: Path) -> None:
    """A process that has exited may be listed for a moment more."""
    deadline = time.monotonic() + 2
    while left := _left_running(data_dir):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def _statuses(data_dir: Path) -> list[str]:
    with sqlite3.connect(data_dir / "tunery.db") as connection:
        found = [row[0] for row in connection.execute("SELECT status FROM jobs ORDER BY seq")]
    connection.close()
    return found


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_demo_tunes_and_its_last_commands_work_as_they_stand(tmp_path: Path) -> None:
    port = _free_port()
    ran = _demo(tmp_path, "--json", TUNERY_PORT=port)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["job"]["status"] == "succeeded"
    assert told["answer_after"] != told["answer_before"]
    assert told["answer_after"].splitlines()[-1] == told["answer_in_sample"].splitlines()[-1]
    assert told["prompt"] in ran.stderr
    assert "Step 60/60" in ran.stderr
    _await_nothing_running(tmp_path / "tunery-demo")

    serve, chat = told["commands"]
    environment = _environment(TUNERY_PORT=port, XDG_DATA_HOME=str(tmp_path / "xdg"))
    with subprocess.Popen(
        f"exec {serve}", shell=True, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        try:
            assert any("Tunery serves on" in line for line in server.stderr)
            answer = subprocess.run(chat, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        finally:
            server.terminate()
            server.stderr.close()
    assert answer.stdout.strip() == told["answer_after"].strip(), answer.stderr


def test_demo_runs_again_in_the_same_folder(tmp_path: Path) -> None:
    for _ in range(2):
        ran = _demo(tmp_path, "--data-dir", "kept", **FAKE)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "serve --data-dir kept" in ran.stdout
    assert _statuses(tmp_path / "kept") == ["succeeded", "succeeded"]
    _await_nothing_running(tmp_path / "kept")


def test_demo_on_the_folder_of_a_running_server_uses_that_server(tmp_path: Path) -> None:
    server = Server(tmp_path / "kept", {"host_module": "tests.fakes.host"}).start()
    try:
        ran = _demo(tmp_path, "--data-dir", "kept", **FAKE)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert server.url in ran.stdout
        assert server.process is not None
        assert server.process.poll() is None
    finally:
        server.stop()


@pytest.mark.parametrize("moment", ["A server", "ftjob-"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_demo_interrupted_leaves_nothing_running(
    moment: str, number: signal.Signals, status: int, tmp_path: Path
) -> None:
    command = [sys.executable, "-u", "-m", "tunery", "demo", "--data-dir", "kept"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=_environment(**FAKE), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert any(moment in line for line in process.stdout)
        process.send_signal(number)
        process.send_signal(number)
        _, said = process.communicate(timeout=SECONDS_MAX)
    assert process.returncode == status
    assert "Traceback" not in said
    _await_nothing_running(tmp_path / "kept")
    if moment != "A server":
        assert _statuses(tmp_path / "kept") == ["cancelled"]


def test_demo_that_cannot_start_says_why(tmp_path: Path) -> None:
    ran = _demo(tmp_path, TUNERY_DEFAULT_MODEL="nope")
    assert ran.returncode == 1
    assert ran.stderr.startswith("Error: The server did not start. The default model 'nope' is not known here.")
    assert len(ran.stderr.splitlines()) == 1
