"""Where a setting comes from, which source wins, and what is said of a bad value."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from platformdirs import user_data_path

from tunery import settings
from tunery.errors import StartError
from tunery.settings import Settings

SetFile = Callable[[str], Path]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting from outside."""
    for name in Settings.model_fields:
        monkeypatch.delenv(settings.PREFIX + name.upper(), raising=False)
    monkeypatch.setenv("TUNERY_CONFIG", str(tmp_path / "none.toml"))


@pytest.fixture
def write_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SetFile:
    def write(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text)
        monkeypatch.setenv("TUNERY_CONFIG", str(path))
        return path

    return write


def test_defaults_stand_where_nothing_is_set() -> None:
    config, origins = settings.load()
    assert (config.port, config.host, config.database_url) == (8000, "127.0.0.1", None)
    assert config.data_dir == user_data_path("tunery")
    assert set(origins.values()) == {"default"}
    assert origins.keys() == Settings.model_fields.keys()


def test_flag_beats_variable_beats_file_beats_default(monkeypatch: pytest.MonkeyPatch, write_file: SetFile) -> None:
    write_file('port = 1001\nhost = "file"\nlease_seconds = 7.5\n')
    monkeypatch.setenv("TUNERY_PORT", "1002")
    monkeypatch.setenv("TUNERY_HOST", "variable")
    config, origins = settings.load({"port": 1003, "device": None})
    assert (config.port, config.host, config.lease_seconds, config.device) == (1003, "variable", 7.5, "auto")
    assert [origins[name] for name in ("port", "host", "lease_seconds", "device")] == [
        "flag", "environment", "file", "default"
    ]  # fmt: skip


def test_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNERY_PORT", "")
    assert settings.load()[0].port == 8000


@pytest.mark.parametrize(
    ("flags", "variables", "file", "told"),
    [
        ({"port": 70000}, {}, "", "the flag --port is not usable"),
        ({}, {"TUNERY_PORT": "eight"}, "", "the variable TUNERY_PORT is not usable"),
        ({}, {"TUNERY_LEASE_SECONDS": "0"}, "", "the variable TUNERY_LEASE_SECONDS is not usable"),
        ({}, {}, "port = -1", "config.toml (port) is not usable"),
        ({}, {}, "prot = 1", "config.toml (prot) is no setting"),
        ({}, {}, "port = ", "config.toml cannot be read"),
        ({}, {"TUNERY_ORGANIZATION": "a:b"}, "", "the variable TUNERY_ORGANIZATION is not usable"),
        ({}, {"TUNERY_LOG_LEVEL": "loud"}, "", "the variable TUNERY_LOG_LEVEL is not usable"),
        ({}, {"TUNERY_ALIASES": "{"}, "", "the variable TUNERY_ALIASES is not usable"),
    ],
)
def test_bad_value_is_told_with_its_place(
    monkeypatch: pytest.MonkeyPatch,
    write_file: SetFile,
    flags: dict[str, Any],
    variables: dict[str, str],
    file: str,
    told: str,
) -> None:
    write_file(file)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StartError) as refused:
        settings.load(flags)
    assert told in str(refused.value)


def test_child_process_loads_exactly_the_same_settings(monkeypatch: pytest.MonkeyPatch, write_file: SetFile) -> None:
    write_file('log_json = true\norganization = "acme"\n[aliases]\n"gpt-4o-mini" = "tiny"\n')
    monkeypatch.setenv("TUNERY_WARM", "no")
    config, _ = settings.load({"port": 0, "data_dir": "/x"})
    for name, value in settings.child_environment(config).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TUNERY_CONFIG", "/nowhere/config.toml")
    assert settings.load()[0] == config


def test_settings_are_frozen() -> None:
    config, _ = settings.load()
    with pytest.raises(ValueError, match="frozen"):
        config.port = 1  # type: ignore[misc]


def test_places_follow_the_data_folder() -> None:
    config, _ = settings.load({"data_dir": "/data"})
    assert config.resolved_database_url == "sqlite:////data/tunery.db"
    assert (config.blobs_dir, config.bases_dir, config.run_dir) == (
        Path("/data/blobs"), Path("/data/bases"), Path("/data/run")
    )  # fmt: skip
