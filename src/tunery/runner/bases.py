"""Enters base models into the store: reads a folder's facts without loading its weights."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from tunery.errors import StartError
from tunery.modeling.config import read_positions_max
from tunery.modeling.files import weight_files
from tunery.observability import logger

STARTER = "tunery-starter"
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
HASH_CHUNK_BYTES = 1 << 22
log = logger("bootstrap")


@dataclass(frozen=True)
class BaseFacts:
    """What the planner must know of a base before any host has it in memory."""

    folder: str
    source: str
    sha256: str
    file_bytes: int
    parameters: int
    positions_max: int


def folders_in(bases_dir: Path) -> list[Path]:
    """The operator's base models."""
    return sorted(path for path in bases_dir.iterdir() if path.is_dir()) if bases_dir.is_dir() else []


def inspect_all(bases_dir: Path, *, needed: str) -> dict[str, BaseFacts]:
    """The usable models among the operator's folders by name; the others are told in the log and left out.

    Raises StartError for the one that is `needed`.
    """
    found: dict[str, BaseFacts] = {}
    for folder in folders_in(bases_dir):
        try:
            found[folder.name] = inspect(folder, source="folder")
        except StartError as error:
            if folder.name == needed:
                raise
            log.warning("a folder is left out", reason=str(error))
    return found


def inspect(folder: Path, *, source: str) -> BaseFacts:
    """Size, digest and limits of a Hugging Face folder. Raises StartError when it is no model that can be used."""
    if source == "folder" and not _SLUG.fullmatch(folder.name):
        raise StartError(f"{folder}: a base model's name may hold only letters, digits, '.', '_' and '-'.")
    try:
        return _read_facts(folder, source=source)
    except (OSError, ValueError, SafetensorError) as error:
        raise StartError(f"{folder} holds no model that can be used: {error}") from error


def _read_facts(folder: Path, *, source: str) -> BaseFacts:
    config_path = folder / "config.json"
    config = json.loads(config_path.read_bytes())
    if not isinstance(config, dict):
        raise ValueError("config.json is not an object")
    weights = weight_files(folder)
    positions_max = read_positions_max(config)
    digest = hashlib.sha256()
    for path in [config_path, *weights, *sorted(folder.glob("tokenizer*.json")), *sorted(folder.glob("*.jinja"))]:
        digest.update(_file_digest(path))
    return BaseFacts(
        folder=str(folder.absolute()),
        source=source,
        sha256=digest.hexdigest(),
        file_bytes=sum(path.stat().st_size for path in weights),
        parameters=sum(_parameters(path) for path in weights),
        positions_max=positions_max,
    )


def _parameters(path: Path) -> int:
    total = 0
    with safe_open(path, framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118 - not a dict
            count = 1
            for size in file.get_slice(name).get_shape():
                count *= size
            total += count
    return total


def _file_digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()
