"""The body of every error, whatever its class."""

import inspect
from typing import Any

import pytest

from tunery import errors
from tunery.errors import ApiError, DatabaseUnavailable, FileNotFound, InvalidFileUpload, InvalidRequest, ServerStopping

CLASSES = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, ApiError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_status_is_one_that_clients_know(kind: type[ApiError]) -> None:
    """Never 409, which SDKs retry, and never 422, which frameworks use."""
    assert kind.status in (400, 401, 403, 404, 405, 413, 429, 500, 501, 503)


@pytest.mark.parametrize("kind", CLASSES)
def test_docstring_of_the_module_draws_every_class(kind: type[ApiError]) -> None:
    assert errors.__doc__ is not None
    private = kind.__name__.startswith("_")
    assert private or kind.__name__ in errors.__doc__


def test_body_keeps_the_order_that_clients_compare() -> None:
    body = InvalidRequest("No.", code="c", param="p").body()
    assert list(body["error"].items()) == [
        ("message", "No."), ("type", "invalid_request_error"), ("param", "p"), ("code", "c")
    ]  # fmt: skip
    assert list(body) == ["error"]


@pytest.mark.parametrize("error", [InvalidFileUpload("No."), FileNotFound("file-1")])
def test_errors_of_files_repeat_themselves_as_detail(error: Any) -> None:
    assert list(error.body()) == ["error", "detail"]
    assert error.body()["detail"] == {"message": error.message, "code": error.code}


@pytest.mark.parametrize("error", [DatabaseUnavailable("locked"), ServerStopping()])
def test_temporary_errors_say_when_to_come_back(error: ApiError) -> None:
    assert error.status == 503
    assert error.retry_after_seconds is not None
    assert 0 < error.retry_after_seconds <= 120
