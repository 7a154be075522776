"""A request that comes twice makes one job: by Idempotency-Key, or because an SDK got no answer the first time."""

from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.samples import upload


@pytest.fixture(scope="module")
def body(client: OpenAI) -> dict[str, Any]:
    return {"model": "tiny", "training_file": upload(client).id}


def post(http: httpx.Client, body: dict[str, Any], **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.post("/fine_tuning/jobs", json=body, headers=named)


def test_same_key_and_body_give_the_same_job(http: httpx.Client, body: dict[str, Any]) -> None:
    answers = [post(http, body | {"seed": 1}, idempotency_key="first") for _ in range(2)]
    assert answers[0].json()["id"] == answers[1].json()["id"]


def test_same_key_with_another_body_is_refused(http: httpx.Client, body: dict[str, Any]) -> None:
    post(http, body | {"seed": 2}, idempotency_key="second")
    refused = post(http, body | {"seed": 3}, idempotency_key="second")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "idempotency_key_reused")


def test_sdk_retry_of_the_same_body_gives_the_same_job(http: httpx.Client, body: dict[str, Any]) -> None:
    first = post(http, body | {"seed": 4})
    retried = post(http, body | {"seed": 4}, x_stainless_retry_count="1")
    assert retried.json()["id"] == first.json()["id"]


def test_first_attempts_of_the_same_body_are_two_jobs(http: httpx.Client, body: dict[str, Any]) -> None:
    ids = {post(http, body | {"seed": 5}, x_stainless_retry_count="0").json()["id"] for _ in range(2)}
    assert len(ids) == 2


def test_retry_of_a_body_that_never_arrived_makes_a_job(http: httpx.Client, body: dict[str, Any]) -> None:
    made = post(http, body | {"seed": 6}, x_stainless_retry_count="2")
    assert made.status_code == 200
