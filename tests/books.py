"""What must hold for every job, whatever died while it ran: read from the database after the fact."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import select

from tunery.blobs.artefacts import verify
from tunery.lifecycle import TERMINAL, Status
from tunery.store import jobs as job_rows
from tunery.store import models
from tunery.store.database import Connection, Database
from tunery.store.schema import events, job_result_files, jobs

SUCCESS = "The job has successfully completed"
CANCELLED = "The job was cancelled"


class Books:
    """Reads a server's database and blobs beside it."""

    def __init__(self, data_dir: Path, url: str | None = None) -> None:
        self._blobs = data_dir / "blobs"
        self._path = data_dir / "tunery.db"
        self._database = Database(url or f"sqlite:///{self._path}")

    def close(self) -> None:
        self._database.close()

    def job(self, job_id: str) -> Any:
        return self._database.read_now(lambda connection: job_rows.get(connection, job_id))

    def job_ids(self) -> list[str]:
        return self._database.read_now(lambda connection: list(connection.execute(select(jobs.c.id)).scalars()))

    def events(self, job_id: str) -> list[Any]:
        """In the order of their numbers."""
        statement = select(events).where(events.c.job_id == job_id).order_by(events.c.seq)
        return self._database.read_now(lambda connection: list(connection.execute(statement).mappings()))

    def messages(self, job_id: str) -> list[str]:
        return [event["message"] for event in self.events(job_id)]

    def model(self, job_id: str) -> Any:
        row = self.job(job_id)
        query = {"project_id": row["project_id"], "model_id": row["fine_tuned_model"]}
        return self._database.read_now(lambda connection: models.get(connection, **query))

    def engine(self, base_id: str) -> Any:
        return self._database.read_now(lambda connection: models.engine(connection, base_id))

    def can_write(self) -> bool:
        """Whether no other process is in the middle of a transaction; only SQLite has one writer at a time."""
        if not self._database.is_sqlite:
            return True
        with closing(sqlite3.connect(self._path, timeout=0.05, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            connection.execute("ROLLBACK")
            return True

    def check(self, job_id: str) -> None:
        """Raise AssertionError where the job's rows and files do not add up."""
        row = self.job(job_id)
        told = self.events(job_id)
        assert [event["seq"] for event in told] == list(range(1, row["event_seq"] + 1)), "events have gaps"
        last = [event for event in told if event["message"] in (SUCCESS, CANCELLED) or event["level"] == "error"]
        steps = [event["data"]["step"] for event in told if event["type"] == "metrics"]
        assert steps == list(range(1, row["step"] + 1)), f"steps told: {steps}"
        if row["status"] not in TERMINAL:
            assert last == []
            return
        assert [event["seq"] for event in last] == [row["event_seq"]], f"terminal events: {last}"
        assert (row["runner_id"], row["lease_until"]) == (None, None)
        if row["status"] == Status.SUCCEEDED:
            self._database.read_now(lambda connection: self._check_success(connection, row))

    def _check_success(self, connection: Connection, row: Any) -> None:
        job_id, total = row["id"], row["total_steps"]
        train = [each["step"] for each in job_rows.metrics_of(connection, job_id) if each["split"] == "train"]
        assert row["step"] == total
        assert train == list(range(1, total + 1)), f"metrics of steps {train}"
        kept = job_rows.checkpoints_of(connection, job_id)
        assert 1 <= len(kept) <= 3
        assert (kept[0]["step"], kept[0]["model_id"]) == (total, row["fine_tuned_model"])
        for checkpoint in kept:
            model = models.get(connection, project_id=row["project_id"], model_id=checkpoint["model_id"])
            assert model is not None
            verify(self._blobs / model["blob_key"], sha256=model["sha256"])
        assert job_rows.snapshots_of(connection, job_id) == []
        results = select(job_result_files.c.file_id).where(job_result_files.c.job_id == job_id)
        (result,) = connection.execute(results).scalars()
        content = (self._blobs / "files" / row["project_id"] / result).read_text()
        assert len(content.splitlines()) == total + 1
