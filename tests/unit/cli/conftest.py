"""Runs commands in this process, as the installed script would, against whatever server a test brings up."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tunery.cli import main


class Ran(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _nobodys_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable and no file of the person who runs the tests; no colours."""
    for name in ("TUNERY_BASE_URL", "TUNERY_API_KEY", "TUNERY_PORT", "TUNERY_HOST", "FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TUNERY_CONFIG", str(tmp_path / "no-config.toml"))
    monkeypatch.setenv("TUNERY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def tunery(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """`tunery("files", "list")` is the command of these words."""

    def run(*words: str) -> Ran:
        with pytest.raises(SystemExit) as ended:
            main(words)
        captured = capsys.readouterr()
        return Ran(int(ended.value.code or 0), captured.out, captured.err)

    return run
