"""Bytes on the wire: the key order of every object as recorded from OpenAI, headers, and requests without a body."""

from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.samples import upload, wait_for_end

JOB = [
    "object", "id", "model", "created_at", "finished_at", "fine_tuned_model", "organization_id", "result_files",
    "status", "validation_file", "training_file", "hyperparameters", "trained_tokens", "error",
    "user_provided_suffix", "seed", "estimated_finish", "integrations", "metadata", "usage_metrics",
    "shared_with_openai", "eval_id", "method",
]  # fmt: skip
EVENT = ["object", "id", "created_at", "level", "message", "data", "type"]
CHECKPOINT = [
    "object", "id", "created_at", "fine_tuned_model_checkpoint", "fine_tuning_job_id", "metrics", "step_number",
]  # fmt: skip
FILE = [
    "object", "id", "purpose", "filename", "bytes", "created_at", "expires_at", "status", "status_details",
]  # fmt: skip
MODEL = ["id", "object", "created", "owned_by"]
SHORT_LIST = ["object", "data", "has_more"]
LONG_LIST = [*SHORT_LIST, "first_id", "last_id"]
GENERIC = ["n_epochs", "batch_size", "learning_rate_multiplier"]


@pytest.fixture(scope="module")
def job_id(client: OpenAI) -> str:
    return wait_for_end(client, client.fine_tuning.jobs.create(model="tiny", training_file=upload(client).id).id).id


def test_job_keys_come_in_recorded_order_from_the_first_answer_on(
    http: httpx.Client, client: OpenAI, job_id: str
) -> None:
    created = http.post("/fine_tuning/jobs", json={"model": "tiny", "training_file": upload(client).id})
    assert created.status_code == 200
    cancelled = http.post(f"/fine_tuning/jobs/{created.json()['id']}/cancel")
    for job in (created.json(), cancelled.json(), http.get(f"/fine_tuning/jobs/{job_id}").json()):
        assert list(job) == JOB
        assert list(job["hyperparameters"]) == GENERIC
        assert list(job["method"]) == ["type", "supervised"]
        assert list(job["method"]["supervised"]) == ["hyperparameters"]
    assert (cancelled.json()["status"], cancelled.json()["finished_at"]) == ("cancelled", None)


def test_failed_job_has_its_error_in_recorded_order(http: httpx.Client, client: OpenAI) -> None:
    few = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n' * 3
    made = client.fine_tuning.jobs.create(model="tiny", training_file=upload(client, few).id)
    job = wait_for_end(client, made.id)
    assert job.status == "failed"
    error = http.get(f"/fine_tuning/jobs/{made.id}").json()["error"]
    assert list(error.items()) == [
        ("code", "invalid_n_examples"),
        ("param", "training_file"),
        ("message", "Training file has 3 example(s), but must have at least 10 examples"),
    ]
    assert job.finished_at is None


def test_paused_job_stays_within_the_documented_states(http: httpx.Client, client: OpenAI) -> None:
    made = client.fine_tuning.jobs.create(model="tiny", training_file=upload(client).id)
    paused = http.post(f"/fine_tuning/jobs/{made.id}/pause").json()
    if paused["status"] == "queued" and "paused" in paused:
        assert list(paused) == [*JOB, "paused", "paused_at"]
        assert paused["paused"] is True
    resumed = http.post(f"/fine_tuning/jobs/{made.id}/resume").json()
    assert list(resumed) == JOB
    client.fine_tuning.jobs.cancel(made.id)


@pytest.mark.parametrize(
    ("path", "envelope", "item"),
    [
        ("/fine_tuning/jobs", SHORT_LIST, JOB),
        ("/fine_tuning/jobs/{job}/events", SHORT_LIST, EVENT),
        ("/fine_tuning/jobs/{job}/checkpoints", LONG_LIST, CHECKPOINT),
        ("/files", LONG_LIST, FILE),
        ("/models", ["object", "data"], MODEL),
    ],
)
def test_list_keys_come_in_recorded_order(
    http: httpx.Client, job_id: str, path: str, envelope: list[str], item: list[str]
) -> None:
    answer = http.get(path.format(job=job_id)).json()
    assert list(answer) == envelope
    assert answer["object"] == "list"
    assert {tuple(key for key in each if not key.startswith("paused")) for each in answer["data"]} == {tuple(item)}
    if "first_id" in answer:
        assert (answer["first_id"], answer["last_id"]) == (answer["data"][0]["id"], answer["data"][-1]["id"])


