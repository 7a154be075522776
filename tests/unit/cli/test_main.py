import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.fakes.api import Answer, connected
from tests.unit.cli.conftest import Ran
from tunery import __version__
from tunery.cli import GROUPS

EMPTY = Answer({"object": "list", "data": [], "has_more": False})


def test_version(tunery: Callable[..., Ran]) -> None:
    assert tunery("--version") == Ran(0, f"{__version__}\n", "")


def test_help_lists_every_group(tunery: Callable[..., Ran]) -> None:
    ran = tunery("--help")
    assert ran.status == 0
    assert all(f"\n  {name} " in ran.out for name in GROUPS)


@pytest.mark.parametrize("group", list(GROUPS))
def test_group_has_help(group: str, tunery: Callable[..., Ran]) -> None:
    ran = tunery(group, "--help")
    assert ran.status == 0
    assert f"Usage: tunery {group}" in ran.out


@pytest.mark.parametrize("words", [(), ("files",), ("jobs",), ("models",)])
def test_group_without_command_shows_help_and_exits_2(words: tuple[str, ...], tunery: Callable[..., Ran]) -> None:
    ran = tunery(*words)
    assert ran.status == 2
    assert "Commands:" in ran.out + ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fils",), "No such command 'fils'"),
        (("files", "lst"), "Did you mean 'list'?"),
        (("files", "get"), "Missing argument 'FILE_ID'"),
        (("jobs", "list", "--limit", "0"), "--limit"),
        (("jobs", "list", "--nope"), "--nope"),
        (("files", "list", "--base-url", "localhost:8000"), "write it like http://127.0.0.1:8000"),
        (("files", "list", "--base-url", "http://[::"), "--base-url"),
    ],
)
def test_wrong_use_is_two_lines_and_exits_2(words: tuple[str, ...], said: str, tunery: Callable[..., Ran]) -> None:
    ran = tunery(*words)
    assert (ran.status, ran.out) == (2, "")
    first, second = ran.err.splitlines()
    assert first.startswith("Error: ")
    assert said in first
    assert second.startswith("`tunery")


@pytest.mark.parametrize("place", ["before", "behind", "variable"])
def test_base_url_in_every_place(place: str, tunery: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    with connected({("GET", "/files"): EMPTY}) as (api, _):
        if place == "variable":
            monkeypatch.setenv("TUNERY_BASE_URL", api.url)
        option = ("--base-url", api.url)
        before, behind = (option if place == "before" else ()), (option if place == "behind" else ())
        assert tunery(*before, "files", "list", *behind).status == 0
    assert len(api.received) == 1


@pytest.mark.parametrize("words", [("--json", "files", "list"), ("files", "list", "--json")])
def test_json_before_or_behind(
    words: tuple[str, ...], tunery: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected({("GET", "/files"): EMPTY}) as (api, _):
        monkeypatch.setenv("TUNERY_BASE_URL", api.url)
        assert '"object": "list"' in tunery(*words).out


def test_bare_server_address_gets_the_prefix(tunery: Callable[..., Ran]) -> None:
    with connected({("GET", "/files"): EMPTY}) as (api, _):
        assert tunery("files", "list", "--base-url", api.url.removesuffix("/v1")).status == 0
        assert tunery("files", "list", "--base-url", api.url + "/").status == 0


def test_key_comes_from_the_environment(tunery: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNERY_API_KEY", "secret")
    with connected({("GET", "/files"): EMPTY}) as (api, _):
        tunery("files", "list", "--base-url", api.url)
    assert api.received[0].headers["authorization"] == "Bearer secret"


def test_import_stays_light() -> None:
    """What the ordinary commands load has none of the server's weight."""
    script = (
        "import sys, tunery.cli\n"
        "import tunery.cli.files, tunery.cli.jobs, tunery.cli.models, tunery.cli.chat, tunery.cli.config\n"
        "heavy = {'torch', 'transformers', 'sqlalchemy', 'uvicorn', 'starlette', 'numpy', 'alembic', 'tokenizers'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


@pytest.mark.parametrize("words", [("--version",), ("config", "--json")])
def test_reader_that_leaves_early_meets_no_traceback(words: tuple[str, ...]) -> None:
    """As in `tunery config | true`."""
    command = [sys.executable, "-m", "tunery", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1
