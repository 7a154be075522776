"""Refusals: the recorded wordings, their body and headers, and the exceptions that official clients make of them."""

import socket
from typing import Any, NamedTuple

import httpx
import openai
import pytest
from openai import OpenAI

from tests.samples import upload, wait_for_end
from tests.servers import Server

UNKNOWN_JOB = "ftjob-AAAAAAAAAAAAAAAAAAAAAAAA"
PURPOSES = "['fine-tune', 'assistants', 'batch', 'user_data', 'vision', 'evals']"


class Case(NamedTuple):
    """A request and its refusal. `{file}` in a body stands for a training file that exists."""

    method: str
    path: str
    body: Any
    status: int
    message: str
    param: str | None = None
    code: str | None = None


def create(**values: Any) -> dict[str, Any]:
    return {"model": "tiny", "training_file": "{file}", **values}


def with_method(**hyperparameters: Any) -> dict[str, Any]:
    return create(method={"type": "supervised", "supervised": {"hyperparameters": hyperparameters}})


def chat(**values: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], **values}


JOBS = "/fine_tuning/jobs"
N_EPOCHS = "method.supervised.hyperparameters.n_epochs"
BATCH = "method.supervised.hyperparameters.batch_size"
RATE = "method.supervised.hyperparameters.learning_rate_multiplier"
ROLES = "['system', 'developer', 'user', 'assistant', 'tool', 'function']"
CASES = [
    # Wordings that were recorded from OpenAI.
    Case(
        "POST", JOBS, create(model="gpt-nonexistent"), 400,
        "Model gpt-nonexistent is not available for fine-tuning or does not exist.", None, "model_not_available",
    ),
    Case("POST", JOBS, create(training_file="Invalid File Name"), 400,
         "invalid training_file: Invalid File Name", "training_file"),
    Case("POST", JOBS, create(validation_file="7"), 400, "invalid validation_file: 7", "validation_file"),
    Case("GET", "/models/fake_id", None, 404, "The model 'fake_id' does not exist", "model", "model_not_found"),
    Case("DELETE", "/models/fake_id", None, 404, "The model 'fake_id' does not exist", "model", "model_not_found"),
    Case("POST", "/chat/completions", chat(model="fake_id"), 404,
         "The model 'fake_id' does not exist", "model", "model_not_found"),
    *(
        Case(method, f"{JOBS}/{UNKNOWN_JOB}{path}", None, 404,
             f"Could not find fine tune: {UNKNOWN_JOB}", "fine_tune_id", "fine_tune_not_found")
        for method, path in [
            ("GET", ""), ("GET", "/events"), ("GET", "/checkpoints"),
            ("POST", "/cancel"), ("POST", "/pause"), ("POST", "/resume"),
        ]
    ),
    # Out of range, in the recorded pattern.
    Case("POST", JOBS, with_method(n_epochs=0), 400, "0 is less than the minimum of 1 - 'n_epochs'", N_EPOCHS),
    Case("POST", JOBS, with_method(n_epochs=51), 400, "51 is greater than the maximum of 50 - 'n_epochs'", N_EPOCHS),
    Case("POST", JOBS, with_method(batch_size=-42), 400, "-42 is less than the minimum of 1 - 'batch_size'", BATCH),
    Case("POST", JOBS, create(hyperparameters={"batch_size": 257}), 400,
         "257 is greater than the maximum of 256 - 'batch_size'", "hyperparameters.batch_size"),
    Case("POST", JOBS, with_method(learning_rate_multiplier=0), 400,
         "0 is less than or equal to the minimum of 0 - 'learning_rate_multiplier'", RATE),
    Case("POST", JOBS, create(seed=-1), 400, "-1 is less than the minimum of 0 - 'seed'", "seed"),
    Case("POST", JOBS, create(seed=2**31), 400,
         "2147483648 is greater than the maximum of 2147483647 - 'seed'", "seed"),
    Case("GET", f"{JOBS}?limit=-1", None, 400, "-1 is less than the minimum of 0 - 'limit'", "limit"),
    Case("POST", "/chat/completions", chat(temperature=2.5), 400,
         "2.5 is greater than the maximum of 2 - 'temperature'", "temperature"),
    Case("POST", "/chat/completions", chat(messages=[]), 400,
         "[] is too short - 'messages'", "messages"),
    Case("POST", "/chat/completions", chat(stop=list("abcde")), 400,
         "stop has 5 items, at most 4 - 'stop'", "stop"),
    # Wrong types and missing members.
    Case("POST", JOBS, {}, 400, "'model' is a required property", "model"),
    Case("POST", JOBS, None, 400, "'model' is a required property", "model"),
    Case("POST", JOBS, {"model": "tiny"}, 400, "'training_file' is a required property", "training_file"),
    Case("POST", JOBS, create(model=5), 400, "5 is not of type 'string' - 'model'", "model"),
    Case("POST", JOBS, create(metadata=["a"]), 400, "['a'] is not of type 'object' - 'metadata'", "metadata"),
    Case("POST", JOBS, create(metadata={"a": 1}), 400, "1 is not of type 'string' - 'a'", "metadata.a"),
    Case("POST", JOBS, create(integrations={}), 400, "{} is not of type 'array' - 'integrations'", "integrations"),
    Case("POST", JOBS, create(seed="x"), 400, "'x' is not of type 'integer' - 'seed'", "seed"),
    Case("POST", JOBS, with_method(n_epochs="many"), 400, "'many' is not of type 'integer' - 'n_epochs'", N_EPOCHS),
    Case("POST", JOBS, with_method(n_epochs=1.5), 400, "1.5 is not of type 'integer' - 'n_epochs'", N_EPOCHS),
    Case("POST", JOBS, with_method(learning_rate_multiplier="fast"), 400,
         "'fast' is not of type 'number' - 'learning_rate_multiplier'", RATE),
    Case("POST", JOBS, create(method={"type": "magic"}), 400,
         "'magic' is not one of ['supervised', 'dpo', 'reinforcement'] - 'type'", "method.type"),
    Case("POST", JOBS, create(method={}), 400, "'type' is a required property", "method.type"),
    Case("POST", JOBS, create(integrations=[{"type": "wandb", "wandb": {}}]), 400,
         "'project' is a required property", "integrations[0].wandb.project"),
    Case("GET", f"{JOBS}?limit=ten", None, 400, "'ten' is not of type 'integer' - 'limit'", "limit"),
    Case("POST", "/chat/completions", chat(messages=[{"role": "robot", "content": "x"}]), 400,
         f"'robot' is not one of {ROLES} - 'role'", "messages[0].role"),
    Case("POST", "/chat/completions", {"model": "tiny"}, 400, "'messages' is a required property", "messages"),
    # Limits on text.
    Case("POST", JOBS, create(suffix="x" * 65), 400,
         f"'{'x' * 65}' is too long, at most 64 characters - 'suffix'", "suffix"),
    Case("POST", JOBS, create(suffix=""), 400, "'' is too short - 'suffix'", "suffix"),
    Case("POST", JOBS, create(suffix="a:b"), 400,
         "suffix must not contain ':' or '/', which separate the parts of a model's name - 'suffix'", "suffix"),
    Case("POST", JOBS, create(metadata={str(n): "v" for n in range(17)}), 400,
         "metadata has 17 items, at most 16 - 'metadata'", "metadata"),
    Case("POST", JOBS, create(metadata={"k": "v" * 513}), 400,
         f"'{'v' * 99}... is too long, at most 512 characters - 'k'", "metadata.k"),
    Case("POST", JOBS, create(integrations=[{"type": "wandb", "wandb": {"project": "p"}}] * 6), 400,
         "integrations has 6 items, at most 5 - 'integrations'", "integrations"),
    # What a framework refuses by itself.
    Case("GET", "/nowhere", None, 404, "Invalid URL (GET /v1/nowhere)"),
    Case("POST", "/fine_tuning/nowhere", {}, 404, "Invalid URL (POST /v1/fine_tuning/nowhere)"),
    Case("PUT", "/models", {}, 405, "Not allowed to PUT on /v1/models", None, "method_not_supported"),
    Case("DELETE", JOBS, None, 405, f"Not allowed to DELETE on /v1{JOBS}", None, "method_not_supported"),
    Case("POST", JOBS, b"{", 400, "We could not parse the JSON body of your request", None, None),
    Case("POST", JOBS, b"\xff\xfe", 400, "We could not parse the JSON body of your request", None, None),
    Case("POST", JOBS, [], 400, "The JSON body of your request must be an object."),
    Case("POST", JOBS, "text", 400, "The JSON body of your request must be an object."),
    # Ours.
    Case("DELETE", "/models/tiny", None, 400, "The model 'tiny' is a base model and cannot be deleted.", "model"),
]  # fmt: skip


