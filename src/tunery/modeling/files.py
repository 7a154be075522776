"""Which files of a model's folder hold its weights: asked by the control plane, and by what loads them into torch."""

import json
from pathlib import Path


def weight_files(folder: Path) -> list[Path]:
    """The safetensors that hold the model: those the index names, or else model.safetensors.

    Raises FileNotFoundError when one is missing, ValueError for an index that makes no sense.
    """
    index = folder / "model.safetensors.index.json"
    files = _indexed(index) if index.exists() else [folder / "model.safetensors"]
    for path in files:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing")
    return files


def _indexed(index: Path) -> list[Path]:
    content = json.loads(index.read_bytes())
    if not isinstance(content, dict) or not isinstance(content.get("weight_map"), dict):
        raise ValueError(f"{index} has no weight_map")
    names = set(content["weight_map"].values())
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{index} names no files")
    return [index.parent / name for name in sorted(names)]
