"""A job's whole life through the official client in strict mode: what it gets is what the API reference promises."""

import asyncio
import base64
import csv
import io
import re
from typing import Any

import pytest
from openai import AsyncOpenAI, NotFoundError, OpenAI
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent

from tests.samples import jsonl, upload, wait_for_end
from tests.servers import Server

MESSAGES: Any = [{"role": "user", "content": "Say 3"}]
TUNED_NAME = re.compile(r"ft:tiny:local:Weather-bot:[A-Za-z0-9]{8}")
CHECKPOINT_NAME = re.compile(r"ft:tiny:local:Weather-bot:[A-Za-z0-9]{8}:ckpt-step-\d+")


@pytest.fixture(scope="module")
def finished(client: OpenAI) -> FineTuningJob:
    """A job with everything: validation file, suffix, seed, metadata, an integration; run to its end."""
    job = client.fine_tuning.jobs.create(
        model="tiny",
        training_file=upload(client).id,
        validation_file=upload(client).id,
        suffix="Weather-bot",
        seed=42,
        metadata={"team": "forecast", "empty": ""},
        integrations=[{"type": "wandb", "wandb": {"project": "p", "name": "n", "entity": "e", "tags": ["a", "b"]}}],
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 5, "batch_size": 4}}},
    )
    return wait_for_end(client, job.id)


def events_of(client: OpenAI, job_id: str) -> list[FineTuningJobEvent]:
    """Oldest first."""
    return list(client.fine_tuning.jobs.list_events(job_id, limit=7))[::-1]


def test_file_is_listed_read_and_deleted(client: OpenAI) -> None:
    content = jsonl(3)
    made = client.files.create(file=("ünïcode \u2713.jsonl", content), purpose="fine-tune")
    assert re.fullmatch(r"file-[A-Za-z0-9]{22}", made.id)
    assert (made.status, made.bytes, made.filename) == ("processed", len(content), "ünïcode \u2713.jsonl")
    assert made.expires_at is None
    assert client.files.retrieve(made.id) == made
    assert made in list(client.files.list(purpose="fine-tune"))
    assert client.files.content(made.id).read() == content
    deleted = client.files.delete(made.id)
    assert (deleted.id, deleted.deleted) == (made.id, True)
    with pytest.raises(NotFoundError, match=f"No such File object: {made.id}"):
        client.files.retrieve(made.id)
    with pytest.raises(NotFoundError):
        client.files.content(made.id)
    with pytest.raises(NotFoundError):
        client.files.delete(made.id)
    assert made.id not in [file.id for file in client.files.list()]


