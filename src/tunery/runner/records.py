"""Reports of hosts become rows: the only place where training writes to the database, fenced by the job's epoch."""

import csv
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunery import ids
from tunery.blobs.disk import DiskBlobs
from tunery.lifecycle import Desired, Status
from tunery.observability import logger
from tunery.planning.time import finish_time
from tunery.store import events, files, jobs, models
from tunery.store.database import Connection, Row
from tunery.store.events import Event
from tunery.training.reports import (
    Artefact,
    CheckpointSaved,
    Failed,
    Finished,
    Paused,
    Report,
    SnapshotSaved,
    Started,
    StepMetrics,
    Stepped,
    Warned,
)
from tunery.types.files import RESULTS_PURPOSE
from tunery.types.models import tuned_name

CHECKPOINTS_KEPT = 3
SNAPSHOTS_KEPT = 2
RESULT_COLUMNS = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")
RESULT_EXTRA_COLUMNS = ("full_valid_loss", "full_valid_mean_token_accuracy")
log = logger("runner")


@dataclass
class Outcome:
    """What applying some reports means outside the database, to be acted on after the commit."""

    acknowledged: list[Report] = field(default_factory=list)
    fenced: set[tuple[str, int]] = field(default_factory=set)
    """Runs whose epoch no longer counts, or whose reports have a gap: their hosts must stop."""
    left: set[tuple[str, int]] = field(default_factory=set)
    """Runs that left their host: finished, failed or paused."""
    garbage: list[str] = field(default_factory=list)
    """Blob keys that no row refers to any more."""

    def join(self, other: "Outcome") -> None:
        self.acknowledged += other.acknowledged
        self.fenced |= other.fenced
        self.left |= other.left
        self.garbage += other.garbage