def test_checkpoint_metrics_begin_with_the_step_and_end_with_the_type(http: httpx.Client, job_id: str) -> None:
    checkpoint = http.get(f"/fine_tuning/jobs/{job_id}/checkpoints").json()["data"][0]
    assert list(checkpoint["metrics"]) == ["step", "train_loss", "train_mean_token_accuracy", "type"]


def test_file_and_deletion_keys_come_in_recorded_order(http: httpx.Client) -> None:
    made = http.post("/files", files={"file": ("a.txt", b"x")}, data={"purpose": "user_data"}).json()
    assert list(made) == FILE
    assert list(http.get(f"/files/{made['id']}").json()) == FILE
    deleted = http.delete(f"/files/{made['id']}").json()
    assert list(deleted.items()) == [("object", "file"), ("deleted", True), ("id", made["id"])]


def test_model_deletion_keys(http: httpx.Client, client: OpenAI) -> None:
    job = wait_for_end(client, client.fine_tuning.jobs.create(model="tiny", training_file=upload(client).id).id)
    assert list(http.get(f"/models/{job.fine_tuned_model}").json()) == MODEL
    assert list(http.delete(f"/models/{job.fine_tuned_model}").json()) == ["id", "object", "deleted"]


def test_completion_keys_come_in_order(http: httpx.Client) -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
    answer = http.post("/chat/completions", json=body).json()
    assert list(answer) == [
        "id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint",
    ]  # fmt: skip
    assert list(answer["choices"][0]) == ["index", "message", "logprobs", "finish_reason"]
    assert list(answer["choices"][0]["message"]) == ["role", "content", "refusal", "annotations"]


@pytest.mark.parametrize(
    "headers", [{}, {"content-type": "application/json"}, {"content-type": "text/plain"}, {"content-length": "0"}]
)
@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
def test_posts_without_a_body_need_no_content_type(
    http: httpx.Client, client: OpenAI, verb: str, headers: dict[str, str]
) -> None:
    made = client.fine_tuning.jobs.create(model="tiny", training_file=upload(client).id)
    answer = http.post(f"/fine_tuning/jobs/{made.id}/{verb}", headers=headers)
    assert answer.status_code == 200
    assert answer.json()["id"] == made.id
    client.fine_tuning.jobs.cancel(made.id)


def test_create_needs_no_content_type(http: httpx.Client, client: OpenAI) -> None:
    body = b'{"model": "tiny", "training_file": "%s"}' % upload(client).id.encode()
    assert http.post("/fine_tuning/jobs", content=body).status_code == 200


@pytest.mark.parametrize("prefix", ["/v1", "", "/openai/v1", "/openai"])
def test_every_prefix_serves_the_same(http: httpx.Client, prefix: str) -> None:
    root = str(http.base_url).removesuffix("/v1/")
    assert http.get(f"{root}{prefix}/models?api-version=2024-10-21").json() == http.get("/models").json()
    assert http.get(f"{root}{prefix}").status_code == 200


def test_every_answer_has_openais_headers(http: httpx.Client) -> None:
    for answer in (http.get("/models"), http.get("/nowhere"), http.get("/files/none"), http.post("/files")):
        headers = answer.headers
        assert headers["x-request-id"].startswith("req_")
        assert headers["openai-version"] == "2020-10-01"
        assert headers["openai-organization"] == "local"
        assert int(headers["openai-processing-ms"]) >= 0
    assert http.get("/models").headers["x-request-id"] != http.get("/models").headers["x-request-id"]


@pytest.mark.parametrize(
    "name", ["ft%3Atiny%3Alocal%3A%3Aabc", "ft:tiny:local::abc", "Qwen/Qwen3-8B", "Qwen%2FQwen3-8B"]
)
def test_model_names_may_hold_colons_and_slashes_escaped_or_not(http: httpx.Client, name: str) -> None:
    answer = http.get(f"/models/{name}")
    assert answer.status_code == 404
    plain = name.replace("%3A", ":").replace("%2F", "/")
    assert answer.json()["error"]["message"] == f"The model '{plain}' does not exist"


def test_any_key_is_accepted_while_none_are_in_use(http: httpx.Client) -> None:
    schemes: list[dict[str, Any]] = [{}, {"authorization": "Bearer x"}, {"api-key": "x"}]
    assert [http.get("/models", headers=headers).status_code for headers in schemes] == [200, 200, 200]
