"""Every setting, its default and where its value came from; nothing else reads the environment.

A flag beats an environment variable, which beats the TOML file, which beats the default.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_config_path, user_data_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from tunery.errors import StartError

Origin = Literal["flag", "environment", "file", "default"]
PREFIX = "TUNERY_"
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Settings(BaseModel):
    """The whole configuration of one server; frozen, built by the CLI, handed down in small pieces."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path = Field(default_factory=lambda: user_data_path("tunery"), description="Database, files and weights.")
    host: str = Field(default="127.0.0.1", description="Address the API listens on.")
    allow_open: bool = Field(default=False, description="Serve beyond this machine although there are no keys.")
    api_keys_file: Path | None = Field(default=None, description="File with one API key on each line.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port of the API; 0 takes a free one.")
    database_url: str | None = Field(default=None, description="SQLAlchemy URL; by default SQLite in the data folder.")
    storage_url: str | None = Field(default=None, description="Folder where files live; by default one in data_dir.")
    device: str = Field(default="auto", description="auto, cpu, cuda:N or mps.")
    default_model: str = Field(default="tunery-starter", description="Base model kept warm and shown in examples.")
    aliases: dict[str, str] = Field(default_factory=dict, description="Other names of models, as JSON or a TOML table.")
    conformance: bool = Field(default=False, description="Answer the fixed ids of OpenAI's client test-suites.")
    offline: bool = Field(default=True, description="Never open a connection to another machine.")
    organization: str = Field(default="local", description="Organisation slug in the names of tuned models.")
    lease_seconds: float = Field(default=30.0, gt=0, description="How long a silent runner keeps its jobs.")
    snapshot_seconds: float = Field(default=60.0, gt=0, description="Longest stretch of training that a crash redoes.")
    jobs_per_device: int = Field(default=4, ge=1, description="Jobs that train side by side on one device.")
    threads: int = Field(default=0, ge=0, description="Compute threads of a host; 0 takes every core.")
    warm: bool = Field(default=True, description="Load the default model at start, for training and for chat.")
    host_module: str = Field(default="tunery.host", description="Python module that runs as a host.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")
    log_json: bool = Field(default=False, description="Log JSON lines instead of text.")

    @field_validator("aliases", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except json.JSONDecodeError as error:
            raise ValueError(f"it is no JSON object ({error})") from None

    @field_validator("data_dir", "api_keys_file", mode="after")
    @classmethod
    def _at_home(cls, value: Path | None) -> Path | None:
        return value.expanduser() if value is not None else None

    @field_validator("storage_url")
    @classmethod
    def _is_folder(cls, value: str | None) -> str | None:
        if value is not None and "://" in value and not value.startswith("file://"):
            raise ValueError("only a folder can be named; object stores are not available yet")
        return value

    @field_validator("organization")
    @classmethod
    def _is_slug(cls, value: str) -> str:
        if not value or not all(character.isalnum() or character == "-" for character in value):
            raise ValueError("only letters, digits and '-' can stand in a model's name")
        return value

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOOPBACK_NAMES

    @property
    def resolved_database_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'tunery.db'}"

    @property
    def blobs_dir(self) -> Path:
        if self.storage_url is not None:
            return Path(self.storage_url.removeprefix("file://")).expanduser().absolute()
        return self.data_dir.absolute() / "blobs"

    @property
    def bases_dir(self) -> Path:
        """Every Hugging Face folder in here is a base model by its folder's name."""
        return self.data_dir.absolute() / "bases"

    @property
    def run_dir(self) -> Path:
        """Sockets, locks and state files of the running server."""
        return self.data_dir.absolute() / "run"


def config_path() -> Path:
    """The TOML file that is read: TUNERY_CONFIG, or the user's configuration folder."""
    named = os.environ.get(PREFIX + "CONFIG")
    return Path(named) if named else user_config_path("tunery") / "config.toml"


def load(flags: dict[str, Any] | None = None) -> tuple[Settings, dict[str, Origin]]:
    """Settings and each one's origin. Raises StartError naming the bad value and where it stands."""
    layers: dict[Origin, dict[str, Any]] = {
        "file": _read_file(config_path()),
        "environment": _read_environment(),
        "flag": {key: value for key, value in (flags or {}).items() if value is not None},
    }
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = dict.fromkeys(Settings.model_fields, "default")
    for origin, layer in layers.items():
        values |= layer
        origins |= dict.fromkeys(layer, origin)
    try:
        return Settings(**values), origins
    except ValidationError as error:
        raise StartError(_explain(error, origins)) from None


def api_key() -> str | None:
    """The key that commands send, from TUNERY_API_KEY alone: a flag would show it to everyone on the machine."""
    return os.environ.get(PREFIX + "API_KEY") or None


def child_environment(
    settings: Settings | None = None, *, variables: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment for a child process: ours, exactly these settings where they are given, and `variables`."""
    values = settings.model_dump(mode="json") if settings is not None else {}
    named = {
        PREFIX + name.upper(): json.dumps(value) if isinstance(value, dict) else str(value)
        for name, value in values.items()
        if value is not None
    }
    return os.environ | named | dict(variables or {})


def _read_environment() -> dict[str, str]:
    names = {PREFIX + name.upper(): name for name in Settings.model_fields}
    return {names[key]: value for key, value in os.environ.items() if key in names and value != ""}


def _read_file(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        raise StartError(f"The configuration file {path} cannot be read: {error}") from None


def _explain(error: ValidationError, origins: dict[str, Origin]) -> str:
    problem = error.errors()[0]
    name = str(problem["loc"][0])
    source = {
        "flag": f"the flag --{name.replace('_', '-')}",
        "environment": f"the variable {PREFIX}{name.upper()}",
        "file": f"{config_path()} ({name})",
        "default": f"the default of {name}",
    }[origins.get(name) or "file"]
    if problem["type"] == "extra_forbidden":
        return f"{source} is no setting; `tunery config` lists them all."
    return f"{source} is not usable: {problem['msg']} (it was {problem['input']!r})."