class Recorder:
    """Applies reports. `prefix` of a job's artefacts is `jobs/<job>/e<epoch>`."""

    def __init__(self, blobs: DiskBlobs, *, organization: str) -> None:
        self._blobs = blobs
        self._organization = organization

    def apply(self, connection: Connection, reports: Sequence[Report]) -> Outcome:
        """Record reports of any jobs in order, in the caller's transaction."""
        outcome = Outcome()
        for report in reports:
            run = (report.job_id, report.epoch)
            if run in outcome.fenced:
                continue
            row = jobs.take_report(connection, report.job_id, epoch=report.epoch, n=report.n)
            if row is None:
                if self._is_recorded(connection, report):
                    outcome.acknowledged.append(report)
                else:
                    outcome.fenced.add(run)
                continue
            self._record(connection, row, report, outcome)
            outcome.acknowledged.append(report)
        return outcome

    def _is_recorded(self, connection: Connection, report: Report) -> bool:
        """Whether the report came before. If not it is stale, or one before it is missing, and its run must end."""
        row = jobs.get(connection, report.job_id)
        if row is None or row["epoch"] != report.epoch:
            return False
        if report.n > row["report_n"]:
            log.error("a report is missing", job_id=report.job_id, expected=row["report_n"] + 1, got=report.n)
            return False
        return True

    def _record(self, connection: Connection, row: Row, report: Report, outcome: Outcome) -> None:
        body = report.body
        kind: type[Any] = type(body)
        _RECORDS[kind](self, connection, row, body, outcome)
        if kind in _LEAVING:
            outcome.left.add((report.job_id, report.epoch))

    def started(self, connection: Connection, row: Row, body: Started, outcome: Outcome) -> None:
        at = time.time()
        moved = jobs.move(
            connection,
            row["id"],
            Status.RUNNING,
            epoch=row["epoch"],
            started_at=at,
            attempt_step=body.resumed_at_step,
            total_steps=body.total_steps,
        )
        assert moved is not None, f"{row['id']} started while {row['status']}"
        again = Event(f"Fine-tuning job resumed at step {body.resumed_at_step}")
        first = Event("Fine-tuning job started", data=None)
        events.append(connection, row["id"], [again if body.resumed_at_step else first], at=at)

    def stepped(self, connection: Connection, row: Row, body: Stepped, outcome: Outcome) -> None:
        """A step that is redone after a crash replaces its metrics and is not told twice."""
        at, step = time.time(), body.metrics
        jobs.put_metrics(connection, list(_metric_rows(row, step)))
        finish = finish_time(
            now=at,
            began_at=row["started_at"],
            began_step=row["attempt_step"],
            step=step.step,
            total_steps=row["total_steps"],
        )
        new = step.step > row["step"]
        jobs.change(
            connection, row["id"], estimated_finish=finish, **({"step": step.step, "attempt": 0} if new else {})
        )
        if new:
            events.append(connection, row["id"], [metrics_event(step, row["total_steps"])], at=at)

    def snapshot_saved(self, connection: Connection, row: Row, body: SnapshotSaved, outcome: Outcome) -> None:
        replaced = jobs.put_snapshot(
            connection,
            project_id=row["project_id"],
            job_id=row["id"],
            step=body.step,
            created_at=time.time(),
            **self._artefact(row, body.artefact),
        )
        if replaced is not None:
            outcome.garbage.append(replaced["blob_key"])
        self._drop_snapshots(connection, row["id"], keep=SNAPSHOTS_KEPT, outcome=outcome)

    def checkpoint_saved(self, connection: Connection, row: Row, body: CheckpointSaved, outcome: Outcome) -> None:
        """A checkpoint that is made again after a crash is the same model: the one that clients know stays."""
        if jobs.checkpoint_at(connection, row["id"], step=body.step) is not None:
            outcome.garbage.append(self._artefact(row, body.artefact)["blob_key"])
            return
        name = self._add_checkpoint(connection, row, step=body.step, artefact=body.artefact, final=False)
        for old in jobs.checkpoints_of(connection, row["id"])[CHECKPOINTS_KEPT:]:
            self._drop_checkpoint(connection, row, old, outcome)
        message = f"Checkpoint created at step {body.step} with Snapshot ID: {name}"
        events.append(connection, row["id"], [Event(message)], at=time.time())

    def paused(self, connection: Connection, row: Row, body: Paused, outcome: Outcome) -> None:
        """By the user's wish, or because the host drains: then the job waits for the next host."""
        if row["desired_state"] == Desired.PAUSE:
            at = time.time()
            jobs.move(connection, row["id"], Status.PAUSED, epoch=row["epoch"], paused_at=int(at), **jobs.FREE)
            events.append(connection, row["id"], [Event(f"The job was paused at step {body.step}")], at=at)
        else:
            jobs.move(connection, row["id"], Status.QUEUED, epoch=row["epoch"], **jobs.FREE)

    def finished(self, connection: Connection, row: Row, body: Finished, outcome: Outcome) -> None:
        at = time.time()
        name = self._add_checkpoint(connection, row, step=body.step, artefact=body.artefact, final=True)
        for old in jobs.checkpoints_of(connection, row["id"])[CHECKPOINTS_KEPT:]:
            self._drop_checkpoint(connection, row, old, outcome)
        self._add_result_file(connection, row)
        moved = jobs.move(
            connection,
            row["id"],
            Status.SUCCEEDED,
            epoch=row["epoch"],
            finished_at=int(at),
            fine_tuned_model=name,
            trained_tokens=row["n_epochs"] * row["billed_tokens"],
            **jobs.FREE,
        )
        assert moved is not None, f"{row['id']} finished while {row['status']}"
        told = [Event(f"New fine-tuned model created: {name}"), Event("The job has successfully completed")]
        events.append(connection, row["id"], told, at=at)
        self._drop_snapshots(connection, row["id"], keep=0, outcome=outcome)

    def failed(self, connection: Connection, row: Row, body: Failed, outcome: Outcome) -> None:
        fail(connection, row["id"], code=body.code, message=body.message, param=None, epoch=row["epoch"])
        self._drop_snapshots(connection, row["id"], keep=0, outcome=outcome)

    def warned(self, connection: Connection, row: Row, body: Warned, outcome: Outcome) -> None:
        events.append(connection, row["id"], [Event(body.message, level="warn")], at=time.time())

    def _add_checkpoint(self, connection: Connection, row: Row, *, step: int, artefact: Artefact, final: bool) -> str:
        name = tuned_name(
            row["base_id"],
            organization=self._organization,
            suffix=row["suffix"],
            unique=ids.model_suffix(),
            step=None if final else step,
        )
        owner = {"project_id": row["project_id"], "job_id": row["id"], "step": step, "created_at": int(time.time())}
        parent_id = jobs.parent(connection, row["id"])
        kind = "adapter" if row["spec"]["lora"] else "full"
        models.add(
            connection,
            id=name,
            base_id=row["base_id"],
            parent_id=parent_id,
            kind=kind,
            **owner,
            **self._artefact(row, artefact),
        )
        jobs.add_checkpoint(connection, id=ids.checkpoint(), model_id=name, **owner)
        return name

    def _drop_checkpoint(self, connection: Connection, row: Row, old: Row, outcome: Outcome) -> None:
        if jobs.started_from(connection, project_id=row["project_id"], model_id=old["model_id"]) is not None:
            return
        jobs.drop_checkpoint(connection, old["id"])
        gone = models.delete(connection, project_id=row["project_id"], model_id=old["model_id"], at=int(time.time()))
        if gone is not None:
            outcome.garbage.append(gone["blob_key"])

    def _drop_snapshots(self, connection: Connection, job_id: str, *, keep: int, outcome: Outcome) -> None:
        for old in jobs.snapshots_of(connection, job_id)[keep:]:
            jobs.drop_snapshot(connection, job_id, step=old["step"])
            outcome.garbage.append(old["blob_key"])

    def _add_result_file(self, connection: Connection, row: Row) -> None:
        content = result_csv(jobs.metrics_of(connection, row["id"]))
        file_id = ids.file()
        key = f"files/{row['project_id']}/{file_id}"
        sha256 = self._blobs.put(key, content)
        files.add(
            connection,
            id=file_id,
            project_id=row["project_id"],
            purpose=RESULTS_PURPOSE,
            filename="step_metrics.csv",
            file_bytes=len(content),
            sha256=sha256,
            blob_key=key,
            created_at=int(time.time()),
        )
        jobs.add_result_file(connection, project_id=row["project_id"], job_id=row["id"], file_id=file_id)

    def _artefact(self, row: Row, artefact: Artefact) -> dict[str, Any]:
        key = f"{run_prefix(row['id'], row['epoch'])}/{artefact.path}"
        return {"blob_key": key, "sha256": artefact.sha256, "file_bytes": artefact.file_bytes}


