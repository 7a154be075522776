"""Validate the files, turn every `auto` into a number, write the TrainSpec: all that a run needs is fixed here."""

import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tunery.blobs.disk import DiskBlobs, sync_folder
from tunery.data.problems import FileReport, Role
from tunery.data.rendering import Renderer
from tunery.data.tokenization import TokenisingFailed, token_file_key, tokenize_file
from tunery.data.tokens import TokenFile, TokenFileSummary
from tunery.data.validation import validate
from tunery.errors import JobError
from tunery.lifecycle import Status
from tunery.planning import auto
from tunery.serving.renderers import load_renderer
from tunery.store import events, files, jobs, models
from tunery.store.database import Connection, Row
from tunery.store.events import Event
from tunery.training.spec import Dtype, LoraSpec, OptimizerSpec, TrainSpec
from tunery.types.fine_tuning import Extras

EXAMPLES_MIN = 10
MICRO_BATCH_TOKENS_MAX = 2048
LORA = LoraSpec()


@dataclass(frozen=True)
class Request:
    """The rows that a job refers to, read in one transaction."""

    job: Any
    base: Any
    training_file: Any
    validation_file: Any
    parent: Any
    """The tuned model that the job starts from, or None."""


@dataclass(frozen=True)
class Prepared:
    """The resolved job: columns to store, and what the user should be told."""

    spec: TrainSpec
    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    billed_tokens: int
    warnings: list[str]

    def columns(self) -> dict[str, Any]:
        return {
            "spec": msgspec.to_builtins(self.spec),
            "n_epochs": self.n_epochs,
            "batch_size": self.batch_size,
            "learning_rate_multiplier": self.learning_rate_multiplier,
            "billed_tokens": self.billed_tokens,
            "total_steps": self.spec.total_steps,
        }


def read_request(connection: Connection, row: Row) -> Request:
    """What preparing the job needs. Raises JobError when the model that it starts from is gone."""
    parent_id = jobs.parent(connection, row["id"])
    parent = models.get(connection, project_id=row["project_id"], model_id=parent_id) if parent_id else None
    if parent_id is not None and parent is None:
        raise JobError(f"The model {parent_id} was deleted", code="model_not_available", param="model")
    valid_id = row["validation_file"]
    return Request(
        job=row,
        base=models.base(connection, row["base_id"]),
        training_file=files.get_deleted_too(connection, row["training_file"]),
        validation_file=files.get_deleted_too(connection, valid_id) if valid_id else None,
        parent=parent,
    )


def enqueue(connection: Connection, row: Row, prepared: Prepared) -> None:
    """Record what was resolved and let the job wait for a device, unless its epoch has passed."""
    moved = jobs.move(connection, row["id"], Status.QUEUED, epoch=row["epoch"], **prepared.columns(), **jobs.FREE)
    if moved is not None:
        told = [Event(warning, level="warn") for warning in prepared.warnings]
        told += [Event("Files validated, moving job to queued state"), Event(resolved_event(prepared))]
        events.append(connection, row["id"], told, at=time.time())


def prepare(request: Request, *, blobs: DiskBlobs, device: str, dtype: Dtype, snapshot_seconds: float) -> Prepared:
    """Read, check and tokenise the files; resolve every number. Raises JobError with OpenAI's wording."""
    renderer = load_renderer(Path(request.base["folder"]))
    extras = Extras.model_validate((request.job["method_settings"] or {"tunery": {}})["tunery"])
    length_max = min(request.base["positions_max"], extras.max_length or request.base["positions_max"])
    train_path, train = _tokens(request, "training", blobs, renderer, length_max)
    valid_path: Path | None = None
    warnings = _warnings("training", train)
    if request.validation_file is not None:
        valid_path, valid = _tokens(request, "validation", blobs, renderer, length_max)
        warnings += _warnings("validation", valid)
    job = request.job
    batch = job["requested_batch_size"] or auto.batch_size(train.n_rows)
    epochs = job["requested_n_epochs"] or auto.n_epochs(train.n_rows)
    multiplier = job["requested_learning_rate_multiplier"] or auto.learning_rate_multiplier()
    spec = TrainSpec(
        job_id=job["id"],
        method="supervised",
        base_path=request.base["folder"],
        base_sha256=request.base["sha256"],
        init_adapter_path=str(blobs.path(request.parent["blob_key"])) if request.parent else None,
        train_path=str(train_path),
        valid_path=str(valid_path) if valid_path else None,
        n_epochs=epochs,
        batch_size=batch,
        n_examples=train.n_rows,
        total_steps=auto.total_steps(n_examples=train.n_rows, epochs=epochs, batch=batch),
        lora=_lora(extras),
        optimizer=_optimizer(extras, parameters=request.base["parameters"], multiplier=multiplier),
        seed=job["seed"],
        device=device,
        dtype=dtype,
        micro_batch_tokens_max=MICRO_BATCH_TOKENS_MAX,
        snapshot_seconds=snapshot_seconds,
    )
    return Prepared(
        spec=spec,
        n_epochs=epochs,
        batch_size=batch,
        learning_rate_multiplier=multiplier,
        billed_tokens=train.n_billed_tokens,
        warnings=warnings,
    )


