"""States move only as the lifecycle allows, whoever asks; a fence shuts out who worked on the job."""

import pytest
from sqlalchemy.exc import IntegrityError

from tests.factories import add_job, add_project
from tunery.lifecycle import MOVES, Status
from tunery.store import jobs
from tunery.store.database import Connection, Database

EXTRA = {
    Status.FAILED: {"error_code": "c", "error_message": "m"},
    Status.SUCCEEDED: {"fine_tuned_model": "ft:m"},
}


@pytest.mark.parametrize("source", list(Status))
@pytest.mark.parametrize("target", list(Status))
def test_move_follows_the_table(migrated_database: Database, source: Status, target: Status) -> None:
    def change(connection: Connection) -> None:
        row = add_job(connection, add_project(connection), status=source, **EXTRA.get(source, {}))
        moved = jobs.move(connection, row["id"], target, **EXTRA.get(target, {}))
        assert (moved is not None) == (target in MOVES[source])
        after = jobs.get(connection, row["id"])
        assert after is not None
        assert after["status"] == (target if moved else source)

    migrated_database.write_now(change)


def test_move_of_a_stale_epoch_changes_nothing(database: Database) -> None:
    def change(connection: Connection) -> None:
        row = add_job(connection, add_project(connection), epoch=3)
        assert jobs.move(connection, row["id"], Status.RUNNING, epoch=2) is None
        assert jobs.move(connection, row["id"], Status.RUNNING, epoch=3) is not None

    database.write_now(change)


def test_fence_raises_the_epoch_and_takes_the_job_from_its_runner(database: Database) -> None:
    def change(connection: Connection) -> None:
        held = {"epoch": 3, "runner_id": "r", "lease_until": 1.0, "estimated_finish": 5}
        row = add_job(connection, add_project(connection), status=Status.RUNNING, **held)
        moved = jobs.move(connection, row["id"], Status.CANCELLED, fence=True)
        assert moved is not None
        assert [moved[name] for name in held] == [4, None, None, None]

    database.write_now(change)


@pytest.mark.parametrize(
    "values",
    [
        {"status": "asleep"},
        {"status": Status.FAILED},
        {"status": Status.QUEUED, "error_code": "c"},
        {"status": Status.SUCCEEDED},
        {"desired_state": "dance"},
        {"training_file": "file-of-nobody"},
        {"base_id": "unknown"},
    ],
)
def test_rows_that_cannot_be_are_refused_by_the_database(database: Database, values: dict[str, str]) -> None:
    with pytest.raises(IntegrityError):
        database.write_now(lambda connection: add_job(connection, add_project(connection), **values))


def test_job_cannot_use_a_file_of_another_project(database: Database) -> None:
    mine = database.write_now(lambda connection: add_job(connection, add_project(connection)))
    with pytest.raises(IntegrityError):
        database.write_now(
            lambda connection: add_job(connection, add_project(connection), training_file=mine["training_file"])
        )


def test_job_of_another_project_is_not_found(database: Database) -> None:
    row = database.write_now(lambda connection: add_job(connection, add_project(connection)))
    other = database.write_now(add_project)

    def query(connection: Connection) -> None:
        assert jobs.get(connection, row["id"], project_id=other) is None
        assert jobs.get_locked(connection, row["id"], project_id=other) is None
        assert jobs.listing(connection, project_id=other, after=None, limit=10).rows == []

    database.read_now(query)


def test_attachments_of_several_jobs_are_kept_apart(database: Database) -> None:
    def change(connection: Connection) -> None:
        project_id = add_project(connection)
        one, two = (add_job(connection, project_id)["id"] for _ in range(2))
        jobs.set_metadata(connection, project_id=project_id, job_id=one, pairs={"k": "1", "l": ""})
        wandb = {"type": "wandb", "project": "p", "name": None, "entity": "e"}
        both = [wandb | {"tags": ["b", "a"]}, wandb | {"project": "q", "tags": []}]
        jobs.add_integrations(connection, project_id=project_id, job_id=two, integrations=both)
        attached = jobs.Attachments(connection, [one, two])
        assert attached.metadata == {one: {"k": "1", "l": ""}}
        assert [each["wandb"] for each in attached.integrations[two]] == [
            {"project": "p", "name": None, "entity": "e", "tags": ["b", "a"]},
            {"project": "q", "name": None, "entity": "e", "tags": []},
        ]
        assert jobs.Attachments(connection, [two]).metadata == {}

    database.write_now(change)


def test_metrics_of_a_step_that_was_redone_are_replaced(database: Database) -> None:
    def change(connection: Connection) -> None:
        row = add_job(connection, add_project(connection))
        key = {"project_id": row["project_id"], "job_id": row["id"], "split": "train", "accuracy": 0.5}
        jobs.put_metrics(connection, [key | {"step": 1, "loss": 2.0}, key | {"step": 2, "loss": 1.0}])
        jobs.put_metrics(connection, [key | {"step": 2, "loss": 0.9}])
        measured = jobs.metrics_of(connection, row["id"])
        assert [(each["step"], each["loss"]) for each in measured] == [(1, 2.0), (2, 0.9)]

    database.write_now(change)
