"""The engine port over a real socket: requests find their answers, and nobody waits for an engine that is gone."""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest

from tunery.errors import ApiError, EngineUnavailable, InvalidRequest, NotFound, Overloaded, ServerError
from tunery.host.engine_server import EngineMessage, EngineServer
from tunery.serving.engines import SocketEngines
from tunery.types.sampling import Cancel, Sampled, SampleFailed, SampleRequest, Token

Behave = Callable[[EngineServer, SampleRequest], None]
SECONDS_MAX = 20


class Host:
    """A serving host in threads: `behave` answers each request; cancels are written down."""

    def __init__(self, path: Path, behave: Behave) -> None:
        self.path = path
        self.cancelled: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.asked: list[SampleRequest] = []
        self._inbox: queue.SimpleQueue[EngineMessage | None] = queue.SimpleQueue()
        self._behave = behave
        self.server = EngineServer(path, deliver=self._inbox.put)
        self.server.open()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.server.close()
        self._inbox.put(None)
        self._thread.join(SECONDS_MAX)

    def _work(self) -> None:
        while (received := self._inbox.get()) is not None:
            if isinstance(received.message, Cancel):
                self.cancelled.put(received.message.id)
            else:
                self.asked.append(received.message)
                self._behave(self.server, received.message)


class Locator:
    """Gives paths in turn, the last one for ever; remembers what was lost."""

    def __init__(self, *paths: Path) -> None:
        self._paths = list(paths)
        self.lost: list[str | None] = []

    async def __call__(self, base_id: str, *, lost: str | None) -> str:
        self.lost.append(lost)
        if lost is not None and len(self._paths) > 1:
            self._paths.pop(0)
        return str(self._paths[0])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    hosts: list[Host] = []

    def make(behave: Behave, name: str = "engine.sock") -> Host:
        hosts.append(Host(tmp_path / name, behave))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()


def request(prompt: list[int], **values: Any) -> SampleRequest:
    return SampleRequest(id=0, prompt=prompt, adapter=None, max_tokens=10, seed=1, **values)


def token(value: int) -> Token:
    return Token(token=value, logprob=-1.0)


def echo(server: EngineServer, asked: SampleRequest) -> None:
    """A message for each token, the last with the reason."""
    for n, value in enumerate(asked.prompt, start=1):
        last = n == len(asked.prompt)
        server.answer(Sampled(asked.id, [token(value)], "stop" if last else None), last=last)


def stay_silent(server: EngineServer, asked: SampleRequest) -> None:
    return


def run(locate: Any, work: Callable[[SocketEngines], Coroutine[Any, Any, Any]]) -> Any:
    async def with_engines() -> Any:
        engines = SocketEngines(locate)
        try:
            return await asyncio.wait_for(work(engines), SECONDS_MAX)
        finally:
            await engines.close()

    return asyncio.run(with_engines())


async def until(is_true: Callable[[], bool]) -> None:
    for _ in range(100 * SECONDS_MAX):
        if is_true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen in time")


async def collect(items: AsyncIterator[Sampled]) -> list[int]:
    return [each.token async for item in items for each in item.tokens]


def test_answer_arrives_piece_by_piece_and_ends(start: Callable[..., Host]) -> None:
    host = start(echo)

    async def ask(engines: SocketEngines) -> list[Sampled]:
        return [item async for item in engines.sample("base", request([5, 6, 7]))]

    items = run(Locator(host.path), ask)
    assert [[each.token for each in item.tokens] for item in items] == [[5], [6], [7]]
    assert [item.finish_reason for item in items] == [None, None, "stop"]


def test_many_requests_share_a_connection_and_keep_their_answers(start: Callable[..., Host]) -> None:
    host = start(echo)
    locate = Locator(host.path)

    async def ask(engines: SocketEngines) -> list[list[int]]:
        return await asyncio.gather(
            *(collect(engines.sample("base", request(list(range(n, n + 5))))) for n in range(50))
        )

    assert run(locate, ask) == [list(range(n, n + 5)) for n in range(50)]
    assert locate.lost == [None], "located once"


