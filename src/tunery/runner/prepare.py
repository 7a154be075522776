"""Validate the files, turn every `auto` into a number, write the TrainSpec: all that a run needs is fixed here."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tunery.blobs.disk import DiskBlobs
from tunery.data.problems import FileReport, Role
from tunery.data.rendering import Renderer
from tunery.data.tokenization import TokenisingFailed, token_file_key, tokenize_file
from tunery.data.tokens import TokenFile, TokenFileSummary
from tunery.data.validation import validate
from tunery.errors import JobError
from tunery.planning import auto
from tunery.serving.renderers import load_renderer
from tunery.training.spec import Dtype, LoraSpec, OptimizerSpec, TrainSpec

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


def prepare(request: Request, *, blobs: DiskBlobs, device: str, dtype: Dtype, snapshot_seconds: float) -> Prepared:
    """Read, check and tokenise the files; resolve every number. Raises JobError with OpenAI's wording."""
    renderer = load_renderer(Path(request.base["folder"]))
    positions_max = request.base["positions_max"]
    train_path, train = _tokens(request, "training", blobs, renderer, positions_max)
    valid_path: Path | None = None
    warnings = _warnings("training", train)
    if request.validation_file is not None:
        valid_path, valid = _tokens(request, "validation", blobs, renderer, positions_max)
        warnings += _warnings("validation", valid)
    job = request.job
    batch = job["requested_batch_size"] or auto.batch_size(train.n_rows)
    epochs = job["requested_n_epochs"] or auto.n_epochs(train.n_rows)
    multiplier = job["requested_learning_rate_multiplier"] or auto.learning_rate_multiplier()
    rate = auto.learning_rate(parameters=request.base["parameters"], multiplier=multiplier)
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
        lora=LORA,
        optimizer=OptimizerSpec(learning_rate=rate),
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
    try:
        summary = tokenize_file(source, renderer=renderer, max_length=positions_max, destination=destination)
    except TokenisingFailed as error:
        counts = Counter(problem.code for problem in error.problems)
        _require(FileReport(problems=error.problems, counts=counts), named)
        raise
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
