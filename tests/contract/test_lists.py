"""Lists: every object once, whatever is added while a client walks through the pages."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import OpenAI

from tests.factories import NOW, add_file, add_job, add_project
from tests.samples import upload
from tunery.store import events, files, jobs
from tunery.store.database import Connection, Database, Row
from tunery.store.events import Event
from tunery.store.pages import Page

PROPERTY = settings(max_examples=40, deadline=None, database=None)


@pytest.fixture(scope="module")
def job_ids(client: OpenAI) -> Iterator[list[str]]:
    """Seven paused jobs, oldest first, most of them of one second."""
    file_id = upload(client).id
    made = []
    for n in range(7):
        metadata = {"suite": "lists", "parity": str(n % 2)} if n < 5 else None
        job = client.fine_tuning.jobs.create(model="tiny", training_file=file_id, metadata=metadata)
        client.fine_tuning.jobs.pause(job.id)
        made.append(job.id)
    yield made
    for job_id in made:
        client.fine_tuning.jobs.cancel(job_id)


def test_sdk_walks_all_pages_newest_first(client: OpenAI, job_ids: list[str]) -> None:
    walked = [job.id for job in client.fine_tuning.jobs.list(limit=2)]
    assert len(walked) == len(set(walked))
    assert [job_id for job_id in walked if job_id in job_ids] == job_ids[::-1]


def test_after_is_exclusive_and_has_more_is_true_to_the_end(http: httpx.Client, job_ids: list[str]) -> None:
    first = http.get("/fine_tuning/jobs", params={"limit": 3}).json()
    assert [job["id"] for job in first["data"]] == job_ids[:-4:-1]
    assert first["has_more"] is True
    rest = http.get("/fine_tuning/jobs", params={"limit": 10_000, "after": job_ids[-3]}).json()
    assert rest["data"][0]["id"] == job_ids[-4]
    assert rest["has_more"] is False


def test_default_limits(http: httpx.Client, client: OpenAI) -> None:
    file_id = upload(client).id
    made = [client.fine_tuning.jobs.create(model="tiny", training_file=file_id).id for _ in range(21)]
    for job_id in made:
        client.fine_tuning.jobs.cancel(job_id)
    page = http.get("/fine_tuning/jobs").json()
    assert (len(page["data"]), page["has_more"]) == (20, True)


@pytest.mark.parametrize("path", ["/fine_tuning/jobs", "/fine_tuning/jobs/{job}/events", "/files"])
def test_limit_zero_is_an_empty_page_that_says_whether_there_is_more(
    http: httpx.Client, job_ids: list[str], path: str
) -> None:
    page = http.get(path.format(job=job_ids[0]), params={"limit": 0}).json()
    assert (page["data"], page["has_more"]) == ([], True)


def test_limit_zero_of_an_empty_list(http: httpx.Client, job_ids: list[str]) -> None:
    page = http.get(f"/fine_tuning/jobs/{job_ids[0]}/checkpoints", params={"limit": 0}).json()
    assert page == {"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None}


@pytest.mark.parametrize(
    "path", ["/fine_tuning/jobs", "/fine_tuning/jobs/{job}/events", "/fine_tuning/jobs/{job}/checkpoints", "/files"]
)
def test_unknown_after_ends_a_walk(http: httpx.Client, job_ids: list[str], path: str) -> None:
    page = http.get(path.format(job=job_ids[0]), params={"after": "gone"}).json()
    assert (page["data"], page["has_more"]) == ([], False)


def test_metadata_filters_are_joined_by_and(client: OpenAI, job_ids: list[str]) -> None:
    def listed(metadata: dict[str, str]) -> list[str]:
        return [job.id for job in client.fine_tuning.jobs.list(limit=2, metadata=metadata)]

    assert listed({"suite": "lists"}) == job_ids[4::-1]
    assert listed({"suite": "lists", "parity": "0"}) == [job_ids[4], job_ids[2], job_ids[0]]
    assert listed({"suite": "lists", "parity": "2"}) == []
    assert listed({"suite": "list"}) == []


@pytest.mark.parametrize("query", ["metadata=null", "metadata="])
def test_null_metadata_finds_jobs_without(http: httpx.Client, job_ids: list[str], query: str) -> None:
    found = [job["id"] for job in http.get(f"/fine_tuning/jobs?limit=10000&{query}").json()["data"]]
    assert [job_id for job_id in job_ids if job_id in found] == job_ids[5:]


def test_files_are_filtered_by_purpose_and_ordered(client: OpenAI) -> None:
    made = [client.files.create(file=b"x", purpose="vision").id for _ in range(3)]
    newest_first = [file.id for file in client.files.list(purpose="vision", limit=2)]
    assert [file_id for file_id in newest_first if file_id in made] == made[::-1]
    oldest_first = [file.id for file in client.files.list(purpose="vision", limit=2, order="asc")]
    assert oldest_first == newest_first[::-1]
    assert list(client.files.list(purpose="nothing")) == []


def test_events_of_a_page_hang_together(client: OpenAI, job_ids: list[str]) -> None:
    messages = [event.message for event in client.fine_tuning.jobs.list_events(job_ids[0], limit=1)]
    assert messages[-1].startswith("Created fine-tuning job")
    assert len(messages) == len(set(messages))


Walk = Callable[..., Page]
Moments = st.lists(st.integers(0, 3), max_size=3)
"""Seconds after the start at which some objects are made; later ones may well carry earlier times."""


def walk(database: Database, page: Walk, *, limit: int, between: Sequence[Callable[[], None]]) -> list[str]:
    """Every id in the order of the pages, with something happening after each page while it lasts."""
    seen: list[str] = []
    after = None
    pending = list(between)
    while True:
        read = database.read_now(partial(page, after=after, limit=limit))
        ids = [row["id"] for row in read.rows]
        assert set(ids).isdisjoint(seen), "a page repeats what another had"
        seen += ids
        if not read.has_more:
            return seen
        assert len(read.rows) == limit
        after = seen[-1]
        if pending:
            pending.pop(0)()


@PROPERTY
@given(before=st.lists(st.integers(0, 3), max_size=10), between=st.lists(Moments, max_size=4), limit=st.integers(1, 4))
def check_jobs(database: Database, before: list[int], between: list[list[int]], limit: int) -> None:
    project_id = database.write_now(add_project)

    def insert(moments: Sequence[int]) -> list[Row]:
        return database.write_now(
            lambda connection: [add_job(connection, project_id, created_at=NOW + moment) for moment in moments]
        )

    initial = [row["id"] for row in insert(before)]

    def page(connection: Connection, after: str | None, limit: int) -> Page:
        return jobs.listing(connection, project_id=project_id, after=after, limit=limit)

    seen = walk(database, page, limit=limit, between=[lambda moments=each: insert(moments) for each in between])
    assert len(seen) == len(set(seen))
    assert set(initial) <= set(seen)


@PROPERTY
@given(
    before=st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=8),
    between=st.lists(st.tuples(Moments, st.integers(0, 7)), max_size=4),
    limit=st.integers(1, 3),
    ascending=st.booleans(),
)
def check_files(
    database: Database,
    before: list[tuple[int, bool]],
    between: list[tuple[list[int], int]],
    limit: int,
    ascending: bool,
) -> None:
    """Files are also deleted meanwhile, among them the one that the next page begins behind."""
    project_id = database.write_now(add_project)

    def insert(connection: Connection, moment: int, purpose: str) -> str:
        return add_file(connection, project_id, created_at=NOW + moment, purpose=purpose)["id"]

    initial = [
        database.write_now(partial(insert, moment=moment, purpose="vision" if wanted else "batch"))
        for moment, wanted in before
    ]
    deleted: set[str] = set()

    def happen(moments: list[int], victim: int) -> None:
        database.write_now(lambda connection: [insert(connection, moment, "vision") for moment in moments])
        for file_id in initial[victim : victim + 1]:
            deleted.add(file_id)
            database.write_now(partial(files.delete, project_id=project_id, file_id=file_id, at=1))

    def page(connection: Connection, after: str | None, limit: int) -> Page:
        query: Any = {"project_id": project_id, "purpose": "vision", "after": after, "limit": limit}
        return files.listing(connection, ascending=ascending, **query)

    seen = walk(database, page, limit=limit, between=[lambda each=each: happen(*each) for each in between])
    wanted = {file_id for file_id, (_, is_wanted) in zip(initial, before, strict=True) if is_wanted}
    assert len(seen) == len(set(seen))
    assert wanted - deleted <= set(seen)
    assert set(seen).isdisjoint(set(initial) - wanted)


@PROPERTY
@given(before=st.integers(1, 8), between=st.lists(st.integers(0, 3), max_size=4), limit=st.integers(1, 3))
def check_events(database: Database, before: int, between: list[int], limit: int) -> None:
    project_id = database.write_now(add_project)
    job_id = database.write_now(lambda connection: add_job(connection, project_id))["id"]

    def append(count: int) -> None:
        new = [Event(f"event {n}") for n in range(count)]
        database.write_now(lambda connection: events.append(connection, job_id, new, at=NOW))

    append(before)

    def page(connection: Connection, after: str | None, limit: int) -> Page:
        return events.listing(connection, job_id=job_id, after=after, limit=limit)

    initial = database.read_now(lambda connection: page(connection, None, 100)).rows
    seen = walk(database, page, limit=limit, between=[lambda count=each: append(count) for each in between])
    assert seen == [row["id"] for row in initial]


@pytest.mark.parametrize("check", [check_jobs, check_files, check_events])
def test_pages_add_up_to_the_list_while_it_changes(database: Database, check: Callable[[Database], None]) -> None:
    check(database)
