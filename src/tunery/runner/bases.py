"""Enters base models into the store: reads a folder's facts without loading its weights."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from tunery.errors import StartError

STARTER = "tunery-starter"
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
HASH_CHUNK_BYTES = 1 << 22


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
    """The operator's base models. Raises StartError for a name that cannot stand in a tuned model's name."""
    folders = sorted(path for path in bases_dir.iterdir() if path.is_dir()) if bases_dir.is_dir() else []
    for folder in folders:
        if not _SLUG.fullmatch(folder.name):
            raise StartError(f"{folder}: a base model's name may hold only letters, digits, '.', '_' and '-'.")
    return folders


def inspect(folder: Path, *, source: str) -> BaseFacts:
    """Size, digest and limits of a Hugging Face folder. Raises StartError when it is no model."""
    weights = sorted(folder.glob("*.safetensors"))
    config_path = folder / "config.json"
    if not weights or not config_path.exists():
        raise StartError(f"{folder} holds no model: a config.json and *.safetensors are needed.")
    config = json.loads(config_path.read_text())
    digest = hashlib.sha256()
    for path in [config_path, *weights, *sorted(folder.glob("tokenizer*.json")), *sorted(folder.glob("*.jinja"))]:
        digest.update(_file_digest(path))
    return BaseFacts(
        folder=str(folder.absolute()),
        source=source,
        sha256=digest.hexdigest(),
        file_bytes=sum(path.stat().st_size for path in weights),
        parameters=sum(_parameters(path) for path in weights),
        positions_max=config["max_position_embeddings"],
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
