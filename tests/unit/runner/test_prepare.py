"""Files checked, numbers resolved, tokens written: all that a run needs is fixed before it waits for a device."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.base import POSITIONS, make_base
from tests.samples import jsonl, rows
from tunery.blobs.disk import DiskBlobs
from tunery.data.tokens import TokenFile
from tunery.errors import JobError
from tunery.runner.bases import inspect
from tunery.runner.prepare import Prepared, Request, prepare, resolved_event

REQUESTED = ("n_epochs", "batch_size", "learning_rate_multiplier")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return vars(inspect(make_base(tmp_path_factory.mktemp("base")), source="folder"))


@pytest.fixture
def blobs(tmp_path: Path) -> DiskBlobs:
    return DiskBlobs(tmp_path)


def store(blobs: DiskBlobs, content: bytes, key: str = "train") -> dict[str, Any]:
    return {"id": f"file-{key}", "blob_key": key, "sha256": blobs.put(key, content), "deleted_at": None}


def request(base: dict[str, Any], training: Any, validation: Any = None, **job: Any) -> Request:
    row: dict[str, Any] = {f"requested_{name}": None for name in REQUESTED}
    row |= {"id": "ftjob-1", "method": "supervised", "method_settings": None, "seed": 7}
    row["validation_file"] = validation and validation["id"]
    return Request(job=row | job, base=base, training_file=training, validation_file=validation, parent=None)


def run(blobs: DiskBlobs, wanted: Request) -> Prepared:
    return prepare(wanted, blobs=blobs, device="cpu", dtype="float32", snapshot_seconds=60)


def test_auto_becomes_numbers_and_a_spec_without_gaps(base: dict[str, Any], blobs: DiskBlobs) -> None:
    prepared = run(blobs, request(base, store(blobs, jsonl(24))))
    spec = prepared.spec
    assert (prepared.n_epochs, prepared.batch_size, prepared.learning_rate_multiplier) == (4, 4, 1.0)
    assert (spec.n_examples, spec.total_steps, spec.seed, spec.device) == (24, 24, 7, "cpu")
    assert (spec.base_sha256, spec.init_adapter_path, spec.valid_path) == (base["sha256"], None, None)
    assert TokenFile(Path(spec.train_path)).metadata.n_rows == 24
    assert resolved_event(prepared).startswith("Training on 24 examples: 4 epochs, batch size 4, 24 steps")


def test_what_was_asked_for_wins_over_auto(base: dict[str, Any], blobs: DiskBlobs) -> None:
    plain = run(blobs, request(base, store(blobs, jsonl(24))))
    asked = {"requested_n_epochs": 2, "requested_batch_size": 5, "requested_learning_rate_multiplier": 0.5}
    prepared = run(blobs, request(base, store(blobs, jsonl(24)), **asked))
    assert (prepared.n_epochs, prepared.batch_size, prepared.spec.total_steps) == (2, 5, 10)
    assert prepared.spec.optimizer.learning_rate == pytest.approx(plain.spec.optimizer.learning_rate / 2)


def test_billed_tokens_count_content_role_and_frame(base: dict[str, Any], blobs: DiskBlobs) -> None:
    """Per message its content, its role and 3, per example 1 more; here a token is a byte."""
    expected = sum(
        1 + sum(len(message["content"]) + len(message["role"]) + 3 for message in row["messages"]) for row in rows(12)
    )
    assert run(blobs, request(base, store(blobs, jsonl(12)))).billed_tokens == expected


def test_same_content_is_tokenised_once(base: dict[str, Any], blobs: DiskBlobs) -> None:
    first = run(blobs, request(base, store(blobs, jsonl(12), "a")))
    second = run(blobs, request(base, store(blobs, jsonl(12), "b")))
    other = run(blobs, request(base, store(blobs, jsonl(13), "c")))
    assert first.spec.train_path == second.spec.train_path != other.spec.train_path


def test_jobs_that_prepare_the_same_file_at_once_do_not_meet(base: dict[str, Any], blobs: DiskBlobs) -> None:
    wanted = request(base, store(blobs, jsonl(200)))
    with ThreadPoolExecutor(6) as threads:
        prepared = list(threads.map(lambda _: run(blobs, wanted), range(6)))
    (path,) = {each.spec.train_path for each in prepared}
    assert TokenFile(Path(path)).metadata.n_rows == 200
    assert [each.name for each in Path(path).parent.iterdir()] == [Path(path).name], "nothing is left beside it"


def test_validation_file_may_be_small(base: dict[str, Any], blobs: DiskBlobs) -> None:
    prepared = run(blobs, request(base, store(blobs, jsonl(12)), store(blobs, jsonl(2), "valid")))
    assert TokenFile(Path(prepared.spec.valid_path or "")).metadata.n_rows == 2


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (jsonl(3), "invalid_n_examples", "Training file has 3 example(s), but must have at least 10 examples"),
        (
            jsonl(10) + b'{"messages": [{"content": "x"}]}\n',
            "invalid_training_file",
            "The job failed due to an invalid training file. Invalid file format. Example 11",
        ),
        (
            jsonl(10) + b'{"input": {}}\n',
            "invalid_file_format",
            "The job failed due to a file format error in the training file. Invalid file format. Example 11",
        ),
    ],
)
def test_bad_file_ends_the_job_with_the_documented_error(
    base: dict[str, Any], blobs: DiskBlobs, content: bytes, code: str, message: str
) -> None:
    with pytest.raises(JobError) as refused:
        run(blobs, request(base, store(blobs, content)))
    assert (refused.value.code, refused.value.param) == (code, "training_file")
    assert refused.value.message.startswith(message)


@pytest.mark.parametrize("role", ["training", "validation"])
def test_deleted_file_ends_the_job_as_recorded(base: dict[str, Any], blobs: DiskBlobs, role: str) -> None:
    kept, gone = store(blobs, jsonl(12)), store(blobs, jsonl(11), "gone") | {"deleted_at": 1}
    wanted = request(base, gone) if role == "training" else request(base, kept, gone)
    with pytest.raises(JobError) as refused:
        run(blobs, wanted)
    assert refused.value.message == f"The job failed because the {role} file was deleted"
    assert (refused.value.code, refused.value.param) == (f"deleted_{role}_file", f"{role}_file")


def test_long_examples_are_cut_and_told(base: dict[str, Any], blobs: DiskBlobs) -> None:
    long = rows(12)
    long[3]["messages"][1]["content"] = "y" * 2 * POSITIONS
    prepared = run(blobs, request(base, store(blobs, "".join(json.dumps(row) + "\n" for row in long).encode())))
    assert prepared.warnings == ["1 training example(s) were longer than the model's context and cut"]
