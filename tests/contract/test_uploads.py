"""Uploads in parts through the official client."""

import hashlib

import httpx
import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from tests.samples import jsonl

CONTENT = jsonl(12)
HALF = len(CONTENT) // 2


def begin(client: OpenAI, size: int = len(CONTENT)) -> str:
    upload = client.uploads.create(bytes=size, filename="train.jsonl", mime_type="text/jsonl", purpose="fine-tune")
    assert upload.status == "pending"
    assert upload.expires_at == upload.created_at + 3600
    return upload.id


def test_parts_join_in_the_order_of_completion(client: OpenAI) -> None:
    upload_id = begin(client)
    second = client.uploads.parts.create(upload_id, data=CONTENT[HALF:])
    first = client.uploads.parts.create(upload_id, data=CONTENT[:HALF])
    digest = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    done = client.uploads.complete(upload_id, part_ids=[first.id, second.id], md5=digest)
    assert done.status == "completed"
    assert done.file is not None
    assert done.file.created_at == done.created_at
    assert client.files.content(done.file.id).read() == CONTENT


def test_pending_upload_has_no_file_key(http: httpx.Client) -> None:
    body = {"bytes": 1, "filename": "a", "mime_type": "text/jsonl", "purpose": "fine-tune"}
    wire = http.post("/uploads", json=body).json()
    assert list(wire) == ["id", "object", "bytes", "created_at", "filename", "purpose", "status", "expires_at"]


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_wrong_total_is_refused_and_the_upload_stays_open(client: OpenAI, size: int) -> None:
    upload_id = begin(client, size)
    part = client.uploads.parts.create(upload_id, data=CONTENT)
    with pytest.raises(BadRequestError, match=f"created for {size}"):
        client.uploads.complete(upload_id, part_ids=[part.id])
    assert client.uploads.cancel(upload_id).status == "cancelled"


def test_wrong_md5_is_refused(client: OpenAI) -> None:
    upload_id = begin(client)
    part = client.uploads.parts.create(upload_id, data=CONTENT)
    with pytest.raises(BadRequestError, match="MD5"):
        client.uploads.complete(upload_id, part_ids=[part.id], md5="0" * 32)


def test_foreign_part_is_refused(client: OpenAI) -> None:
    mine, other = begin(client), begin(client)
    part = client.uploads.parts.create(other, data=CONTENT)
    with pytest.raises(BadRequestError, match="does not belong"):
        client.uploads.complete(mine, part_ids=[part.id])


@pytest.mark.parametrize("end", ["complete", "cancel"])
def test_ended_upload_takes_no_changes(client: OpenAI, end: str) -> None:
    upload_id = begin(client)
    part = client.uploads.parts.create(upload_id, data=CONTENT)
    if end == "complete":
        client.uploads.complete(upload_id, part_ids=[part.id])
    else:
        client.uploads.cancel(upload_id)
    with pytest.raises(BadRequestError, match="takes no changes"):
        client.uploads.parts.create(upload_id, data=b"more")
    with pytest.raises(BadRequestError, match="takes no changes"):
        client.uploads.complete(upload_id, part_ids=[part.id])


def test_unknown_upload_is_not_found(client: OpenAI) -> None:
    with pytest.raises(NotFoundError, match="upload_nothing"):
        client.uploads.cancel("upload_nothing")