def test_file_expiry_is_counted_from_its_creation(client: OpenAI) -> None:
    made = client.files.create(
        file=b"anything", purpose="assistants", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert made.filename == "upload"
    assert made.expires_at == made.created_at + 3600


def test_job_begins_as_validating_files_with_everything_unresolved(client: OpenAI) -> None:
    training_file = upload(client).id
    job = client.fine_tuning.jobs.create(model="tiny", training_file=training_file)
    assert re.fullmatch(r"ftjob-[A-Za-z0-9]{24}", job.id)
    assert (job.status, job.model, job.training_file) == ("validating_files", "tiny", training_file)
    assert job.hyperparameters.to_dict() == {
        "n_epochs": "auto",
        "batch_size": "auto",
        "learning_rate_multiplier": "auto",
    }
    assert (job.error, job.fine_tuned_model, job.finished_at, job.trained_tokens) == (None, None, None, None)
    assert (job.result_files, job.integrations, job.metadata, job.validation_file) == ([], [], None, None)
    assert 0 <= job.seed < 2**31
    assert job.organization_id == "org-local"


def test_resolved_numbers_replace_auto(client: OpenAI) -> None:
    job = wait_for_end(client, client.fine_tuning.jobs.create(model="tiny", training_file=upload(client).id).id)
    assert job.status == "succeeded"
    assert job.hyperparameters.to_dict() == {"n_epochs": 8, "batch_size": 4, "learning_rate_multiplier": 1.0}
    assert job.method is not None
    assert job.method.supervised is not None
    assert job.method.supervised.to_dict() == {"hyperparameters": job.hyperparameters.to_dict()}


def test_finished_job_tells_what_was_made(finished: FineTuningJob) -> None:
    assert finished.status == "succeeded"
    assert finished.error is None
    assert TUNED_NAME.fullmatch(finished.fine_tuned_model or "")
    assert finished.finished_at is not None
    assert finished.finished_at >= finished.created_at
    assert finished.estimated_finish is None
    assert finished.seed == 42
    assert finished.metadata == {"team": "forecast", "empty": ""}
    assert finished.to_dict()["user_provided_suffix"] == "Weather-bot"
    assert finished.integrations is not None
    assert finished.integrations[0].to_dict() == {
        "type": "wandb",
        "wandb": {"project": "p", "name": "n", "entity": "e", "tags": ["a", "b"]},
    }
    assert finished.trained_tokens is not None
    assert finished.trained_tokens % 5 == 0


def test_trained_tokens_follow_the_documented_formula(finished: FineTuningJob) -> None:
    """n_epochs * sum over examples of (sum over messages of (content + role + 3) + 1); here a token is a byte."""
    per_example = [
        sum(len(text) + 3 for text in (f"Say {n}", "user", f"It is {n}.", "assistant")) - 2 * 3 + 1 for n in range(12)
    ]
    assert finished.trained_tokens == 5 * sum(per_example)


def test_events_come_in_the_documented_wordings_and_order(client: OpenAI, finished: FineTuningJob) -> None:
    events = events_of(client, finished.id)
    assert all(re.fullmatch(r"ftevent-[A-Za-z0-9]{24}", event.id) for event in events)
    # Warnings, and the line on what `auto` became, are our own.
    told = [event for event in events if event.type == "message" and event.level == "info"]
    messages = [event.message for event in told if "Training on" not in event.message]
    assert messages[:4] == [
        f"Created fine-tuning job: {finished.id}",
        f"Validating training file: {finished.training_file} and validation file: {finished.validation_file}",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
    ]
    assert [re.sub(r"ft:\S+", "NAME", message) for message in messages[4:-2]] == [
        f"Checkpoint created at step {step} with Snapshot ID: NAME" for step in (3, 6, 9, 12)
    ]
    assert messages[-2:] == [
        f"New fine-tuned model created: {finished.fine_tuned_model}",
        "The job has successfully completed",
    ]
    assert [event.data for event in events if event.message == "Fine-tuning job started"] == [None]
    assert all(event.data == {} for event in events if event.message == "The job has successfully completed")
    assert [event.created_at for event in events] == sorted(event.created_at for event in events)


def test_metrics_events_carry_full_floats(client: OpenAI, finished: FineTuningJob) -> None:
    metrics = [event for event in events_of(client, finished.id) if event.type == "metrics"]
    assert [event.data["step"] for event in metrics] == list(range(1, 16))  # type: ignore[index]
    assert metrics[2].message == "Step 3/15: training loss=0.33"
    documented = ["step", "train_loss", "total_steps", "train_mean_token_accuracy"]
    assert list(metrics[2].data) == [*documented, "tokens", "seconds"]  # type: ignore[arg-type]
    assert metrics[2].data["train_loss"] == 1 / 3  # type: ignore[index]
    assert metrics[-1].message == "Step 15/15: training loss=0.07, full validation loss=0.50"
    assert list(metrics[-1].data)[4:6] == ["full_valid_loss", "full_valid_mean_token_accuracy"]  # type: ignore[arg-type]


def test_checkpoints_are_the_last_three_and_the_newest_is_the_model(client: OpenAI, finished: FineTuningJob) -> None:
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(finished.id, limit=2))
    assert [checkpoint.step_number for checkpoint in checkpoints] == [15, 12, 9]
    assert checkpoints[0].fine_tuned_model_checkpoint == finished.fine_tuned_model
    assert all(CHECKPOINT_NAME.fullmatch(each.fine_tuned_model_checkpoint) for each in checkpoints[1:])
    assert len({each.fine_tuned_model_checkpoint.split(":")[4] for each in checkpoints}) == 3
    assert all(re.fullmatch(r"ftckpt_[A-Za-z0-9]{24}", each.id) for each in checkpoints)
    assert checkpoints[0].metrics.to_dict() == {
        "step": 15.0,
        "train_loss": 1 / 15,
        "train_mean_token_accuracy": 0.5,
        "full_valid_loss": 0.5,
        "full_valid_mean_token_accuracy": 0.5,
        "type": "supervised",
    }