@pytest.fixture(scope="module")
def training_file(client: OpenAI) -> str:
    return upload(client).id


def send(http: httpx.Client, case: Case, training_file: str) -> httpx.Response:
    if isinstance(case.body, bytes):
        return http.request(case.method, case.path, content=case.body)
    if case.body is None:
        return http.request(case.method, case.path)
    body = case.body
    if isinstance(body, dict) and body.get("training_file") == "{file}":
        body = body | {"training_file": training_file}
    return http.request(case.method, case.path, json=body)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.method} {case.path} {case.message[:40]}")
def test_refusal_has_its_wording_body_and_headers(http: httpx.Client, training_file: str, case: Case) -> None:
    answer = send(http, case, training_file)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (case.status, case.param, case.code), error
    assert error["message"].startswith(case.message)
    assert len(error["message"]) - len(case.message) < (80 if isinstance(case.body, bytes) else 1)
    assert error["type"] == "invalid_request_error"
    assert list(answer.json()) == ["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")


FILE_CASES = [
    ({"data": {"purpose": "world_domination"}, "files": {"file": b"x"}}, 400, "purpose",
     f"'world_domination' is not one of {PURPOSES} - 'purpose'"),
    ({"files": {"file": b"x"}}, 400, "purpose", "'purpose' is a required property"),
    ({"data": {"purpose": "fine-tune"}, "files": {"other": b"x"}}, 400, "file", "'file' is a required property"),
    ({"data": {"purpose": "fine-tune"}, "files": {"file": b'{"p\n'}}, 400, None,
     "Expected file to have JSONL format, where every line is a JSON dictionary. Line 1 is not a dictionary "
     '(HINT: line starts with: "{"p...").'),
    ({"json": {}}, 400, None, "Send the file as multipart/form-data with the fields 'file' and 'purpose'."),
    (
        {"data": {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "5"},
         "files": {"file": b"x"}},
        400, "seconds", "5 is less than the minimum of 3600 - 'seconds'",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "status", "param", "message"), FILE_CASES, ids=[case[3][:30] for case in FILE_CASES])
