import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.api import Answer, Answers, FakeApi, FakeJob, Received, connected, error
from tests.unit.cli.conftest import Ran
from tests.unit.cli.test_files import FILE

Call = Callable[..., tuple[Ran, FakeApi]]


@pytest.fixture
def call(tunery: Callable[..., Ran]) -> Call:
    """Runs `tunery jobs …` against a server with one job that takes every upload."""

    def run(job: FakeJob, *words: str) -> tuple[Ran, FakeApi]:
        path = f"/fine_tuning/jobs/{job.job_id}"
        page = {"object": "list", "data": [job.wire()], "has_more": False}
        answers: Answers = {
            **job.answers(),
            ("POST", "/files"): Answer(FILE),
            ("POST", "/fine_tuning/jobs"): Answer(job.wire()),
            ("GET", "/fine_tuning/jobs"): Answer(page),
            **{("POST", f"{path}/{verb}"): Answer(job.wire()) for verb in ("cancel", "pause", "resume")},
            ("GET", f"{path}/checkpoints"): Answer({"object": "list", "data": CHECKPOINTS, "has_more": False}),
        }
        with connected(answers) as (api, _):
            return tunery("jobs", *words, "--base-url", api.url), api

    return run


CHECKPOINTS = [
    {
        "object": "fine_tuning.job.checkpoint",
        "id": "ftckpt_1",
        "created_at": 1_700_000_000,
        "fine_tuned_model_checkpoint": "ft:m",
        "metrics": metrics,
        "step_number": step,
    }
    for step, metrics in ((10, {"step": 10, "train_loss": 0.5, "full_valid_loss": 0.25}), (5, {"step": 5}))
]


def _created(api: FakeApi) -> dict[str, Any]:
    requests: list[Received] = [each for each in api.received if each.path == "/fine_tuning/jobs"]
    assert len(requests) == 1
    body: dict[str, Any] = requests[0].json
    return body


def test_create_uploads_paths_and_passes_ids(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("{}\n")
    ran, api = call(FakeJob(), "create", "--file", str(path), "--validation", "file-valid", "--model", "m")
    assert (ran.status, ran.out) == (0, "ftjob-fake\n")
    assert "tunery jobs follow ftjob-fake" in ran.err
    assert _created(api) == {"model": "m", "training_file": "file-1", "validation_file": "file-valid"}


def test_create_every_option_travels(call: Call) -> None:
    words = ["--suffix", "s", "--epochs", "3", "--batch-size", "auto", "--learning-rate-multiplier", "0.5"]
    words += ["--seed", "7", "--metadata", "team=a=b", "--metadata", "empty="]
    _, api = call(FakeJob(), "create", "--file", "file-x", *words)
    assert _created(api) == {
        "model": "tunery-starter",
        "training_file": "file-x",
        "suffix": "s",
        "seed": 7,
        "metadata": {"team": "a=b", "empty": ""},
        "method": {
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 3, "learning_rate_multiplier": 0.5}},
        },
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--file", "nope.jsonl"), "nope.jsonl is neither a file nor an id"),
        (("--file", "file-x", "--validation", "nope"), "nope is neither a file nor an id"),
        (("--file", "file-x", "--epochs", "many"), "'many' is neither a whole number nor 'auto'"),
        (("--file", "file-x", "--epochs", "1.5"), "'1.5' is neither a whole number nor 'auto'"),
        (("--file", "file-x", "--learning-rate-multiplier", "x"), "'x' is neither a number nor 'auto'"),
        (("--file", "file-x", "--metadata", "novalue"), "'novalue' is no pair"),
        ((), "--file"),
    ],
)
def test_create_wrong_use_sends_nothing(words: tuple[str, ...], said: str, call: Call) -> None:
    ran, api = call(FakeJob(), "create", *words)
    assert ran.status == 2
    assert said in ran.err
    assert api.received == []


