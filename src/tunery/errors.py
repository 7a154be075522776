"""The error tree: every refusal that a user can meet, with its HTTP status, code and parameter.

    TuneryError
    ├── ApiError                     answered in the API's error body
    │   ├── InvalidRequest           400
    │   ├── InvalidFileUpload        400 on /files, with the extra `detail` member
    │   ├── Unauthorized             401
    │   ├── Forbidden                403
    │   ├── NotFound                 404
    │   │   ├── JobNotFound          in the wording for fine-tuning jobs
    │   │   └── ModelNotFound        in the wording for models
    │   ├── FileNotFound             404 on /files, with the extra `detail` member
    │   ├── Unavailable              501 a documented part of the contract that is not built yet
    │   ├── Overloaded               429, with Retry-After
    │   ├── ServerError              500
    │   ├── EngineUnavailable        503
    │   ├── DatabaseUnavailable      503, with Retry-After
    │   └── ServerStopping           503, with Retry-After
    ├── JobError                     ends a job as `failed`; becomes the job's `error`
    └── StartError                   the server cannot start; one line for the terminal

Wordings follow recorded answers of api.openai.com where one exists.
"""

from typing import Any


class TuneryError(Exception):
    """Base of every error that is meant for the user; anything else is our own bug and stays loud."""


class ApiError(TuneryError):
    """One refusal on the wire. `retry_after_seconds` is set only where a retry can help."""

    status = 400
    type = "invalid_request_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.retry_after_seconds = retry_after_seconds

    def body(self) -> dict[str, Any]:
        """The error body in the wire's key order: message, type, param, code."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class InvalidRequest(ApiError):
    status = 400


class Unauthorized(ApiError):
    status = 401


class Forbidden(ApiError):
    status = 403


class NotFound(ApiError):
    status = 404


class Unavailable(ApiError):
    """A documented route whose work is not built yet: said plainly instead of answered falsely."""

    status = 501
    type = "not_implemented_error"


class Overloaded(ApiError):
    """Too much at once, or a part that is still starting; worth a retry."""

    status = 429
    type = "rate_limit_error"


class ServerError(ApiError):
    """Our own failure, told without internals."""

    status = 500
    type = "server_error"


class EngineUnavailable(ApiError):
    status = 503
    type = "server_error"


class DatabaseUnavailable(ApiError):
    """The database is locked, full or restarting: nothing was changed, and the same call may work in a moment."""

    status = 503
    type = "server_error"

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after_seconds=1)


class ServerStopping(ApiError):
    """What waits for something gives up when the server is asked to end."""

    status = 503
    type = "server_error"

    def __init__(self) -> None:
        super().__init__("The server is shutting down.", retry_after_seconds=5)


class _WithDetail(ApiError):
    def body(self) -> dict[str, Any]:
        return super().body() | {"detail": {"message": self.message, "code": self.code}}


class InvalidFileUpload(_WithDetail):
    status = 400


class FileNotFound(_WithDetail):
    status = 404

    def __init__(self, file_id: str) -> None:
        super().__init__(f"No such File object: {file_id}", param="id")


class JobNotFound(NotFound):
    def __init__(self, job_id: str) -> None:
        super().__init__(f"Could not find fine tune: {job_id}", code="fine_tune_not_found", param="fine_tune_id")


class ModelNotFound(NotFound):
    def __init__(self, model: str) -> None:
        super().__init__(f"The model '{model}' does not exist", code="model_not_found", param="model")


class JobError(TuneryError):
    """The end of a job: becomes its `error` object and its last event."""

    def __init__(self, message: str, *, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param


class StartError(TuneryError):
    """The server or a command cannot start; the message says why and what to do."""
