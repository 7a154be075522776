"""Uploads in parts on the wire."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tunery.types.files import ExpiresAfter

UPLOAD_BYTES_MAX = 8 * 1024**3
PART_BYTES_MAX = 64 * 1024**2
EXPIRES_SECONDS = 3600


class CreateUpload(BaseModel):
    """POST /uploads."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    filename: Annotated[str, Field(min_length=1)]
    purpose: str
    file_bytes: Annotated[int, Field(alias="bytes", ge=0, le=UPLOAD_BYTES_MAX)]
    mime_type: str
    expires_after: ExpiresAfter | None = None


class CompleteUpload(BaseModel):
    """POST /uploads/{id}/complete: the parts in the order of the file."""

    model_config = ConfigDict(extra="forbid")

    part_ids: list[str]
    md5: str | None = None


def upload_object(row: Mapping[Any, Any], *, file: dict[str, Any] | None = None) -> dict[str, Any]:
    """The nested file stands only in a completed upload."""
    wire = {
        "id": row["id"],
        "object": "upload",
        "bytes": row["file_bytes"],
        "created_at": row["created_at"],
        "filename": row["filename"],
        "purpose": row["purpose"],
        "status": row["status"],
        "expires_at": row["expires_at"],
    }
    return wire | {"file": file} if file is not None else wire


def part_object(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "object": "upload.part",
        "created_at": row["created_at"],
        "upload_id": row["upload_id"],
    }
