"""Uploads: fields in any order, bytes kept as they are, and nothing left behind of a body that is no upload."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect, Request

from tunery.api.multipart import FIELD_BYTES_MAX, FIELDS_MAX, Form, UploadTooLarge, read_form
from tunery.blobs.disk import DiskBlobs
from tunery.errors import InvalidFileUpload

BOUNDARY = "xYzZY"
LIMIT = 10_000


@pytest.fixture
def blobs(tmp_path: Path) -> DiskBlobs:
    return DiskBlobs(tmp_path)


def field(name: str, value: bytes) -> bytes:
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"


def file(content: bytes, *, name: str = "file", filename: str = 'filename="a.jsonl"') -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; {filename}\r\n'
    return head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def read(blobs: DiskBlobs, chunks: Iterable[bytes], *, headers: dict[str, str] | None = None) -> Form:
    """`chunks` arrive one by one; after the last, the body is over."""
    pieces = [*chunks]
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Any:
        return messages.pop(0)

    given = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"} | (headers or {})
    scope = {"type": "http", "headers": [(key.encode(), value.encode()) for key, value in given.items()]}
    return asyncio.run(read_form(Request(scope, receive), blobs, file_field="file", file_bytes_max=LIMIT))


def left_over(blobs: DiskBlobs) -> list[Path]:
    folder = blobs.root / "tmp"
    return list(folder.iterdir()) if folder.exists() else []


def content(form: Form) -> bytes:
    assert form.file is not None
    read = form.file.path.read_bytes()
    form.file.discard()
    return read


@pytest.mark.parametrize("file_first", [True, False])
def test_fields_may_come_in_any_order(blobs: DiskBlobs, file_first: bool) -> None:
    parts = [file(b"data"), field("purpose", b"fine-tune")]
    form = read(blobs, [b"".join(parts if file_first else parts[::-1]) + END])
    assert (form.fields, form.filename, content(form)) == ({"purpose": "fine-tune"}, "a.jsonl", b"data")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.binary(max_size=300), sizes=st.lists(st.integers(1, 50), max_size=30))
def test_bytes_survive_however_they_are_cut(blobs: DiskBlobs, data: bytes, sizes: list[int]) -> None:
    body = field("purpose", b"batch") + file(data) + END
    pieces = []
    for size in sizes:
        pieces.append(body[:size])
        body = body[size:]
    form = read(blobs, [*pieces, body])
    assert content(form) == data
    assert form.fields == {"purpose": "batch"}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ('filename="dir/../a.jsonl"', "a.jsonl"),
        ('filename="C:\\\\dir\\\\a.jsonl"', "a.jsonl"),
        ('filename=""', "upload"),
        ('filename="ünï.jsonl"', "ünï.jsonl"),
    ],
)
def test_filename_has_no_folders(blobs: DiskBlobs, sent: str, expected: str) -> None:
    form = read(blobs, [file(b"x", filename=sent) + END])
    assert form.filename == expected
    content(form)


@pytest.mark.parametrize("cut", [1, 20, 60, 100, len(file(b"data" * 30)), len(file(b"data" * 30)) + 5])
def test_body_that_was_cut_off_is_no_shorter_file(blobs: DiskBlobs, cut: int) -> None:
    """A proxy that breaks off may still end the body in order; the closing boundary is the proof."""
    with pytest.raises(InvalidFileUpload, match="not complete"):
        read(blobs, [(file(b"data" * 30) + END)[:cut]])
    assert left_over(blobs) == []


def test_file_over_the_limit_is_refused_while_it_arrives(blobs: DiskBlobs) -> None:
    arrived = []

    def chunks() -> Iterable[bytes]:
        yield file(b"")[:-2]
        for _ in range(100):
            arrived.append(1)
            yield b"x" * 1000

    with pytest.raises(UploadTooLarge, match=f"larger than the limit of {LIMIT} bytes"):
        read(blobs, chunks())
    assert left_over(blobs) == []


def test_announced_length_over_the_limit_is_refused_unread(blobs: DiskBlobs) -> None:
    too_long = str(LIMIT + FIELDS_MAX * FIELD_BYTES_MAX + 1)
    with pytest.raises(UploadTooLarge):
        read(blobs, [], headers={"content-length": too_long})


def test_length_that_lies_is_found_out(blobs: DiskBlobs) -> None:
    with pytest.raises(UploadTooLarge):
        read(blobs, [file(b"x" * (LIMIT + 1)) + END], headers={"content-length": "10"})
    assert left_over(blobs) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (field("purpose", b"x") + END, "'file' is a required property"),
        (file(b"a") + file(b"b") + END, "Only one 'file' can be sent"),
        (field("purpose", b"x" * (FIELD_BYTES_MAX + 1)) + END, "The field 'purpose' is too long"),
        (b"".join(field(f"f{n}", b"") for n in range(FIELDS_MAX + 1)) + END, "more than 32 fields"),
        (b"no multipart at all", "not complete"),
        (b"", "not complete"),
    ],
)
def test_what_is_no_upload_is_refused_and_leaves_nothing(blobs: DiskBlobs, body: bytes, message: str) -> None:
    with pytest.raises(InvalidFileUpload, match=message):
        read(blobs, [body])
    assert left_over(blobs) == []


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "", "text/plain; boundary=x"])
def test_other_content_types_are_refused(blobs: DiskBlobs, kind: str) -> None:
    with pytest.raises(InvalidFileUpload, match="multipart/form-data"):
        read(blobs, [END], headers={"content-type": kind})


@pytest.mark.parametrize("failure", [ClientDisconnect(), asyncio.CancelledError(), OSError("disk full")])
def test_broken_connections_leave_nothing(blobs: DiskBlobs, failure: BaseException) -> None:
    class Breaking(Request):
        async def stream(self) -> Any:
            yield file(b"data")
            raise failure

    kind = f"multipart/form-data; boundary={BOUNDARY}".encode()
    scope = {"type": "http", "headers": [(b"content-type", kind)]}
    expected = InvalidFileUpload if isinstance(failure, ClientDisconnect) else type(failure)
    with pytest.raises(expected):
        asyncio.run(read_form(Breaking(scope), blobs, file_field="file", file_bytes_max=LIMIT))
    assert left_over(blobs) == []
