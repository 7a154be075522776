"""Events as server-sent events: each once, in order, resumable wherever the line was cut."""

import json
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.samples import upload, wait_for_end


@pytest.fixture(scope="module")
def job_id(client: OpenAI) -> str:
    return client.fine_tuning.jobs.create(model="tiny", training_file=upload(client).id).id


def follow(http: httpx.Client, job_id: str, **headers: str) -> list[tuple[int, dict[str, Any]]]:
    """Every numbered event until the stream says that it is done."""
    named = {"accept": "text/event-stream"} | {name.replace("_", "-"): value for name, value in headers.items()}
    seen: list[tuple[int, dict[str, Any]]] = []
    number = 0
    with http.stream("GET", f"/fine_tuning/jobs/{job_id}/events", headers=named, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("id: "):
                number = int(line[4:])
            elif line == "data: [DONE]":
                return seen
            elif line.startswith("data: "):
                seen.append((number, json.loads(line[6:])))
    raise AssertionError("the stream ended without its end mark")


def test_stream_of_a_running_job_gives_every_event_once(http: httpx.Client, client: OpenAI, job_id: str) -> None:
    seen = follow(http, job_id)
    wait_for_end(client, job_id)
    listed = [event.id for event in client.fine_tuning.jobs.list_events(job_id, limit=100)]
    assert [event["id"] for _, event in seen] == listed[::-1]
    assert [number for number, _ in seen] == list(range(1, len(seen) + 1))
    assert seen[-1][1]["message"] == "The job has successfully completed"


@pytest.mark.parametrize("cut", [1, 7])
def test_stream_goes_on_behind_the_last_event(http: httpx.Client, client: OpenAI, job_id: str, cut: int) -> None:
    wait_for_end(client, job_id)
    whole = follow(http, job_id)
    assert follow(http, job_id, last_event_id=str(whole[cut - 1][0])) == whole[cut:]
    assert follow(http, job_id, last_event_id=whole[cut - 1][1]["id"]) == whole[cut:]


def test_unknown_last_event_is_refused(http: httpx.Client, job_id: str) -> None:
    headers = {"accept": "text/event-stream", "last-event-id": "ftevent-nothing"}
    assert http.get(f"/fine_tuning/jobs/{job_id}/events", headers=headers).status_code == 400


def test_unknown_job_is_not_found(http: httpx.Client) -> None:
    answer = http.get("/fine_tuning/jobs/ftjob-nothing/events", headers={"accept": "text/event-stream"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "fine_tune_not_found")
