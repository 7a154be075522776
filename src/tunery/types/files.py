"""Files on the wire."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

PURPOSES = ("fine-tune", "assistants", "batch", "user_data", "vision", "evals")
RESULTS_PURPOSE = "fine-tune-results"
FILE_BYTES_MAX = 512 * 1024 * 1024


class ExpiresAfter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=2_592_000)]


def file_object(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Files are usable the moment they are stored, so their deprecated status is always `processed`."""
    return {
        "object": "file",
        "id": row["id"],
        "purpose": row["purpose"],
        "filename": row["filename"],
        "bytes": row["file_bytes"],
        "created_at": row["created_at"],
        "expires_at": row["expires_at"],
        "status": "processed",
        "status_details": None,
    }


def file_deleted(file_id: str) -> dict[str, Any]:
    return {"object": "file", "deleted": True, "id": file_id}