def test_clients_do_not_get_each_others_answers(start: Callable[..., Host]) -> None:
    """Two API processes number their requests alike."""
    host = start(echo)

    async def ask(engines: SocketEngines) -> list[list[int]]:
        other = SocketEngines(Locator(host.path))
        answers = await asyncio.gather(
            *(collect(each.sample("base", request([n]))) for n in range(10) for each in (engines, other))
        )
        await other.close()
        return answers

    assert run(Locator(host.path), ask) == [[n] for n in range(10) for _ in range(2)]


def test_closing_the_iterator_cancels_the_request(start: Callable[..., Host]) -> None:
    host = start(lambda server, asked: server.answer(Sampled(asked.id, [token(1)]), last=False))

    async def ask(engines: SocketEngines) -> None:
        async with aclosing(engines.sample("base", request([1, 2]))) as items:
            await anext(items)
        await asyncio.to_thread(host.cancelled.get, True, SECONDS_MAX)

    run(Locator(host.path), ask)
    assert len(host.asked) == 1


def test_lost_connection_cancels_what_it_still_wanted(start: Callable[..., Host]) -> None:
    host = start(stay_silent)

    async def ask(engines: SocketEngines) -> None:
        waiting = asyncio.create_task(collect(engines.sample("base", request([1]))))
        await until(lambda: bool(host.asked))
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting

    run(Locator(host.path), ask)
    assert host.cancelled.get(timeout=SECONDS_MAX) == host.asked[0].id


def test_host_that_dies_while_answering_is_told_at_once(start: Callable[..., Host]) -> None:
    """Every socket of a process closes with it; here its connections are closed one by one."""
    host = start(stay_silent)

    async def ask(engines: SocketEngines) -> None:
        waiting = asyncio.create_task(collect(engines.sample("base", request([1]))))
        await until(lambda: bool(host.asked))
        for connection, _ in list(host.server._origins.values()):
            connection.shutdown(2)
        with pytest.raises(EngineUnavailable, match="stopped while answering") as refused:
            await waiting
        assert refused.value.retry_after_seconds == 1

    run(Locator(host.path), ask)


def test_next_request_finds_the_next_host(start: Callable[..., Host], tmp_path: Path) -> None:
    """A socket file that nobody listens on any more is reported lost, and the next one is asked."""
    dead = tmp_path / "dead.sock"
    dead.touch()
    alive = start(echo)
    locate = Locator(dead, alive.path)
    assert run(locate, lambda engines: collect(engines.sample("base", request([3])))) == [3]
    assert locate.lost == [None, str(dead)]


def test_connection_that_only_broke_is_made_again(start: Callable[..., Host]) -> None:
    host = start(echo)
    locate = Locator(host.path)

    async def ask(engines: SocketEngines) -> list[int]:
        await collect(engines.sample("base", request([1])))
        engines._connections["base"]._writer.transport.abort()
        await until(lambda: not engines._connections["base"].is_open)
        return await collect(engines.sample("base", request([2])))

    assert run(locate, ask) == [2]
    assert locate.lost == [None, None], "the host itself was never lost"


def test_engine_that_nobody_can_reach_is_a_temporary_error(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable) as refused:
        run(Locator(tmp_path / "none.sock"), lambda engines: collect(engines.sample("base", request([3]))))
    assert refused.value.retry_after_seconds is not None


@pytest.mark.parametrize(
    ("code", "kind", "status"),
    [
        ("context_length_exceeded", InvalidRequest, 400),
        ("invalid_value", InvalidRequest, 400),
        ("rate_limit_exceeded", Overloaded, 429),
        ("model_not_found", NotFound, 404),
        ("anything", ServerError, 500),
    ],
)
def test_refusal_of_the_engine_becomes_an_error_of_the_api(
    start: Callable[..., Host], code: str, kind: type[ApiError], status: int
) -> None:
    host = start(lambda server, asked: server.answer(SampleFailed(asked.id, code, "No."), last=True))
    with pytest.raises(kind, match=r"No\.") as refused:
        run(Locator(host.path), lambda engines: collect(engines.sample("base", request([3]))))
    assert (refused.value.status, refused.value.code) == (status, code)
