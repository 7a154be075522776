import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tunery.cli.options import local_base_url, running_url


def _write_state(run_dir: Path, pid: int) -> None:
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "server.json").write_text(json.dumps({"url": "http://127.0.0.1:4321", "pid": pid}))


def _ended_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_running_server_of_the_data_folder_is_found(tmp_path: Path) -> None:
    _write_state(tmp_path / "data" / "run", os.getpid())
    assert local_base_url() == "http://127.0.0.1:4321/v1"


def test_state_of_a_dead_server_is_ignored(tmp_path: Path) -> None:
    _write_state(tmp_path, _ended_pid())
    assert running_url(tmp_path) is None


def test_state_that_is_no_json_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text("{")
    assert running_url(tmp_path) is None


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("127.0.0.1", "8000", "http://127.0.0.1:8000/v1"),
        ("0.0.0.0", "9000", "http://127.0.0.1:9000/v1"),
        ("::", "8000", "http://[::1]:8000/v1"),
        ("::1", "8000", "http://[::1]:8000/v1"),
        ("box.example", "80", "http://box.example:80/v1"),
    ],
)
def test_configured_address(host: str, port: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNERY_HOST", host)
    monkeypatch.setenv("TUNERY_PORT", port)
    assert local_base_url() == url