def test_create_refused_by_the_server(tunery: Callable[..., Ran]) -> None:
    refusal = error(400, "51 is greater than the maximum of 50 - 'n_epochs'", param="method.supervised.n_epochs")
    with connected({("POST", "/fine_tuning/jobs"): refusal}) as (api, _):
        ran = tunery("jobs", "create", "--file", "file-x", "--epochs", "51", "--base-url", api.url)
    assert ran == Ran(1, "", "Error: 51 is greater than the maximum of 50 - 'n_epochs'\n")


def test_create_unknown_model_shows_where_models_are(tunery: Callable[..., Ran]) -> None:
    refusal = error(400, "Model x is not available for fine-tuning or does not exist.", code="model_not_available")
    with connected({("POST", "/fine_tuning/jobs"): refusal}) as (api, _):
        ran = tunery("jobs", "create", "--file", "file-x", "--model", "x", "--base-url", api.url)
    assert "`tunery models list`" in ran.err


def test_create_follow_json_is_one_stream(call: Call) -> None:
    job = FakeJob(status="succeeded", extra={"fine_tuned_model": "ft:m", "finished_at": 1_700_000_001})
    job.step(1, 1)
    ran, _ = call(job, "create", "--file", "file-x", "--follow", "--json")
    assert [json.loads(line)["object"] for line in ran.out.splitlines()] == [
        "fine_tuning.job.event",
        "fine_tuning.job",
    ]


def test_list_shows_status_and_tuned_model(call: Call) -> None:
    job = FakeJob(status="queued", extra={"paused": True, "fine_tuned_model": None})
    ran, _ = call(job, "list")
    header, row = ran.out.splitlines()
    assert header.split() == ["JOB", "STATUS", "CREATED", "MODEL", "TUNED", "MODEL"]
    assert row.split() == ["ftjob-fake", "paused", "2023-11-14", "base", "-"]


def test_list_metadata_filter(call: Call) -> None:
    _, api = call(FakeJob(), "list", "--metadata", "team=support", "--limit", "3")
    assert api.received[0].query == {"metadata[team]": "support", "limit": "3"}


def test_get_shows_error_and_numbers(call: Call) -> None:
    extra = {"error": {"code": "c", "message": "broken", "param": None}, "metadata": {"k": "v"}, "trained_tokens": 1234}
    ran, _ = call(FakeJob(status="failed", extra=extra), "get", "ftjob-fake")
    lines = ran.out.splitlines()
    assert any(line.split() == ["error", "broken", "(c)"] for line in lines)
    assert any(line.split() == ["trained", "tokens", "1,234"] for line in lines)
    assert any(line.split() == ["metadata", "k=v"] for line in lines)


def test_get_unknown_job_exits_4(tunery: Callable[..., Ran]) -> None:
    refusal = error(404, "Could not find fine tune: x", code="fine_tune_not_found", param="fine_tune_id")
    with connected({("GET", "/fine_tuning/jobs/x"): refusal}) as (api, _):
        ran = tunery("jobs", "get", "x", "--base-url", api.url)
    assert ran == Ran(4, "", "Error: Could not find fine tune: x\n`tunery jobs list` shows the jobs.\n")


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
def test_steering_shows_the_new_state(verb: str, call: Call) -> None:
    ran, api = call(FakeJob(status="cancelled"), verb, "ftjob-fake")
    assert ran.out.splitlines()[1].split()[:2] == ["ftjob-fake", "cancelled"]
    assert api.received[0].path == f"/fine_tuning/jobs/ftjob-fake/{verb}"


def test_events_oldest_first_with_a_way_to_older_ones(call: Call) -> None:
    job = FakeJob()
    for step in (1, 2, 3):
        job.step(step, 3)
    ran, _ = call(job, "events", "ftjob-fake", "--limit", "2")
    assert [line.split()[4] for line in ran.out.splitlines()[1:]] == ["2/3:", "3/3:"]
    assert ran.err == "There are older ones: --after ftevent-1\n"


def test_checkpoints_show_the_losses_that_were_measured(call: Call) -> None:
    ran, _ = call(FakeJob(), "checkpoints", "ftjob-fake")
    rows = [line.split() for line in ran.out.splitlines()[1:]]
    assert rows == [["10", "0.500", "0.250", "2023-11-14", "ft:m"], ["5", "-", "-", "2023-11-14", "ft:m"]]
