"""Blobs: complete under their key or not there at all."""

import hashlib
from pathlib import Path

import pytest

from tunery.blobs.disk import DiskBlobs


@pytest.fixture
def blobs(tmp_path: Path) -> DiskBlobs:
    return DiskBlobs(tmp_path / "blobs")


def files(blobs: DiskBlobs) -> list[str]:
    return sorted(path.relative_to(blobs.root).as_posix() for path in blobs.root.rglob("*") if path.is_file())


def test_bytes_appear_at_commit_and_not_before(blobs: DiskBlobs) -> None:
    writer = blobs.create()
    writer.write(b"one ")
    writer.write(b"two")
    assert not blobs.path("files/a").exists()
    assert writer.path.read_bytes() == b"one two", "what was written can be read before the end"
    writer.commit("files/a")
    assert blobs.path("files/a").read_bytes() == b"one two"
    assert (writer.file_bytes, writer.sha256) == (7, hashlib.sha256(b"one two").hexdigest())
    assert files(blobs) == ["files/a"]


def test_discarded_bytes_leave_nothing_and_committed_ones_stay(blobs: DiskBlobs) -> None:
    given_up = blobs.create()
    given_up.write(b"x")
    given_up.discard()
    assert files(blobs) == []
    kept = blobs.create()
    kept.commit("files/a")
    kept.discard()
    assert files(blobs) == ["files/a"]


def test_commit_replaces_what_was_there(blobs: DiskBlobs) -> None:
    assert blobs.put("k", b"old") != blobs.put("k", b"new")
    assert blobs.path("k").read_bytes() == b"new"


def test_blobs_and_folders_are_deleted_and_missing_ones_are_no_error(blobs: DiskBlobs) -> None:
    blobs.put("jobs/j/e1/a", b"1")
    blobs.put("jobs/j/e1/b", b"2")
    blobs.delete("jobs/j/e1/a")
    assert files(blobs) == ["jobs/j/e1/b"]
    blobs.delete("jobs/j")
    blobs.delete("jobs/j")
    blobs.delete("nothing")
    assert files(blobs) == []
