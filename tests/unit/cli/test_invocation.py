import json
import os
import shlex
import socket
import subprocess
from pathlib import Path

import pytest

from tunery.cli.invocation import going_on, program_name, quoted

PROMPTS = ["plain words", "it's 5 o'clock", 'say "hi"', "cost: $5 `x` \\ !", "two\nlines", "ünïcödé 😀", ""]


@pytest.mark.parametrize("text", PROMPTS)
def test_quoted_is_one_word_of_a_shell(text: str) -> None:
    told = subprocess.run(["/bin/sh", "-c", f"printf %s {quoted(text)}"], capture_output=True, check=True)
    assert told.stdout.decode() == text


def test_quoted_prefers_double_quotes() -> None:
    assert quoted("it's here") == '"it\'s here"'


def _words(command: str) -> list[str]:
    return shlex.split(command)[1:]


def test_going_on_with_the_usual_port(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("TUNERY_PORT", str(port))
    serve, chat = going_on(Path("my data"), model="ft:a:b::c", prompt="Hi there", system=None)
    assert _words(serve) == ["serve", "--data-dir", "my data"]
    assert _words(chat) == ["chat", "ft:a:b::c", "Hi there"]


def test_going_on_names_another_port_where_the_usual_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("TUNERY_PORT", str(taken.getsockname()[1]))
        serve, chat = going_on(Path("d"), model="m", prompt="Hi", system="be kind")
    port = _words(serve)[-1]
    assert _words(serve) == ["serve", "--data-dir", "d", "--port", port]
    assert port != str(taken)
    assert _words(chat) == ["chat", "m", "--base-url", f"http://127.0.0.1:{port}/v1", "--system", "be kind", "Hi"]


def test_going_on_names_the_address_where_another_server_runs(tmp_path: Path) -> None:
    """The chat command would find the server of the default data folder, which does not know the model."""
    run_dir = tmp_path / "data" / "run"
    run_dir.mkdir(parents=True)
    (run_dir / "server.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "pid": os.getpid()}))
    _, chat = going_on(Path("d"), model="m", prompt="Hi", system=None)
    assert "--base-url" in _words(chat)


def test_program_name_runs_from_here() -> None:
    told = subprocess.run([program_name(), "--version"], capture_output=True, text=True, check=True)
    assert told.stdout.strip()
