"""Bytes by key, in a folder of this machine. A key is complete or absent: writers work beside it and rename."""

import hashlib
import os
import shutil
import uuid
from pathlib import Path
from typing import BinaryIO


class BlobWriter:
    """A blob in the making: counts and digests what it is given, and appears under its key only at `commit`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / "tmp" / uuid.uuid4().hex
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = self._path.open("wb")
        self._digest = hashlib.sha256()
        self.file_bytes = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    @property
    def path(self) -> Path:
        """Where the bytes lie before `commit`, for reading what was written so far."""
        self._file.flush()
        return self._path

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.file_bytes += len(data)

    def commit(self, key: str) -> None:
        """Flush to disk and appear under `key`, replacing what was there."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        destination = self._root / key
        destination.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self._path, destination)
        sync_folder(destination.parent)

    def discard(self) -> None:
        """Forget the bytes; harmless after `commit`."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class DiskBlobs:
    """The default blob store. Keys are made by us, never by users, and use `/` between parts."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self) -> BlobWriter:
        return BlobWriter(self.root)

    def path(self, key: str) -> Path:
        """Where the blob or folder of this key lies."""
        return self.root / key

    def put(self, key: str, data: bytes) -> str:
        """Store small content at once; its sha256."""
        writer = self.create()
        writer.write(data)
        writer.commit(key)
        return writer.sha256

    def delete(self, key: str) -> None:
        """Remove the blob or folder; no error when it is gone already."""
        path = self.root / key
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames inside the folder survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
