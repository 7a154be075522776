"""The list envelope and the parameters that every list takes."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tunery.lifecycle import Status

UnixSeconds = Annotated[int, Field(ge=0, lt=2**53)]


class ListQuery(BaseModel):
    """`after` is the id of the last object seen, exclusive."""

    model_config = ConfigDict(extra="ignore")

    after: str | None = None
    limit: Annotated[int, Field(ge=0, le=10_000)] = 20


class CheckpointsQuery(ListQuery):
    limit: Annotated[int, Field(ge=0, le=10_000)] = 10


class FilesQuery(ListQuery):
    limit: Annotated[int, Field(ge=0, le=10_000)] = 10_000
    purpose: str | None = None
    order: Literal["asc", "desc"] = "desc"


class JobsQuery(ListQuery):
    """Beside OpenAI's `metadata`, filters of our own."""

    metadata: dict[str, str] | Literal["null"] | None = None
    status: Status | None = None
    """`queued` leaves out paused jobs, which the wire shows as queued too; `paused` asks for them alone."""
    model: str | None = None
    suffix: str | None = None
    created_after: UnixSeconds | None = None
    created_before: UnixSeconds | None = None


class PermissionsQuery(ListQuery):
    limit: Annotated[int, Field(ge=0, le=10_000)] = 10
    order: Literal["ascending", "descending"] = "descending"
    project_id: str | None = None


def list_object(data: Sequence[dict[str, Any]], *, has_more: bool, with_ids: bool = True) -> dict[str, Any]:
    """As recorded, the lists of jobs and of events are the only ones without `first_id` and `last_id`."""
    listed = {"object": "list", "data": list(data), "has_more": has_more}
    if not with_ids:
        return listed
    return listed | {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
