"""Event numbers without gaps, in the order of their commits, and closed to stale epochs."""

import threading
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from tests.factories import NOW, add_job, add_project
from tunery.store import events, jobs
from tunery.store.database import Connection, Database
from tunery.store.events import Event
from tunery.store.schema import events as events_table


def make_job(database: Database) -> str:
    return database.write_now(lambda connection: add_job(connection, add_project(connection)))["id"]


def numbers(database: Database, job_id: str) -> list[int]:
    statement = select(events_table.c.seq).where(events_table.c.job_id == job_id).order_by(events_table.c.seq)
    return database.read_now(lambda connection: list(connection.execute(statement).scalars()))


def test_numbers_are_gapless_under_concurrent_writers(database: Database) -> None:
    job_id = make_job(database)

    def append(size: int) -> None:
        new = [Event(f"{threading.get_ident()} {n}") for n in range(size)]
        database.write_now(lambda connection: events.append(connection, job_id, new, at=NOW))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(append, [1, 3, 2, 5] * 6))
    total = 6 * (1 + 3 + 2 + 5)
    assert numbers(database, job_id) == list(range(1, total + 1))
    row = database.read_now(lambda connection: jobs.get(connection, job_id))
    assert row is not None
    assert row["event_seq"] == total


def test_failed_transaction_uses_no_number(database: Database) -> None:
    job_id = make_job(database)

    def change(connection: Connection) -> None:
        events.append(connection, job_id, [Event("lost")], at=NOW)
        raise RuntimeError

    for _ in range(3):
        try:
            database.write_now(change)
        except RuntimeError:
            continue
    database.write_now(lambda connection: events.append(connection, job_id, [Event("kept")], at=NOW))
    assert numbers(database, job_id) == [1]


def test_stale_epoch_writes_nothing(database: Database) -> None:
    job_id = make_job(database)

    def append(epoch: int | None) -> bool:
        new = [Event("told")]
        return database.write_now(lambda connection: events.append(connection, job_id, new, at=NOW, epoch=epoch))

    assert append(0) is True
    assert append(1) is False
    assert append(None) is True
    assert numbers(database, job_id) == [1, 2]


@settings(max_examples=20, deadline=None, database=None)
@given(st.lists(st.text(max_size=20), max_size=5))
def check_texts(database: Database, messages: list[str]) -> None:
    job_id = make_job(database)
    kept = [message.replace("\x00", "") for message in messages]
    new = [Event(message, data={"text": message, "nested": [1, None]}) for message in kept]
    database.write_now(lambda connection: events.append(connection, job_id, new, at=NOW))
    page = database.read_now(lambda connection: events.listing(connection, job_id=job_id, after=None, limit=10))
    assert [row["message"] for row in page.rows] == kept[::-1]
    assert [row["data"] for row in page.rows] == [{"text": message, "nested": [1, None]} for message in kept[::-1]]


def test_any_text_survives(database: Database) -> None:
    check_texts(database)


def test_null_data_stays_null(database: Database) -> None:
    job_id = make_job(database)
    new = [Event("a", data=None), Event("b")]
    database.write_now(lambda connection: events.append(connection, job_id, new, at=NOW))
    page = database.read_now(lambda connection: events.listing(connection, job_id=job_id, after=None, limit=10))
    assert [row["data"] for row in page.rows] == [{}, None]
