"""What reports of a host do to a job's rows, and what stale or repeated ones do not."""

import csv
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from tests.factories import add_job, add_project
from tunery.blobs.disk import DiskBlobs
from tunery.lifecycle import Desired, Status
from tunery.runner.records import Outcome, Recorder, fail, metrics_event, result_csv
from tunery.store import events, files, jobs, models
from tunery.store.database import Connection, Database, Row
from tunery.store.schema import jobs as jobs_table
from tunery.training.reports import (
    Artefact,
    Body,
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

Apply = Callable[..., Outcome]
EPOCH = 3


def step(number: int, **values: Any) -> Stepped:
    fixed = {"grad_norm": 1.0, "learning_rate": 1e-3, "tokens": 100, "supervised_tokens": 50, "seconds": 0.1}
    return Stepped(StepMetrics(step=number, train_loss=1 / number, train_accuracy=0.5, **(fixed | values)))


def artefact(name: str) -> Artefact:
    return Artefact(path=name, sha256="a" * 64, file_bytes=7)


class Job:
    """A claimed job of ten steps, reports to it, and its rows."""

    def __init__(self, database: Database, blobs: DiskBlobs) -> None:
        self._database = database
        self._recorder = Recorder(blobs, organization="acme")
        self._numbers: Counter[int] = Counter()
        values = {"epoch": EPOCH, "runner_id": "r", "lease_until": 1.0, "total_steps": 10, "suffix": "s"}
        self.id = database.write_now(lambda connection: add_job(connection, add_project(connection), **values))["id"]

    def report(self, *bodies: Body, epoch: int = EPOCH, n: int | None = None) -> Outcome:
        reports = []
        for body in bodies:
            self._numbers[epoch] += n is None
            reports.append(Report(self.id, epoch, self._numbers[epoch] if n is None else n, body))
        return self._database.write_now(lambda connection: self._recorder.apply(connection, reports))

    @property
    def row(self) -> Row:
        row = self.read(jobs.get)
        assert row is not None
        return row

    @property
    def messages(self) -> list[str]:
        page = self._database.read_now(
            lambda connection: events.listing(connection, job_id=self.id, after=None, limit=1000)
        )
        return [event["message"] for event in page.rows][::-1]

    def read(self, query: Callable[[Connection, str], Any]) -> Any:
        return self._database.read_now(lambda connection: query(connection, self.id))

    def change(self, **values: Any) -> None:
        changed = update(jobs_table).where(jobs_table.c.id == self.id).values(**values)
        self._database.write_now(lambda connection: connection.execute(changed))


@pytest.fixture
def job(database: Database, tmp_path: Path) -> Job:
    return Job(database, DiskBlobs(tmp_path / "blobs"))


def test_start_makes_a_queued_job_run(job: Job) -> None:
    job.report(Started(10, 0))
    assert (job.row["status"], job.row["total_steps"]) == ("running", 10)
    assert job.messages == ["Fine-tuning job started"]


def test_resumed_start_says_where_it_goes_on(job: Job) -> None:
    job.report(Started(10, 4))
    assert job.messages == ["Fine-tuning job resumed at step 4"]


def test_steps_are_counted_told_and_measured(job: Job) -> None:
    job.change(attempt=2)
    job.report(Started(10, 0), step(1), step(2, valid_loss=0.25, valid_accuracy=0.75))
    assert (job.row["step"], job.row["attempt"]) == (2, 0)
    assert job.row["estimated_finish"] is not None
    assert job.messages[1:] == [
        "Step 1/10: training loss=1.00", "Step 2/10: training loss=0.50, validation loss=0.25"
    ]  # fmt: skip
    measured = [(row["step"], row["split"], row["loss"]) for row in job.read(jobs.metrics_of)]
    assert sorted(measured) == [(1, "train", 1.0), (2, "train", 0.5), (2, "valid", 0.25)]


def test_step_that_is_done_again_is_not_told_twice(job: Job) -> None:
    job.report(Started(10, 0), step(1), step(2))
    job.report(step(2, tokens=101), step(3))
    assert [message[:9] for message in job.messages[1:]] == ["Step 1/10", "Step 2/10", "Step 3/10"]
    assert [row["tokens"] for row in job.read(jobs.metrics_of)] == [100, 101, 100]


def test_repeated_report_is_acknowledged_and_not_recorded_again(job: Job) -> None:
    job.report(Started(10, 0), step(1))
    outcome = job.report(step(1), n=2)
    assert [report.n for report in outcome.acknowledged] == [2]
    assert job.messages == ["Fine-tuning job started", "Step 1/10: training loss=1.00"]


def test_checkpoint_that_another_job_trains_from_is_not_pruned(job: Job, database: Database) -> None:
    job.report(Started(10, 0), CheckpointSaved(1, artefact("checkpoint-1")))
    (first,) = job.read(jobs.checkpoints_of)
    owner = {"project_id": job.row["project_id"]}

    def start_from_it(connection: Connection) -> None:
        child = add_job(connection, owner["project_id"])["id"]
        jobs.add_parent(connection, job_id=child, model_id=first["model_id"], **owner)

    database.write_now(start_from_it)
    outcome = job.report(*(CheckpointSaved(each, artefact(f"checkpoint-{each}")) for each in (2, 3, 4)))
    assert outcome.garbage == []
    assert [row["step"] for row in job.read(jobs.checkpoints_of)] == [4, 3, 2, 1]


def test_gap_in_the_numbers_fences_the_run_and_records_nothing_behind_it(job: Job) -> None:
    job.report(Started(10, 0), step(1))
    outcome = job.report(step(3), n=4)
    assert outcome.fenced == {(job.id, EPOCH)}
    assert outcome.acknowledged == []
    assert (job.row["step"], job.row["report_n"], len(job.messages)) == (1, 2, 2)


def test_stale_reports_change_nothing_and_fence_their_run(job: Job) -> None:
    job.report(Started(10, 0), step(1))
    before = dict(job.row)
    late: list[Body] = [step(2), SnapshotSaved(2, artefact("s")), CheckpointSaved(2, artefact("c"))]
    for body in [*late, Finished(2, artefact("f")), Failed("c", "m"), Paused(2), Warned("w")]:
        outcome = job.report(body, epoch=EPOCH - 1)
        assert outcome.fenced == {(job.id, EPOCH - 1)}
        assert outcome.acknowledged == []
        assert outcome.garbage == []
    assert dict(job.row) == before
    assert len(job.messages) == 2
    assert job.read(jobs.checkpoints_of) == job.read(jobs.snapshots_of) == []


def test_reports_of_several_jobs_share_a_transaction_but_no_fate(database: Database, tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    fresh, stale = Job(database, blobs), Job(database, blobs)
    stale.change(epoch=EPOCH + 1)
    reports = [
        Report(each.id, EPOCH, n, body) for each in (stale, fresh) for n, body in [(1, Started(10, 0)), (2, step(1))]
    ]
    recorder = Recorder(blobs, organization="acme")
    outcome = database.write_now(lambda connection: recorder.apply(connection, reports))
    assert outcome.fenced == {(stale.id, EPOCH)}
    assert {report.job_id for report in outcome.acknowledged} == {fresh.id}
    assert (fresh.row["step"], stale.row["step"]) == (1, 0)


def test_checkpoints_become_models_and_only_three_are_kept(job: Job) -> None:
    job.report(Started(10, 0))
    garbage = [job.report(CheckpointSaved(n, artefact(f"checkpoint-{n}"))).garbage for n in (2, 4, 6, 8)]
    assert [row["step"] for row in job.read(jobs.checkpoints_of)] == [8, 6, 4]
    assert garbage == [[], [], [], [f"jobs/{job.id}/e3/checkpoint-2"]]
    newest = job.read(jobs.checkpoints_of)[0]["model_id"]
    assert newest.startswith("ft:base:acme:s:")
    assert newest.endswith(":ckpt-step-8")
    assert job.messages[-1] == f"Checkpoint created at step 8 with Snapshot ID: {newest}"
    gone = job.messages[1].rpartition(" ")[2]
    assert (
        job.read(lambda connection, _: models.get(connection, project_id=job.row["project_id"], model_id=gone)) is None
    )


def test_checkpoint_that_is_made_again_keeps_its_name(job: Job) -> None:
    """A crash between a checkpoint and the next snapshot makes the step be redone."""
    job.report(Started(10, 0), CheckpointSaved(2, artefact("checkpoint-2")))
    (known,) = job.read(jobs.checkpoints_of)
    job.change(epoch=EPOCH + 1, report_n=0, status=Status.QUEUED)
    outcome = job.report(Started(10, 0), CheckpointSaved(2, artefact("checkpoint-2")), epoch=EPOCH + 1)
    assert outcome.garbage == [f"jobs/{job.id}/e4/checkpoint-2"]
    assert job.read(jobs.checkpoints_of) == [known]
    assert sum("Checkpoint created" in message for message in job.messages) == 1


def test_snapshots_are_private_and_two_are_kept(job: Job) -> None:
    job.report(Started(10, 0))
    garbage = [job.report(SnapshotSaved(n, artefact(f"snapshot-{n}"))).garbage for n in (1, 2, 3)]
    assert garbage == [[], [], [f"jobs/{job.id}/e3/snapshot-1"]]
    assert [row["step"] for row in job.read(jobs.snapshots_of)] == [3, 2]
    assert job.read(jobs.checkpoints_of) == []
    assert job.messages == ["Fine-tuning job started"]


def test_snapshot_of_a_step_that_was_redone_replaces_the_old_one(job: Job) -> None:
    job.report(Started(10, 0), SnapshotSaved(1, artefact("snapshot-1")))
    job.change(epoch=EPOCH + 1, report_n=0)
    outcome = job.report(SnapshotSaved(1, artefact("snapshot-1")), epoch=EPOCH + 1)
    assert outcome.garbage == [f"jobs/{job.id}/e3/snapshot-1"]
    assert [row["blob_key"] for row in job.read(jobs.snapshots_of)] == [f"jobs/{job.id}/e4/snapshot-1"]


def test_finish_makes_model_result_and_end_together(job: Job, tmp_path: Path) -> None:
    outcome = job.report(
        Started(10, 0),
        step(1),
        SnapshotSaved(1, artefact("snapshot-1")),
        step(2),
        Finished(2, artefact("checkpoint-2")),
    )
    row = job.row
    assert (row["status"], row["runner_id"], row["lease_until"]) == ("succeeded", None, None)
    assert row["trained_tokens"] == row["n_epochs"] * row["billed_tokens"]
    (checkpoint,) = job.read(jobs.checkpoints_of)
    assert checkpoint["model_id"] == row["fine_tuned_model"]
    assert ":ckpt" not in row["fine_tuned_model"]
    assert job.messages[-2:] == [
        f"New fine-tuned model created: {row['fine_tuned_model']}", "The job has successfully completed"
    ]  # fmt: skip
    assert outcome.left == {(job.id, EPOCH)}
    assert outcome.garbage == [f"jobs/{job.id}/e3/snapshot-1"]
    attached = job.read(lambda connection, job_id: jobs.Attachments(connection, [job_id]).result_files[job_id])
    stored = job.read(lambda connection, _: files.get(connection, project_id=row["project_id"], file_id=attached[0]))
    content = (tmp_path / "blobs" / stored["blob_key"]).read_bytes()
    assert (stored["purpose"], stored["file_bytes"]) == ("fine-tune-results", len(content))
    assert len(content.splitlines()) == 3


@pytest.mark.parametrize(("desired", "status"), [(Desired.PAUSE, "paused"), (Desired.RUN, "queued")])
def test_pause_is_the_users_wish_or_a_drain(job: Job, desired: Desired, status: str) -> None:
    job.change(desired_state=desired)
    outcome = job.report(Started(10, 0), step(1), Paused(1))
    assert (job.row["status"], job.row["runner_id"], job.row["attempt"]) == (status, None, 0)
    assert outcome.left == {(job.id, EPOCH)}
    assert ("The job was paused at step 1" in job.messages) == (status == "paused")
    assert (job.row["paused_at"] is not None) == (status == "paused")


def test_failure_of_the_host_is_the_jobs_error(job: Job) -> None:
    outcome = job.report(Started(10, 0), SnapshotSaved(1, artefact("s")), Failed("training_diverged", "NaN."))
    row = job.row
    assert (row["status"], row["error_code"], row["error_message"]) == ("failed", "training_diverged", "NaN.")
    assert row["finished_at"] is None
    assert job.messages[-1] == "NaN."
    assert outcome.garbage == [f"jobs/{job.id}/e3/s"]


def test_job_fails_once(job: Job, database: Database) -> None:
    def end(code: str) -> bool:
        told: Any = {"message": code, "param": None, "epoch": EPOCH}
        return database.write_now(lambda connection: fail(connection, job.id, code=code, **told))

    assert [end("first"), end("second")] == [True, False]
    assert (job.row["error_code"], job.messages) == ("first", ["first"])


def test_warning_is_an_event_of_its_level(job: Job) -> None:
    job.report(Started(10, 0), Warned("Row 3 was left out"))
    assert job.messages[-1] == "Row 3 was left out"


def test_metrics_event_has_rounded_text_and_full_floats() -> None:
    measured = step(3, valid_loss=0.123456, valid_accuracy=0.5, full_valid_loss=0.05, full_valid_accuracy=0.9).metrics
    event = metrics_event(measured, 300)
    assert event.message == "Step 3/300: training loss=0.33, validation loss=0.12, full validation loss=0.05"
    assert event.type == "metrics"
    assert event.data is not None
    assert list(event.data)[:8] == [
        "step", "train_loss", "total_steps", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy",
        "full_valid_loss", "full_valid_mean_token_accuracy",
    ]  # fmt: skip
    assert (event.data["train_loss"], event.data["valid_loss"]) == (1 / 3, 0.123456)


def test_result_csv_has_openais_columns_first_and_empty_cells() -> None:
    rows: Any = [
        {"step": 2, "split": "train", "loss": 0.5, "accuracy": 1.0},
        {"step": 1, "split": "train", "loss": 1.52347, "accuracy": 0.0},
        {"step": 2, "split": "valid", "loss": 0.6, "accuracy": 0.9},
        {"step": 2, "split": "full_valid", "loss": 0.7, "accuracy": 0.8},
    ]
    lines = result_csv(rows).decode().splitlines()
    assert lines[0].startswith("step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy")
    assert lines[1].startswith("1,1.52347,0.0,,")
    parsed = list(csv.DictReader(io.StringIO("\n".join(lines))))
    assert (parsed[1]["valid_loss"], parsed[1]["full_valid_loss"]) == ("0.6", "0.7")
    assert [row["step"] for row in parsed] == ["1", "2"]
