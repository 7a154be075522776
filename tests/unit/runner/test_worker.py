"""What the runner does with reports when the database or a report itself is in the way."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.factories import add_job, add_project
from tunery.blobs.disk import DiskBlobs
from tunery.errors import DatabaseUnavailable
from tunery.lifecycle import Status
from tunery.runner.worker import Runner
from tunery.settings import Settings
from tunery.store import jobs
from tunery.store.database import Database, Row
from tunery.training.reports import Artefact, Finished, Report, Started, StepMetrics, Stepped

SENSELESS = Finished(10, Artefact(path="a", sha256="0", file_bytes=1))
"""A job cannot finish that has not started."""


class FlakyDatabase(Database):
    """Its writes fail from `failing_from` on, counted from 1, until it is mended."""

    failing_from = 1_000

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.writes = 0

    async def write(self, change: Callable[..., Any]) -> Any:
        self.writes += 1
        if self.writes >= self.failing_from:
            raise DatabaseUnavailable("locked")
        return await super().write(change)


class Scene:
    """A runner without hosts that holds two running jobs."""

    def __init__(self, database: FlakyDatabase, data_dir: Path) -> None:
        self.database = database
        config = Settings(data_dir=data_dir)
        self.runner = Runner(
            config, database, DiskBlobs(data_dir), device="cpu", dtype="float32", host_module="tests.fakes.host"
        )
        values: dict[str, Any] = {"epoch": 1, "runner_id": self.runner.id, "lease_until": 1e12}
        self.jobs = [
            database.write_now(lambda each: add_job(each, add_project(each), **values))["id"] for _ in range(2)
        ]

    def row(self, job_id: str) -> Row:
        row = self.database.read_now(lambda connection: jobs.get(connection, job_id))
        assert row is not None
        return row

    def hear(self, *reports: Report) -> None:
        for report in reports:
            self.runner._on_report(report)

    async def record(self) -> None:
        await self.runner._record_reports()


def in_scene(url: str, data_dir: Path, play: Callable[[Scene], Any]) -> None:
    database = FlakyDatabase(url)

    async def run() -> None:
        await play(Scene(database, data_dir))

    try:
        asyncio.run(run())
    finally:
        database.close()


def step(number: int) -> Stepped:
    numbers = {"grad_norm": 1.0, "learning_rate": 1e-3, "tokens": 1, "supervised_tokens": 1, "seconds": 0.1}
    return Stepped(StepMetrics(step=number, train_loss=1.0, train_accuracy=0.5, **numbers))


@pytest.mark.parametrize("failing_from", [1, 2, 3, 4])
def test_database_that_fails_for_a_while_ends_no_job_and_loses_no_report(
    database_url: str, tmp_path: Path, failing_from: int
) -> None:
    """In turn: the common write, the sound job's own, the senseless one's own, its end."""

    async def play(scene: Scene) -> None:
        bad, good = scene.jobs
        scene.hear(Report(good, 1, 1, Started(10, 0)), Report(bad, 1, 1, SENSELESS), Report(good, 1, 2, step(1)))
        scene.database.failing_from = failing_from
        with pytest.raises(DatabaseUnavailable):
            await scene.record()
        scene.hear(Report(good, 1, 3, step(2)))
        scene.database.failing_from = 1_000
        await scene.record()
        assert (scene.row(bad)["status"], scene.row(bad)["error_code"]) == (Status.FAILED, "server_error")
        assert (scene.row(good)["status"], scene.row(good)["step"]) == (Status.RUNNING, 2)
        assert scene.runner._reports == []

    in_scene(database_url, tmp_path, play)


def test_job_whose_report_is_missing_is_handed_back(database_url: str, tmp_path: Path) -> None:
    async def play(scene: Scene) -> None:
        gapped, other = scene.jobs
        scene.hear(Report(gapped, 1, 1, Started(10, 0)), Report(gapped, 1, 3, step(2)))
        scene.runner._placing.add((other, 1))
        await scene.record()
        await scene.runner._obey()
        row = scene.row(gapped)
        assert (row["status"], row["epoch"], row["step"], row["runner_id"]) == (Status.QUEUED, 2, 0, None)
        assert scene.row(other)["epoch"] == 1

    in_scene(database_url, tmp_path, play)
