"""An HTTP server that answers as it is told, for tests of the client and the commands."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tunery.client import Client


@dataclass(frozen=True)
class Received:
    """One request as the server saw it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What is sent back: a JSON value, or raw `content`; `cut` closes the connection before the promised end."""

    value: Any = None
    status: int = 200
    content: bytes | None = None
    cut: bool = False

    @property
    def body(self) -> bytes:
        return json.dumps(self.value).encode() if self.content is None else self.content


Answers = Mapping[tuple[str, str], Answer | Callable[[Received], Answer]]


@dataclass
class FakeApi:
    """Give `answers` by method and path, each an Answer or a function of the request; `received` has what came."""

    answers: Answers = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)

    def __post_init__(self) -> None:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                api._answer(self)

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> "FakeApi":
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        url = urlsplit(handler.path)
        request = Received(
            method=handler.command,
            path=url.path.removeprefix("/v1"),
            query=dict(parse_qsl(url.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in handler.headers.items()},
            body=_read_body(handler),
        )
        self.received.append(request)
        told = self.answers.get((request.method, request.path), error(404, "No such route"))
        answer = told(request) if callable(told) else told
        handler.send_response(answer.status)
        handler.send_header("content-length", str(len(answer.body) + answer.cut))
        handler.send_header("connection", "close")
        handler.end_headers()
        handler.wfile.write(answer.body)
        handler.close_connection = True


@contextmanager
def connected(answers: Answers) -> Iterator[tuple[FakeApi, Client]]:
    """A fake and a client of it."""
    with FakeApi(answers) as api, Client(api.url) as client:
        yield api, client


def error(status: int, message: str, *, code: str | None = None, param: str | None = None) -> Answer:
    """A refusal in the API's error body."""
    body = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return Answer({"error": body}, status=status)


@dataclass
class FakeJob:
    """A job whose events are told one by one; lists them as the API does."""

    job_id: str = "ftjob-fake"
    status: str = "running"
    events: list[dict[str, Any]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def tell(self, message: str, *, data: dict[str, Any] | None = None, level: str = "info") -> None:
        self.events.append(
            {
                "object": "fine_tuning.job.event",
                "id": f"ftevent-{len(self.events)}",
                "created_at": 1_700_000_000 + len(self.events),
                "level": level,
                "message": message,
                "data": data or {},
                "type": "metrics" if data else "message",
            }
        )

    def step(self, step: int, total: int, **measured: float) -> None:
        data = {"step": step, "total_steps": total, "train_loss": 1 / step, "train_mean_token_accuracy": 0.5}
        self.tell(f"Step {step}/{total}: training loss={1 / step:.2f}", data=data | measured)

    def wire(self) -> dict[str, Any]:
        job: dict[str, Any] = {
            "object": "fine_tuning.job",
            "id": self.job_id,
            "model": "base",
            "created_at": 1_700_000_000,
            "finished_at": None,
            "fine_tuned_model": None,
            "organization_id": "org-local",
            "result_files": [],
            "status": self.status,
            "validation_file": None,
            "training_file": "file-train",
            "hyperparameters": {"n_epochs": 4, "batch_size": 4, "learning_rate_multiplier": 1.0},
            "trained_tokens": None,
            "error": None,
            "user_provided_suffix": None,
            "seed": 1,
            "estimated_finish": None,
            "metadata": None,
        }
        return job | self.extra

    def page(self, query: dict[str, str]) -> dict[str, Any]:
        """Newest first, behind `after`, at most `limit`."""
        newest = self.events[::-1]
        if "after" in query:
            ids = [event["id"] for event in newest]
            newest = newest[ids.index(query["after"]) + 1 :]
        limit = int(query.get("limit", "20"))
        return {"object": "list", "data": newest[:limit], "has_more": len(newest) > limit}

    def answers(self) -> dict[tuple[str, str], Callable[[Received], Answer]]:
        path = f"/fine_tuning/jobs/{self.job_id}"
        return {
            ("GET", path): lambda _: Answer(self.wire()),
            ("GET", f"{path}/events"): lambda request: Answer(self.page(request.query)),
        }


def _read_body(handler: BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("transfer-encoding") != "chunked":
        return handler.rfile.read(int(handler.headers.get("content-length") or 0))
    body = b""
    while size := int(handler.rfile.readline(), 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body
