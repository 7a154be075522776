"""Who gets in: keys once there are any, and no web page of another site at all."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openai import AuthenticationError, OpenAI

from tests.servers import Server, make_fake


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one key, from a file."""
    folder = tmp_path_factory.mktemp("keyed")
    (folder / "keys").write_text("# for tests\nsk-tunery-test-key-0001\n")
    server = make_fake(folder / "data", api_keys_file=str(folder / "keys")).start()
    yield server
    server.stop()


def test_key_opens_the_server(keyed: Server) -> None:
    with OpenAI(base_url=f"{keyed.url}/v1", api_key="sk-tunery-test-key-0001") as client:
        assert "tiny" in [model.id for model in client.models.list()]


def test_azure_style_header_opens_the_server(keyed: Server) -> None:
    answer = httpx.get(f"{keyed.url}/openai/v1/models", headers={"api-key": "sk-tunery-test-key-0001"})
    assert answer.status_code == 200


def test_wrong_key_is_masked_in_the_refusal(keyed: Server) -> None:
    with (
        OpenAI(base_url=f"{keyed.url}/v1", api_key="not-a-real-key-at-all") as client,
        pytest.raises(AuthenticationError) as refused,
    ):
        client.models.list()
    assert refused.value.code == "invalid_api_key"
    assert "not-a-re*********-all" in str(refused.value)


def test_missing_key_is_refused_everywhere_but_at_the_probes(keyed: Server) -> None:
    answer = httpx.get(f"{keyed.url}/v1/models")
    assert answer.status_code == 401
    assert answer.json()["error"]["message"].startswith("You didn't provide an API key.")
    assert httpx.get(f"{keyed.url}/livez").status_code == 200


def test_created_key_counts_at_once_and_revoked_no_more(keyed: Server) -> None:
    def tunery(*arguments: str) -> str:
        command = [sys.executable, "-m", "tunery", *arguments]
        environment = {"TUNERY_DATA_DIR": str(keyed.data_dir), "PATH": ""}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    secret = tunery("keys", "create", "second").strip()
    assert httpx.get(f"{keyed.url}/v1/models", headers={"authorization": f"Bearer {secret}"}).status_code == 200
    key_id = next(line.split()[0] for line in tunery("keys", "list").splitlines() if "second" in line)
    tunery("keys", "revoke", key_id)
    assert httpx.get(f"{keyed.url}/v1/models", headers={"authorization": f"Bearer {secret}"}).status_code == 401


def test_foreign_origin_is_refused(http: httpx.Client) -> None:
    answer = http.get("/models", headers={"origin": "https://evil.example"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_not_allowed")


def test_own_origin_is_let_in(http: httpx.Client) -> None:
    own = f"http://{http.base_url.host}:{http.base_url.port}"
    assert http.get("/models", headers={"origin": own}).status_code == 200


def test_unknown_host_name_is_refused(http: httpx.Client) -> None:
    answer = http.get("/models", headers={"host": "rebound.example:80"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_not_allowed")


def test_serving_beyond_this_machine_without_keys_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tunery", "serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", str(tmp_path)]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1
    assert "without API keys" in refused.stderr.replace("\n", " ")
