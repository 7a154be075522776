import socket

import pytest

from tests.fakes.api import Answer, FakeApi, Received, connected, error
from tunery.client import ApiFailure, Client, CutShort, TimedOut, Unreachable


def test_request_error_body_becomes_failure() -> None:
    refusal = error(404, "The model 'x' does not exist", code="model_not_found", param="model")
    with connected({("GET", "/models/x"): refusal}) as (_, client), pytest.raises(ApiFailure) as caught:
        client.models.retrieve("x")
    failure = caught.value
    assert (failure.status, failure.code, failure.param) == (404, "model_not_found", "model")
    assert str(failure) == failure.message == "The model 'x' does not exist"
    assert not failure.may_pass


@pytest.mark.parametrize(("status", "may_pass"), [(400, False), (401, False), (429, True), (500, True), (503, True)])
def test_failure_may_pass_only_where_a_retry_can_help(status: int, may_pass: bool) -> None:
    assert ApiFailure("no", status=status).may_pass is may_pass


def test_request_foreign_error_page_is_quoted() -> None:
    page = Answer(content=b"<html>\n  Bad gateway </html>", status=502)
    with (
        connected({("GET", "/models"): page}) as (_, client),
        pytest.raises(ApiFailure, match=r"502 Bad Gateway and no error body of the API: <html> Bad gateway"),
    ):
        client.models.list()


def test_request_success_without_json_is_failure() -> None:
    with (
        connected({("GET", "/models"): Answer(content=b"hello")}) as (_, client),
        pytest.raises(ApiFailure, match="no error body of the API: hello"),
    ):
        client.models.list()


def test_request_error_body_with_missing_members() -> None:
    with (
        connected({("GET", "/models"): Answer({"error": {}}, status=500)}) as (_, client),
        pytest.raises(ApiFailure, match="The server answered with status 500") as caught,
    ):
        client.models.list()
    assert caught.value.code is None


def test_request_nobody_listens_names_url_and_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with Client(url) as client, pytest.raises(Unreachable) as caught:
            client.models.list()
    assert str(caught.value).startswith(f"Nothing answers at {url} (connection refused).")
    assert "tunery serve" in str(caught.value)


def test_request_unknown_host_is_unreachable() -> None:
    with Client("http://no-such-host.invalid/v1") as client, pytest.raises(Unreachable, match=r"no-such-host\.invalid"):
        client.models.list()


def test_request_silent_server_times_out() -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{silent.getsockname()[1]}"
    with silent, Client(url) as client, pytest.raises(TimedOut):
        client.request("GET", "/models", timeout=0.2)


def test_request_connection_broken_in_mid_answer() -> None:
    with (
        connected({("GET", "/models"): Answer(content=b'{"data": ', cut=True)}) as (_, client),
        pytest.raises(CutShort, match="broke"),
    ):
        client.models.list()


def _model(_: Received) -> Answer:
    return Answer({"id": "m", "object": "model", "created": 0, "owned_by": "system"})


@pytest.mark.parametrize(("api_key", "header"), [("secret", "Bearer secret"), (None, None), ("", None)])
def test_request_key_travels_as_bearer(api_key: str | None, header: str | None) -> None:
    with FakeApi({("GET", "/models/m"): _model}) as api, Client(api.url, api_key=api_key) as client:
        client.models.retrieve("m")
    assert api.received[0].headers.get("authorization") == header


def test_model_name_keeps_colons_and_escapes_the_rest() -> None:
    with connected({}) as (api, client), pytest.raises(ApiFailure):
        client.models.retrieve("ft:base:org::x?/y")
    assert api.received[0].path == "/models/ft:base:org::x%3F%2Fy"