def _lora(extras: Extras) -> LoraSpec:
    rank = extras.lora_rank or LORA.rank
    return LoraSpec(
        rank=rank,
        alpha=extras.lora_alpha or rank * LORA.alpha / LORA.rank,
        targets=tuple(extras.lora_targets) if extras.lora_targets else LORA.targets,
    )


def _optimizer(extras: Extras, *, parameters: int, multiplier: float) -> OptimizerSpec:
    rate = auto.learning_rate(parameters=parameters, multiplier=multiplier)
    if extras.learning_rate is not None:
        rate = extras.learning_rate * multiplier
    given = {
        name: value
        for name in ("schedule", "warmup_steps", "weight_decay")
        if (value := getattr(extras, name)) is not None
    }
    return OptimizerSpec(learning_rate=rate, **given)


def _tokens(
    request: Request, role: Role, blobs: DiskBlobs, renderer: Renderer, positions_max: int
) -> tuple[Path, TokenFileSummary]:
    """The file's rows as tokens, from the cache when the same content was rendered the same way before."""
    param = f"{role}_file"
    row = getattr(request, param)
    source = blobs.path(row["blob_key"])
    if row["deleted_at"] is not None or not source.exists():
        raise JobError(f"The job failed because the {role} file was deleted", code=f"deleted_{param}", param=param)
    named: Any = {"file_id": row["id"], "method": request.job["method"], "role": role}
    # The minimum holds for what is learned from; a validation file may be smaller.
    needed = EXAMPLES_MIN if role == "training" else 1
    _require(validate(source, method=request.job["method"], examples_min=needed), named)
    key = token_file_key(sha256=row["sha256"], renderer=renderer, max_length=positions_max)
    destination = blobs.path(f"tokens/{key}.safetensors")
    if destination.exists():
        return destination, TokenFile(destination).metadata
    destination.parent.mkdir(parents=True, exist_ok=True)
    # Another job may be at the same file at this moment.
    fresh = destination.with_name(f"{uuid.uuid4().hex}.safetensors")
    try:
        summary = tokenize_file(source, renderer=renderer, max_length=positions_max, destination=fresh)
    except TokenisingFailed as error:
        counts = Counter(problem.code for problem in error.problems)
        _require(FileReport(problems=error.problems, counts=counts), named)
        raise
    fresh.replace(destination)
    sync_folder(destination.parent)
    return destination, summary


def _require(report: FileReport, named: Any) -> None:
    error = report.job_error(**named)
    if error is not None:
        raise JobError(error.message, code=error.code, param=error.param)


def _warnings(kind: str, summary: TokenFileSummary) -> list[str]:
    told = []
    if summary.n_truncated:
        told.append(f"{summary.n_truncated} {kind} example(s) were longer than the model's context and cut")
    if summary.n_dropped:
        lines = ", ".join(str(line) for line in summary.dropped_lines[:20])
        told.append(f"{kind.capitalize()} line(s) {lines} have no token left to learn from and were left out")
    return told


def resolved_event(prepared: Prepared) -> str:
    """One line on what `auto` became."""
    optimizer = prepared.spec.optimizer
    return (
        f"Training on {prepared.spec.n_examples} examples: {prepared.n_epochs} epochs, batch size "
        f"{prepared.batch_size}, {prepared.spec.total_steps} steps, learning rate {optimizer.learning_rate:.2g}"
    )