@pytest.mark.parametrize("plain", [{"headers": {"accept": "text/csv"}}, {"params": {"encoding": "csv"}}])
def test_result_file_is_base64_unless_plain_is_asked_for(
    client: OpenAI, http: Any, finished: FineTuningJob, plain: dict[str, Any]
) -> None:
    (result_file,) = finished.result_files
    described = client.files.retrieve(result_file)
    assert described.purpose == "fine-tune-results"
    assert described.filename.endswith(".csv")
    decoded = base64.b64decode(client.files.content(result_file).read(), validate=True).decode()
    measured = list(csv.DictReader(io.StringIO(decoded)))
    assert list(measured[0])[:5] == ["step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy"]
    assert [int(row["step"]) for row in measured] == list(range(1, 16))
    assert measured[0]["valid_loss"] == ""
    assert http.get(f"/files/{result_file}/content", **plain).text == decoded


def test_result_file_is_plain_under_azures_prefix(http: Any, finished: FineTuningJob) -> None:
    url = str(http.base_url).replace("/v1", "/openai")
    answer = http.get(f"{url}files/{finished.result_files[0]}/content?api-version=2025-04-01")
    assert answer.text.startswith("step,train_loss")


def test_models_hold_bases_tuned_models_and_checkpoints(client: OpenAI, finished: FineTuningJob) -> None:
    listed = {model.id: model for model in client.models.list()}
    tuned = listed[finished.fine_tuned_model or ""]
    assert listed["tiny"].owned_by == "system"
    assert tuned.owned_by == "local"
    assert client.models.retrieve(tuned.id) == tuned
    checkpoints = client.fine_tuning.jobs.checkpoints.list(finished.id)
    assert {each.fine_tuned_model_checkpoint for each in checkpoints} <= listed.keys()


def test_deleted_model_is_gone_and_its_weights_with_it(client: OpenAI, server: Server) -> None:
    job = wait_for_end(client, client.fine_tuning.jobs.create(model="tiny", training_file=upload(client).id).id)
    name = job.fine_tuned_model or ""
    folders = list((server.data_dir / "blobs" / "jobs" / job.id).rglob("checkpoint-24"))
    assert [folder.is_dir() for folder in folders] == [True]
    assert client.models.delete(name).deleted is True
    assert not folders[0].exists()
    with pytest.raises(NotFoundError, match=f"The model '{name}' does not exist"):
        client.models.retrieve(name)
    with pytest.raises(NotFoundError):
        client.chat.completions.create(model=name, messages=MESSAGES)


def test_chat_answers_from_base_tuned_model_and_checkpoint(client: OpenAI, finished: FineTuningJob) -> None:
    checkpoints = client.fine_tuning.jobs.checkpoints.list(finished.id)
    for model in ["tiny", *(each.fine_tuned_model_checkpoint for each in checkpoints)]:
        answer = client.chat.completions.create(model=model, messages=MESSAGES)
        assert (answer.model, answer.object) == (model, "chat.completion")
        assert answer.choices[0].message.content == "Say 3"
        assert answer.choices[0].finish_reason == "stop"