def test_file_refusals_repeat_the_message_as_detail(
    http: httpx.Client, server: Server, sent: dict[str, Any], status: int, param: str | None, message: str
) -> None:
    answer = http.post("/files", **sent)
    error = answer.json()["error"]
    assert (answer.status_code, error["message"], error["param"], error["code"]) == (status, message, param, None)
    if param != "seconds":
        assert list(answer.json().items())[1] == ("detail", {"message": message, "code": None})
    assert list((server.data_dir / "blobs" / "tmp").iterdir()) == []


def test_unknown_file_is_told_as_recorded(http: httpx.Client) -> None:
    for answer in (http.get("/files/fake_id"), http.delete("/files/fake_id"), http.get("/files/fake_id/content")):
        message = "No such File object: fake_id"
        assert answer.status_code == 404
        assert answer.json() == {
            "error": {"message": message, "type": "invalid_request_error", "param": "id", "code": None},
            "detail": {"message": message, "code": None},
        }


def test_file_of_another_purpose_is_refused_for_training(client: OpenAI) -> None:
    other = client.files.create(file=b"x", purpose="assistants")
    with pytest.raises(openai.BadRequestError, match=f"invalid training_file: {other.id}"):
        client.fine_tuning.jobs.create(model="tiny", training_file=other.id)


