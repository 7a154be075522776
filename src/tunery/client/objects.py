"""The API's objects as the client meets them: plain JSON objects, typed for the reader and the type checker."""

from typing import Any, Generic, Literal, NotRequired, TypedDict, TypeVar

Item = TypeVar("Item")
JobStatus = Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]
TERMINAL = frozenset({"succeeded", "failed", "cancelled"})


class File(TypedDict):
    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: str


class Job(TypedDict):
    id: str
    object: Literal["fine_tuning.job"]
    model: str
    created_at: int
    finished_at: int | None
    estimated_finish: int | None
    """Unix seconds; null unless the job runs."""
    fine_tuned_model: str | None
    status: JobStatus
    training_file: str
    validation_file: str | None
    result_files: list[str]
    hyperparameters: dict[str, int | float | str]
    trained_tokens: int | None
    error: dict[str, str | None] | None
    """code, message and param; null unless the job failed."""
    seed: int
    user_provided_suffix: str | None
    metadata: dict[str, str] | None
    paused: NotRequired[bool]
    """Present, and true, on a paused job, whose status reads `queued`."""
    paused_at: NotRequired[int]


class Event(TypedDict):
    id: str
    object: Literal["fine_tuning.job.event"]
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any] | None
    """On metrics: step, total_steps, train_loss, and what else was measured at that step."""


class Checkpoint(TypedDict):
    id: str
    object: Literal["fine_tuning.job.checkpoint"]
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    metrics: dict[str, Any]
    step_number: int


class Model(TypedDict):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class Deleted(TypedDict):
    id: str
    object: str
    deleted: bool


class Page(TypedDict, Generic[Item]):
    """One page of a list, newest first; `has_more` is absent where a list comes whole."""

    object: Literal["list"]
    data: list[Item]
    has_more: NotRequired[bool]


class Message(TypedDict):
    role: Literal["system", "user", "assistant"]
    content: str
