import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Ran
from tunery.cli.config import shown
from tunery.settings import Settings


def test_every_setting_is_there(tunery: Callable[..., Ran]) -> None:
    ran = tunery("config")
    assert [line.split()[0] for line in ran.out.splitlines()] == ["SETTING", *Settings.model_fields]


def test_origin_of_each_value(tunery: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tunery.toml"
    path.write_text('port = 9000\ndevice = "cpu"\n')
    monkeypatch.setenv("TUNERY_CONFIG", str(path))
    monkeypatch.setenv("TUNERY_DEVICE", "mps")
    told = json.loads(tunery("config", "--json").out)
    assert (told["port"]["value"], told["port"]["origin"]) == (9000, "file")
    assert (told["device"]["value"], told["device"]["origin"]) == ("mps", "environment")
    assert told["host"]["origin"] == "default"
    table = {line.split()[0]: line.split() for line in tunery("config").out.splitlines()}
    assert table["device"][1:3] == ["mps", "TUNERY_DEVICE"]
    assert table["port"][1:3] == ["9000", "file"]


def test_wrong_value_names_its_place(tunery: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNERY_PORT", "lots")
    ran = tunery("config")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("Error: the variable TUNERY_PORT is not usable")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("postgresql://user:secret@host/db", "postgresql://user:***@host/db"),
        ("postgresql://user@host/db", "postgresql://user@host/db"),
        ("sqlite:////tmp/a.db", "sqlite:////tmp/a.db"),
        (Path("/x/y"), "/x/y"),
        (30.0, 30.0),
        (None, None),
    ],
)
def test_shown_hides_passwords(value: object, expected: object) -> None:
    assert shown(value) == expected
