"""Fine-tuning on the wire: the create request, and jobs, events and checkpoints in the order of recorded answers.

Requests are validated by pydantic; answers are plain dicts built from rows, so that a read costs no second model.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from tunery.lifecycle import Status

Auto = Literal["auto"]
Row = Mapping[Any, Any]


class Lenient(BaseModel):
    """Unknown keys are let through, as OpenAI's own endpoint does."""

    model_config = ConfigDict(extra="ignore", strict=False)


class Hyperparameters(Lenient):
    n_epochs: Auto | Annotated[int, Field(ge=1, le=50)] = "auto"
    batch_size: Auto | Annotated[int, Field(ge=1, le=256)] = "auto"
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0, allow_inf_nan=False)] = "auto"


class SupervisedMethod(Lenient):
    hyperparameters: Hyperparameters | None = None


class Method(Lenient):
    """One method by its type; the sub-objects of the others may be present and are ignored."""

    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: SupervisedMethod | None = None


class Wandb(Lenient):
    project: str
    name: str | None = None
    entity: str | None = None
    tags: Annotated[list[Annotated[str, StringConstraints(max_length=64)]], Field(max_length=50)] = []


class Integration(Lenient):
    type: Literal["wandb"]
    wandb: Wandb


Metadata = dict[
    Annotated[str, StringConstraints(max_length=64)],
    Annotated[str, StringConstraints(max_length=512)],
]


LoraTarget = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Extras(BaseModel):
    """What OpenAI's API has no names for, under the one key `tunery`; None leaves the choice to the planner."""

    model_config = ConfigDict(extra="forbid")

    lora_rank: Annotated[int, Field(ge=1, le=256)] | None = None
    lora_alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Twice the rank when only the rank is given."""
    lora_targets: Annotated[list[LoraTarget], Field(min_length=1)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    """The peak rate itself, in place of the one that follows from the model's size; the multiplier scales it too."""
    schedule: Literal["linear", "cosine", "constant"] | None = None
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None = None
    max_length: Annotated[int, Field(ge=16)] | None = None
    """Tokens at which examples are cut, at most the model's context."""


class CreateJob(Lenient):
    """POST /fine_tuning/jobs."""

    model: str
    training_file: str
    validation_file: str | None = None
    suffix: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None
    method: Method | None = None
    hyperparameters: Hyperparameters | None = None
    integrations: Annotated[list[Integration], Field(max_length=5)] | None = None
    metadata: Annotated[Metadata, Field(max_length=16)] | None = None
    tunery: Extras | None = None

    @field_validator("suffix")
    @classmethod
    def _has_no_separator(cls, value: str | None) -> str | None:
        if value is not None and (set(value) & set(":/") or not value.isprintable()):
            raise ValueError("suffix must not contain ':' or '/', which separate the parts of a model's name")
        return value

    @property
    def method_type(self) -> str:
        return self.method.type if self.method else "supervised"

    @property
    def requested(self) -> Hyperparameters:
        """The method's own hyperparameters win over the deprecated top-level ones."""
        if self.method and self.method.supervised and self.method.supervised.hyperparameters:
            return self.method.supervised.hyperparameters
        return self.hyperparameters or Hyperparameters()


class UpdateJob(Lenient):
    """POST /fine_tuning/jobs/{id}, ours: replaces the job's metadata."""

    metadata: Annotated[Metadata, Field(max_length=16)] | None


class CreatePermissions(BaseModel):
    """POST /fine_tuning/checkpoints/{checkpoint}/permissions."""

    model_config = ConfigDict(extra="forbid")

    project_ids: Annotated[list[str], Field(min_length=1)]


def permission_object(row: Row) -> dict[str, Any]:
    return {
        "object": "checkpoint.permission",
        "id": row["id"],
        "created_at": row["created_at"],
        "project_id": row["granted_project_id"],
    }


def permission_deleted(permission_id: str) -> dict[str, Any]:
    return {"id": permission_id, "object": "checkpoint.permission", "deleted": True}


def job_object(
    row: Row,
    *,
    organization_id: str,
    result_files: Sequence[str],
    integrations: Sequence[Mapping[str, Any]],
    metadata: Mapping[str, str] | None,
) -> dict[str, Any]:
    """A job's row as the wire shows it. A paused job stays inside the documented states: queued, with `paused`."""
    paused = row["status"] == Status.PAUSED
    resolved = {name: _resolved(row, name) for name in ("n_epochs", "batch_size", "learning_rate_multiplier")}
    wire = {
        "object": "fine_tuning.job",
        "id": row["id"],
        "model": row["model"],
        "created_at": row["created_at"],
        "finished_at": row["finished_at"],
        "fine_tuned_model": row["fine_tuned_model"],
        "organization_id": organization_id,
        "result_files": list(result_files),
        "status": Status.QUEUED.value if paused else row["status"],
        "validation_file": row["validation_file"],
        "training_file": row["training_file"],
        "hyperparameters": resolved,
        "trained_tokens": row["trained_tokens"],
        "error": job_error(row),
        "user_provided_suffix": row["suffix"],
        "seed": row["seed"],
        "estimated_finish": row["estimated_finish"] if row["status"] == Status.RUNNING else None,
        "integrations": list(integrations),
        "metadata": dict(metadata) if metadata else None,
        "usage_metrics": None,
        "shared_with_openai": False,
        "eval_id": None,
        "method": {"type": row["method"], row["method"]: {"hyperparameters": resolved}},
    }
    if row["method_settings"] is not None:
        wire |= row["method_settings"]
    return wire | {"paused": True, "paused_at": row["paused_at"]} if paused else wire


def job_error(row: Row) -> dict[str, Any] | None:
    """The recorded key order: code, param, message."""
    if row["error_code"] is None:
        return None
    return {"code": row["error_code"], "param": row["error_param"], "message": row["error_message"]}


def event_object(row: Row) -> dict[str, Any]:
    return {
        "object": "fine_tuning.job.event",
        "id": row["id"],
        "created_at": row["created_at"],
        "level": row["level"],
        "message": row["message"],
        "data": row["data"],
        "type": row["type"],
    }


def checkpoint_object(row: Row, *, metrics: Mapping[str, float]) -> dict[str, Any]:
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": row["id"],
        "created_at": row["created_at"],
        "fine_tuned_model_checkpoint": row["model_id"],
        "fine_tuning_job_id": row["job_id"],
        "metrics": dict(metrics),
        "step_number": row["step"],
    }


def _resolved(row: Row, name: str) -> Any:
    """The resolved number once there is one, else what was asked for, else auto."""
    for value in (row[name], row[f"requested_{name}"]):
        if value is not None:
            return value
    return "auto"
