"""Enters base models into the store: reads a folder's facts without loading its weights."""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from tunery.errors import StartError

STARTER = "tunery-starter"
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
    created_at: int


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
        created_at=int(time.time()),
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