_RECORDS: dict[type[Any], Callable[..., None]] = {
    Started: Recorder.started,
    Stepped: Recorder.stepped,
    SnapshotSaved: Recorder.snapshot_saved,
    CheckpointSaved: Recorder.checkpoint_saved,
    Paused: Recorder.paused,
    Finished: Recorder.finished,
    Failed: Recorder.failed,
    Warned: Recorder.warned,
}
_LEAVING = frozenset({Paused, Finished, Failed})


def run_prefix(job_id: str, epoch: int) -> str:
    """Key prefix of everything that one epoch of a job writes."""
    return f"jobs/{job_id}/e{epoch}"


def fail(connection: Connection, job_id: str, *, code: str, message: str, param: str | None, epoch: int | None) -> bool:
    """End a job as failed, with its last event. `finished_at` stays null, as recorded."""
    moved = jobs.move(
        connection,
        job_id,
        Status.FAILED,
        epoch=epoch,
        error_code=code,
        error_message=message,
        error_param=param,
        **jobs.FREE,
    )
    if moved is not None:
        events.append(connection, job_id, [Event(message, level="error")], at=time.time())
    return moved is not None


def metrics_event(step: StepMetrics, total_steps: int) -> Event:
    """Message rounded to two decimals, `data` with the full floats, both as recorded."""
    message = f"Step {step.step}/{total_steps}: training loss={step.train_loss:.2f}"
    data: dict[str, Any] = {
        "step": step.step,
        "train_loss": step.train_loss,
        "total_steps": total_steps,
        "train_mean_token_accuracy": step.train_accuracy,
    }
    if step.valid_loss is not None:
        message += f", validation loss={step.valid_loss:.2f}"
        data |= {"valid_loss": step.valid_loss, "valid_mean_token_accuracy": step.valid_accuracy}
    if step.full_valid_loss is not None:
        message += f", full validation loss={step.full_valid_loss:.2f}"
        data |= {"full_valid_loss": step.full_valid_loss, "full_valid_mean_token_accuracy": step.full_valid_accuracy}
    # Behind the documented keys, what a progress display needs to tell the pace.
    data |= {"tokens": step.tokens, "seconds": step.seconds}
    return Event(message, type="metrics", data=data)


def result_csv(measured: Sequence[Row]) -> bytes:
    """The result file: OpenAI's five columns first, empty where nothing was measured, then ours."""
    steps: dict[int, dict[str, Any]] = {}
    names = {"train": ("train_loss", "train_accuracy")}
    for row in measured:
        split = row["split"]
        loss, accuracy = names.get(split) or (f"{split}_loss", f"{split}_mean_token_accuracy")
        steps.setdefault(row["step"], {"step": row["step"]}).update({loss: row["loss"], accuracy: row["accuracy"]})
    text = io.StringIO()
    writer = csv.DictWriter(text, [*RESULT_COLUMNS, *RESULT_EXTRA_COLUMNS], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(steps[step] for step in sorted(steps))
    return text.getvalue().encode()


def _metric_rows(row: Row, step: StepMetrics) -> Any:
    key = {"project_id": row["project_id"], "job_id": row["id"], "step": step.step}
    yield key | {
        "split": "train",
        "loss": step.train_loss,
        "accuracy": step.train_accuracy,
        "grad_norm": step.grad_norm,
        "learning_rate": step.learning_rate,
        "tokens": step.tokens,
        "seconds": step.seconds,
    }
    if step.valid_loss is not None:
        yield key | {"split": "valid", "loss": step.valid_loss, "accuracy": step.valid_accuracy}
    if step.full_valid_loss is not None:
        yield key | {"split": "full_valid", "loss": step.full_valid_loss, "accuracy": step.full_valid_accuracy}
