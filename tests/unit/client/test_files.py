from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path

import pytest

from tests.fakes.api import Answer, connected

FILE = {"object": "file", "id": "file-1", "bytes": 3, "filename": "a.jsonl", "purpose": "fine-tune"}


def _parts(content_type: str, body: bytes) -> dict[str, tuple[str | None, bytes]]:
    """Name to (filename, content) of a multipart body."""
    message = BytesParser(policy=HTTP).parsebytes(b"content-type: " + content_type.encode() + b"\r\n\r\n" + body)
    parts = {}
    for part in message.iter_parts():
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        parts[part["content-disposition"].params["name"]] = (part.get_filename(), content)
    return parts


def test_upload_sends_name_purpose_and_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "wörter.jsonl"
    path.write_bytes(b'{"a": 1}\n' * 50_000)
    told: list[int] = []
    with connected({("POST", "/files"): Answer(FILE)}) as (api, client):
        assert client.files.upload(path, purpose="evals", on_progress=told.append) == FILE
    request = api.received[0]
    parts = _parts(request.headers["content-type"], request.body)
    assert parts["purpose"] == (None, b"evals")
    assert parts["file"][0] is not None
    assert parts["file"][1] == path.read_bytes()
    assert told == sorted(told)
    assert told[-1] == path.stat().st_size
    assert len(told) > 3


def test_upload_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    with connected({("POST", "/files"): Answer(FILE)}) as (api, client):
        client.files.upload(tmp_path / "empty.jsonl")
    assert _parts(api.received[0].headers["content-type"], api.received[0].body)["file"][1] == b""


def test_upload_missing_file_is_os_error(tmp_path: Path) -> None:
    with connected({}) as (api, client), pytest.raises(FileNotFoundError):
        client.files.upload(tmp_path / "none")
    assert api.received == []


def test_list_sends_only_given_parameters() -> None:
    page = Answer({"object": "list", "data": [], "has_more": False})
    with connected({("GET", "/files"): page}) as (api, client):
        client.files.list()
        client.files.list(purpose="fine-tune", limit=3, after="file-9")
    assert api.received[0].query == {}
    assert api.received[1].query == {"purpose": "fine-tune", "limit": "3", "after": "file-9"}


def test_content_asks_for_plain_csv() -> None:
    with connected({("GET", "/files/file-1/content"): Answer(content=b"step\n1\n")}) as (api, client):
        assert b"".join(client.files.content("file-1")) == b"step\n1\n"
    assert "text/csv" in api.received[0].headers["accept"]


def test_id_cannot_leave_its_path_segment() -> None:
    answer = Answer({"id": "x", "object": "file", "deleted": True})
    with connected({("DELETE", "/files/..%2Fmodels%2Fm"): answer}) as (api, client):
        client.files.delete("../models/m")
    assert api.received[0].path == "/files/..%2Fmodels%2Fm"
