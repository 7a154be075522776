import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.api import Answer, Answers, FakeApi, connected, error
from tests.unit.cli.conftest import Ran

FILE = {
    "object": "file",
    "id": "file-1",
    "purpose": "fine-tune",
    "filename": "train\x1b[31m.jsonl",
    "bytes": 12_345,
    "created_at": 1_700_000_000,
    "expires_at": None,
    "status": "processed",
    "status_details": None,
}


@pytest.fixture
def call(tunery: Callable[..., Ran]) -> Callable[..., tuple[Ran, FakeApi]]:
    """Runs `tunery files …` against a server that answers as told."""

    def run(answers: Answers, *words: str) -> tuple[Ran, FakeApi]:
        with connected(answers) as (api, _):
            return tunery("files", *words, "--base-url", api.url), api

    return run


Call = Callable[..., tuple[Ran, FakeApi]]


def test_upload_data_is_the_id(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("{}\n")
    ran, api = call({("POST", "/files"): Answer(FILE)}, "upload", str(path), "--purpose", "evals")
    assert (ran.status, ran.out) == (0, "file-1\n")
    assert ran.err == f"Uploaded {path}, 3 B, as file-1.\n"
    assert b"evals" in api.received[0].body


def test_upload_missing_file_is_one_line(call: Call, tmp_path: Path) -> None:
    ran, api = call({}, "upload", str(tmp_path / "none.jsonl"))
    assert ran == Ran(1, "", f"Error: {tmp_path / 'none.jsonl'}: No such file or directory\n")
    assert api.received == []


def test_upload_refused_says_why(call: Call, tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("x")
    ran, _ = call(
        {("POST", "/files"): error(400, "Expected file to have JSONL format.")}, "upload", str(tmp_path / "bad")
    )
    assert ran == Ran(1, "", "Error: Expected file to have JSONL format.\n")


def test_list_is_a_table_without_steering_characters(call: Call) -> None:
    page = {"object": "list", "data": [FILE], "has_more": True}
    ran, api = call({("GET", "/files"): Answer(page)}, "list", "--limit", "1", "--purpose", "fine-tune")
    header, row = ran.out.splitlines()
    assert header.split() == ["ID", "PURPOSE", "SIZE", "CREATED", "FILENAME"]
    assert row.split() == ["file-1", "fine-tune", "12.3", "kB", "2023-11-14", "train[31m.jsonl"]
    assert ran.err == "There are more: --after file-1\n"
    assert api.received[0].query == {"limit": "1", "purpose": "fine-tune"}


def test_list_json_is_the_answer_untouched(call: Call) -> None:
    page = {"object": "list", "data": [FILE], "has_more": True}
    ran, _ = call({("GET", "/files"): Answer(page)}, "list", "--json")
    assert json.loads(ran.out) == page
    assert ran.err == ""


def test_list_nothing_is_a_heading(call: Call) -> None:
    ran, _ = call({("GET", "/files"): Answer({"object": "list", "data": [], "has_more": False})}, "list")
    assert ran.out == "ID  PURPOSE  SIZE  CREATED  FILENAME\n"


def test_get_shows_facts(call: Call) -> None:
    ran, _ = call({("GET", "/files/file-1"): Answer(FILE)}, "get", "file-1")
    facts = dict(line.split(maxsplit=1) for line in ran.out.splitlines())
    assert facts["size"] == "12.3 kB (12345 bytes)"
    assert "expires" not in facts


def test_get_unknown_file_exits_4_with_the_way_out(call: Call) -> None:
    ran, _ = call({("GET", "/files/nope"): error(404, "No such File object: nope", param="id")}, "get", "nope")
    assert ran == Ran(4, "", "Error: No such File object: nope\n`tunery files list` shows the files.\n")


def test_refused_key_exits_4(call: Call) -> None:
    refusal = error(401, "Incorrect API key provided: abc.", code="invalid_api_key")
    ran, _ = call({("GET", "/files"): refusal}, "list")
    assert ran.status == 4
    assert "TUNERY_API_KEY" in ran.err


def test_content_goes_to_standard_output(call: Call) -> None:
    ran, _ = call({("GET", "/files/file-1/content"): Answer(content="größer\n".encode())}, "content", "file-1")
    assert ran == Ran(0, "größer\n", "")


def test_content_to_a_file(call: Call, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    answers = {("GET", "/files/file-1/content"): Answer(content=b"step\n1\n")}
    ran, _ = call(answers, "content", "file-1", "--output", str(target))
    assert target.read_bytes() == b"step\n1\n"
    assert ran == Ran(0, "", f"Wrote {target}, 7 B.\n")


def test_content_refused_leaves_no_file(call: Call, tmp_path: Path) -> None:
    refusal = error(404, "No such File object: file-1", param="id")
    ran, _ = call({("GET", "/files/file-1/content"): refusal}, "content", "file-1", "-o", str(tmp_path / "out"))
    assert ran.status == 4
    assert not (tmp_path / "out").exists()


def test_delete_several(call: Call) -> None:
    answers = {("DELETE", f"/files/file-{n}"): Answer({"id": f"file-{n}", "deleted": True}) for n in (1, 2)}
    ran, api = call(answers, "delete", "file-1", "file-2")
    assert ran.err == "Deleted file-1.\nDeleted file-2.\n"
    assert len(api.received) == 2
