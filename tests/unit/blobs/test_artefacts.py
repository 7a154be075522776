"""Published folders: complete or absent, at whatever point the publisher is stopped, and damage is always seen."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tunery.blobs.artefacts import IncompleteArtefact, publish, read_manifest, sweep, verify


def write_two(folder: Path) -> None:
    (folder / "a.bin").write_bytes(b"a" * 3000)
    (folder / "sub").mkdir()
    (folder / "sub" / "b.txt").write_text("b")


def test_publish_makes_a_folder_that_verifies(tmp_path: Path) -> None:
    published = publish(tmp_path / "job" / "step-1", write_two, facts={"step": 1})
    assert published.file_bytes == 3001
    assert verify(published.path, sha256=published.sha256) == published == read_manifest(published.path)
    assert published.facts == {"step": 1}
    assert [path.name for path in (tmp_path / "job").iterdir()] == ["step-1"]


def test_publish_never_replaces(tmp_path: Path) -> None:
    first = publish(tmp_path / "x", write_two, facts={})
    with pytest.raises(FileExistsError):
        publish(tmp_path / "x", lambda folder: None, facts={})
    assert verify(tmp_path / "x") == first


def test_failed_writer_leaves_nothing(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        write_two(folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        publish(tmp_path / "x", write, facts={})
    assert list(tmp_path.iterdir()) == []


def _append(folder: Path) -> None:
    (folder / "a.bin").write_bytes(b"a" * 3001)


def _flip(folder: Path) -> None:
    (folder / "a.bin").write_bytes(b"b" + b"a" * 2999)


def _remove(folder: Path) -> None:
    (folder / "sub" / "b.txt").unlink()


def _add(folder: Path) -> None:
    (folder / "c.txt").write_text("")


def _lose_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def _cut_manifest(folder: Path) -> None:
    content = (folder / "manifest.json").read_bytes()
    (folder / "manifest.json").write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("damage", [_append, _flip, _remove, _add, _lose_manifest, _cut_manifest])
def test_verify_sees_damage(damage: Callable[[Path], None], tmp_path: Path) -> None:
    folder = publish(tmp_path / "x", write_two, facts={}).path
    damage(folder)
    with pytest.raises(IncompleteArtefact):
        verify(folder)


def test_verify_sees_an_exchanged_folder(tmp_path: Path) -> None:
    expected = publish(tmp_path / "x", write_two, facts={"step": 1})
    other = publish(tmp_path / "y", write_two, facts={"step": 2})
    with pytest.raises(IncompleteArtefact, match="expected"):
        verify(other.path, sha256=expected.sha256)


def test_a_publisher_killed_at_any_call_leaves_the_whole_or_nothing(tmp_path: Path) -> None:
    """Kill -9 in a child before its n-th write, fsync or rename, for every n, until one lives to the end."""
    for stop_at in range(100):
        root = tmp_path / str(stop_at)
        root.mkdir()
        child = os.fork()
        if child == 0:
            _publish_until(root, stop_at)
        _, status = os.waitpid(child, 0)
        names = [path.name for path in root.iterdir() if not path.name.startswith(".tmp-")]
        if names:
            verify(root / "x")
        assert names in ([], ["x"])
        leftovers = sweep(root)
        assert leftovers == 0 or names == []
        if status == 0:
            assert names == ["x"]
            assert stop_at > 8
            return
    pytest.fail("the publisher never came to its end")


def _publish_until(root: Path, stop_at: int) -> None:
    """In the child: count the calls that touch the disk and die at the chosen one."""
    calls = 0

    def dying(original: Callable) -> Callable:
        def call(*arguments: object, **named: object) -> object:
            nonlocal calls
            if calls == stop_at:
                os.kill(os.getpid(), 9)
            calls += 1
            return original(*arguments, **named)

        return call

    for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "write_text"), (Path, "write_bytes"), (Path, "mkdir")):
        setattr(owner, name, dying(getattr(owner, name)))
    publish(root / "x", write_two, facts={})
    os._exit(0)


def test_manifest_is_readable_json(tmp_path: Path) -> None:
    folder = publish(tmp_path / "x", write_two, facts={"step": 1}).path
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["files"]) == {"a.bin", "sub/b.txt"}
    assert manifest["files"]["sub/b.txt"]["bytes"] == 1
