"""Folders that a reader sees complete or not at all, however and whenever the writer dies.

The recipe: a fresh temporary folder on the same filesystem, every file flushed to disk, a manifest with each file's
size and digest written last, the folder flushed, renamed, its parent flushed. A folder without a manifest that agrees
with its files is no artefact. Free of torch: the runner and the store check artefacts that hosts publish.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST_NAME = "manifest.json"
_TEMPORARY_PREFIX = ".tmp-"
_CHUNK_BYTES = 1 << 20


class IncompleteArtefact(Exception):
    """The folder's files do not agree with its manifest, or it has none; the message names the first difference."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A complete folder."""

    path: Path
    sha256: str
    """Digest of manifest.json, and through it of every file."""
    file_bytes: int
    """All files without the manifest."""
    facts: Mapping[str, Any]
    """What the publisher wrote into the manifest beside the files."""


def publish(folder: Path, write: Callable[[Path], None], *, facts: Mapping[str, Any]) -> Published:
    """Make `folder` out of what `write` puts into the empty folder that it is handed.

    `folder` must not exist: artefacts never change, so a second writer is a mistake and meets FileExistsError. When
    `write` raises or the process dies, nothing appears under `folder`; leftovers go by `sweep`.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} is published already")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.parent / f"{_TEMPORARY_PREFIX}{folder.name}-{uuid.uuid4().hex}"
    temporary.mkdir()
    try:
        write(temporary)
        files = {path.relative_to(temporary).as_posix(): _describe(path) for path in _list_files(temporary)}
        _write_manifest(temporary / MANIFEST_NAME, {"files": files, "facts": dict(facts)})
        for path in (*_list_files(temporary), *(path for path in temporary.rglob("*") if path.is_dir()), temporary):
            _flush(path)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _flush(folder.parent)
    return read_manifest(folder)


def read_manifest(folder: Path) -> Published:
    """What `folder` says it holds, its files not looked at. Raises IncompleteArtefact without a readable manifest."""
    published, _ = _parse_manifest(folder)
    return published


def verify(folder: Path, *, sha256: str | None = None) -> Published:
    """Check every file against the manifest, and the manifest against `sha256` when the caller knows it.

    Reads all bytes (about 1.7 GB/s). Raises IncompleteArtefact.
    """
    published, files = _parse_manifest(folder)
    if sha256 is not None and published.sha256 != sha256:
        raise IncompleteArtefact(f"{folder} has manifest {published.sha256}, expected {sha256}")
    present = {path.relative_to(folder).as_posix() for path in _list_files(folder)} - {MANIFEST_NAME}
    if present != set(files):
        raise IncompleteArtefact(f"{folder} and its manifest differ in {', '.join(sorted(present ^ set(files)))}")
    for name, described in files.items():
        if _describe(folder / name) != described:
            raise IncompleteArtefact(f"{folder / name} is not what the manifest says")
    return published


def sweep(parent: Path) -> int:
    """Remove what dead publishers left behind in `parent`; answers how many. Never call it beside a live publisher."""
    leftovers = [path for path in parent.glob(f"{_TEMPORARY_PREFIX}*") if path.is_dir()]
    for path in leftovers:
        shutil.rmtree(path, ignore_errors=True)
    return len(leftovers)


def _parse_manifest(folder: Path) -> tuple[Published, dict[str, dict[str, Any]]]:
    try:
        content = (folder / MANIFEST_NAME).read_bytes()
        manifest = json.loads(content)
        files, facts = manifest["files"], manifest["facts"]
    except (OSError, ValueError, KeyError) as error:
        raise IncompleteArtefact(f"{folder} has no readable manifest: {error}") from error
    published = Published(
        path=folder,
        sha256=hashlib.sha256(content).hexdigest(),
        file_bytes=sum(described["bytes"] for described in files.values()),
        facts=facts,
    )
    return published, files


def _list_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _describe(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    path.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