def test_tuned_model_can_be_tuned_again(client: OpenAI, finished: FineTuningJob) -> None:
    parent = finished.fine_tuned_model or ""
    job = client.fine_tuning.jobs.create(model=parent, training_file=upload(client).id)
    assert job.model == parent
    ended = wait_for_end(client, job.id)
    assert ended.status == "succeeded"
    assert re.fullmatch(r"ft:tiny:local::[A-Za-z0-9]{8}", ended.fine_tuned_model or "")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"hyperparameters": {}}, {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}),
        (
            {"hyperparameters": {"n_epochs": 2}},
            {"n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": "auto"},
        ),
        (
            {"hyperparameters": {"n_epochs": "auto", "batch_size": 3, "learning_rate_multiplier": 3}},
            {"n_epochs": "auto", "batch_size": 3, "learning_rate_multiplier": 3.0},
        ),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"learning_rate_multiplier": 0.5}}}},
            {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": 0.5},
        ),
        (
            {
                "hyperparameters": {"n_epochs": 7},
                "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
            },
            {"n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": "auto"},
        ),
        (
            {
                "method": {
                    "type": "supervised",
                    "dpo": {"hyperparameters": {"beta": 0.1}},
                    "reinforcement": {"grader": {"type": "string_check"}},
                }
            },
            {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"},
        ),
    ],
)
def test_hyperparameters_may_stand_in_either_place(
    client: OpenAI, given: dict[str, Any], expected: dict[str, Any]
) -> None:
    job = client.fine_tuning.jobs.create(model="tiny", training_file=upload(client).id, **given)
    client.fine_tuning.jobs.cancel(job.id)
    assert job.hyperparameters.to_dict() == expected
    multiplier = job.hyperparameters.to_dict()["learning_rate_multiplier"]
    assert isinstance(multiplier, str | float)


def test_nulls_and_unknown_keys_are_accepted(client: OpenAI) -> None:
    nulls = dict.fromkeys(("suffix", "seed", "validation_file", "integrations", "metadata", "method"))
    unknown = {"response_format": None, "trainingType": 1, "method": {"type": "supervised", "new": {"deep": [1]}}}
    for extra in (nulls, unknown):
        job = client.fine_tuning.jobs.create(model="tiny", training_file=upload(client).id, extra_body=extra)
        assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
        assert (job.metadata, job.integrations) == (None, [])


def test_whole_life_with_the_async_client(server: Server) -> None:
    async def live() -> None:
        async with AsyncOpenAI(
            base_url=f"{server.url}/v1", api_key="sk", max_retries=0, _strict_response_validation=True
        ) as client:
            file = await client.files.create(file=("a.jsonl", jsonl()), purpose="fine-tune")
            job = await client.fine_tuning.jobs.create(model="tiny", training_file=file.id)
            while job.status not in ("succeeded", "failed", "cancelled"):
                await asyncio.sleep(0.05)
                job = await client.fine_tuning.jobs.retrieve(job.id)
            assert job.status == "succeeded"
            assert job.id in [each.id async for each in client.fine_tuning.jobs.list(limit=5)]
            events = [event async for event in client.fine_tuning.jobs.list_events(job.id, limit=10)]
            assert events[0].message == "The job has successfully completed"
            checkpoints = [each async for each in client.fine_tuning.jobs.checkpoints.list(job.id)]
            assert checkpoints[0].fine_tuned_model_checkpoint == job.fine_tuned_model
            model = await client.models.retrieve(job.fine_tuned_model or "")
            stream = await client.chat.completions.create(model=model.id, messages=MESSAGES, stream=True)
            assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "Say 3"
            assert (await client.models.delete(model.id)).deleted
            assert (await client.files.delete(file.id)).deleted

    asyncio.run(live())