def test_ended_job_refuses_every_command_for_good(client: OpenAI, http: httpx.Client, training_file: str) -> None:
    job = wait_for_end(client, client.fine_tuning.jobs.create(model="tiny", training_file=training_file).id)
    for verb in ("cancel", "pause", "resume"):
        answer = http.post(f"/fine_tuning/jobs/{job.id}/{verb}")
        assert (answer.status_code, answer.headers["x-should-retry"]) == (400, "false")
        assert answer.json()["error"]["message"] == (f"Job {job.id} is already succeeded; there is nothing to {verb}.")


def test_methods_that_are_not_built_yet_say_so(http: httpx.Client, training_file: str) -> None:
    body = {"model": "tiny", "training_file": training_file, "method": {"type": "dpo"}}
    answer = http.post("/fine_tuning/jobs", json=body)
    assert answer.status_code == 501
    assert answer.headers["x-should-retry"] == "false"
    assert "'dpo' is not available" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/fine_tuning/alpha/graders/run", "/fine_tuning/alpha/graders/validate"])
def test_routes_that_are_not_built_yet_say_so(http: httpx.Client, path: str) -> None:
    answer = http.post(path, json={})
    assert answer.status_code == 501
    assert answer.json()["error"]["code"] == "not_available_yet"


def test_body_that_is_too_large_is_refused_before_it_is_read(http: httpx.Client, server: Server) -> None:
    """The announced length alone is enough; nothing of the 600 MB is sent."""
    host, port = server.url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/files HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: multipart/form-data; boundary=x\r\n"
        f"content-length: {600 * 1024 * 1024}\r\nconnection: close\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.1 413 ")
    assert '"message":"The file is larger than the limit of 536870912 bytes."' in answer


def test_json_body_that_is_too_large_is_refused(http: httpx.Client) -> None:
    answer = http.post("/fine_tuning/jobs", content=b'{"model": "' + b"x" * (33 * 1024 * 1024))
    assert answer.status_code in (400, 413)
    assert "larger than" in answer.json()["error"]["message"]


def test_sdk_raises_the_class_of_the_status(client: OpenAI, training_file: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.fine_tuning.jobs.create(model="gpt-nonexistent", training_file=training_file)
    assert refused.value.code == "model_not_available"
    assert refused.value.request_id is not None
    assert str(refused.value) == (
        "Error code: 400 - Model gpt-nonexistent is not available for fine-tuning or does not exist."
    )
    with pytest.raises(openai.NotFoundError) as missing:
        client.fine_tuning.jobs.retrieve(UNKNOWN_JOB)
    assert (missing.value.code, missing.value.param) == ("fine_tune_not_found", "fine_tune_id")
    with pytest.raises(openai.APIStatusError) as unbuilt:
        client.fine_tuning.alpha.graders.validate(
            grader={"type": "string_check", "name": "n", "input": "a", "reference": "b", "operation": "eq"}
        )
    assert unbuilt.value.status_code == 501


def test_permanent_refusals_are_not_retried_by_the_sdk(server: Server) -> None:
    """501 is a status that the SDK retries unless it is told not to."""
    sent = []

    def count(request: Any) -> None:
        sent.append(request)

    with OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=2) as client:
        client._client.event_hooks["request"].append(count)
        with pytest.raises(openai.APIStatusError):
            client.post("/fine_tuning/alpha/graders/run", body={}, cast_to=object)
    assert len(sent) == 1
