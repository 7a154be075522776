"""Everything that can happen to jobs and their processes: each job meets its own end, and nobody else's."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest
from openai import BadRequestError, OpenAI

from tests.books import CANCELLED, SUCCESS, Books
from tests.fakes.host import Behaviour
from tests.integration.conftest import LEASE_SECONDS, connect, hurt
from tests.samples import jsonl, upload, wait_for_end
from tests.servers import Server, python_path

Create = Callable[..., str]
PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def training_file(client: OpenAI) -> str:
    return upload(client).id


@pytest.fixture
def create(client: OpenAI, training_file: str) -> Create:
    """Accept a job of three steps an epoch that behaves as its seed says; its id."""

    def make(behaviour: int = Behaviour.ORDINARY, *, n_epochs: int = 4) -> str:
        return client.fine_tuning.jobs.create(
            model="tiny", training_file=training_file, seed=behaviour, hyperparameters={"n_epochs": n_epochs}
        ).id

    return make


def until(is_true: Callable[[], Any], *, seconds_max: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds_max
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def reach_step(books: Books, job_id: str, step: int) -> None:
    until(lambda: books.job(job_id)["step"] >= step)


def test_eight_jobs_each_meet_their_own_end(create: Create, client: OpenAI, server: Server, books: Books) -> None:
    poison = create(Behaviour.SEGFAULT_AT_STEP_2)
    diverging = create(Behaviour.DIVERGE_AT_STEP_2)
    frozen = create(Behaviour.FREEZE_ONCE_AT_STEP_2)
    cancelled, paused = create(Behaviour.SLOW), create(Behaviour.SLOW)
    neighbours = [create() for _ in range(3)]
    client.fine_tuning.jobs.pause(paused)
    reach_step(books, cancelled, 1)
    client.fine_tuning.jobs.cancel(cancelled)
    ends = {job_id: wait_for_end(client, job_id) for job_id in (poison, diverging, frozen, cancelled, *neighbours)}
    statuses = {job_id: job.status for job_id, job in ends.items()}
    assert statuses == {
        poison: "failed", diverging: "failed", frozen: "succeeded", cancelled: "cancelled",
        **dict.fromkeys(neighbours, "succeeded"),
    }  # fmt: skip
    error = ends[poison].error
    assert error is not None
    assert (error.code, error.param) == ("training_crashed", None)
    assert error.message == (
        "The training process ended 3 times without finishing a step, the last time because of signal 11 "
        "(Segmentation fault)."
    )
    error = ends[diverging].error
    assert error is not None
    assert (error.code, error.message) == ("training_diverged", "The loss was not finite for 3 steps in a row.")
    assert books.job(frozen)["attempt"] == 0, "a step was made since"
    assert any("signal 9 (killed" in message for message in books.messages(frozen))
    assert client.fine_tuning.jobs.retrieve(paused).to_dict()["paused"] is True
    client.fine_tuning.jobs.resume(paused)
    assert wait_for_end(client, paused).status == "succeeded"
    for job_id in (*ends, paused):
        books.check(job_id)


def test_killed_host_costs_no_step_that_was_saved(create: Create, client: OpenAI, server: Server, books: Books) -> None:
    job_id = create(Behaviour.SLOW)
    reach_step(books, job_id, 3)
    for host in server.tree()["host"]:
        host.kill()
    until(lambda: any("resumed" in message for message in books.messages(job_id)))
    resumed = next(message for message in books.messages(job_id) if "resumed" in message)
    assert int(resumed.rpartition(" ")[2]) >= 3
    client.fine_tuning.jobs.cancel(job_id)
    books.check(job_id)


def test_killed_runner_gives_its_jobs_up_at_once(create: Create, client: OpenAI, server: Server, books: Books) -> None:
    """The next runner of the same machine does not wait for the lease of one that it knows to be dead."""
    job_id = create(Behaviour.SLOW)
    reach_step(books, job_id, 2)
    epoch = books.job(job_id)["epoch"]
    server.tree()["runner"][0].kill()
    until(lambda: books.job(job_id)["epoch"] > epoch and books.job(job_id)["status"] == "running")
    assert books.job(job_id)["attempt"] == 0, "it was not the job's doing"
    client.fine_tuning.jobs.cancel(job_id)
    books.check(job_id)


def test_runner_that_slept_past_its_lease_goes_on_with_its_jobs(
    create: Create, client: OpenAI, server: Server, books: Books
) -> None:
    """Nobody else took them, so its epochs still count; its hosts have left meanwhile, with snapshots."""
    job_id = create(Behaviour.SLOW)
    reach_step(books, job_id, 2)
    runner = freeze_runner(server, books)
    time.sleep(1.5 * LEASE_SECONDS)
    runner.send_signal(signal.SIGCONT)
    step = books.job(job_id)["step"]
    reach_step(books, job_id, step + 2)
    assert books.job(job_id)["attempt"] == 0
    client.fine_tuning.jobs.cancel(job_id)
    books.check(job_id)


@pytest.mark.parametrize("state", ["validating_files", "queued", "running", "paused"])
def test_cancel_is_terminal_at_once_in_every_state_and_twice(
    create: Create, client: OpenAI, server: Server, books: Books, state: str
) -> None:
    with state_of(state, create, client, server, books) as job_id:
        began = time.monotonic()
        cancelled = client.fine_tuning.jobs.cancel(job_id)
        assert time.monotonic() - began < 1
        assert (cancelled.status, cancelled.finished_at) == ("cancelled", None)
        assert client.fine_tuning.jobs.cancel(job_id).status == "cancelled"
        for verb in (client.fine_tuning.jobs.pause, client.fine_tuning.jobs.resume):
            with pytest.raises(BadRequestError, match="already cancelled"):
                verb(job_id)
    time.sleep(0.5)
    assert books.messages(job_id).count(CANCELLED) == 1
    books.check(job_id)


@pytest.mark.parametrize("state", ["validating_files", "queued", "running"])
def test_pause_holds_in_every_state_and_resume_goes_on(
    create: Create, client: OpenAI, server: Server, books: Books, state: str
) -> None:
    with state_of(state, create, client, server, books) as job_id:
        client.fine_tuning.jobs.pause(job_id)
        client.fine_tuning.jobs.pause(job_id)
        until(lambda: books.job(job_id)["status"] == "paused")
    step = books.job(job_id)["step"]
    shown = client.fine_tuning.jobs.retrieve(job_id)
    assert (shown.status, shown.to_dict()["paused"]) == ("queued", True)
    assert isinstance(shown.to_dict()["paused_at"], int)
    time.sleep(0.6)
    assert (books.job(job_id)["status"], books.job(job_id)["step"]) == ("paused", step)
    client.fine_tuning.jobs.resume(job_id)
    client.fine_tuning.jobs.resume(job_id)
    assert wait_for_end(client, job_id).status == "succeeded"
    assert sum("paused" in message for message in books.messages(job_id)) == 1
    assert books.job(job_id)["attempt"] == 0
    books.check(job_id)


def test_pause_of_a_running_job_wins_over_the_death_of_its_host(
    create: Create, client: OpenAI, server: Server, books: Books
) -> None:
    job_id = create(Behaviour.FREEZE_AT_STEP_2)
    until(lambda: any(is_frozen(host) for host in server.tree()["host"]))
    client.fine_tuning.jobs.pause(job_id)
    until(lambda: books.job(job_id)["status"] == "paused")
    client.fine_tuning.jobs.cancel(job_id)
    books.check(job_id)


def freeze_runner(server: Server, books: Books) -> psutil.Process:
    """Stop the runner between two transactions: SQLite would wait for one that sleeps inside of one."""
    (runner,) = server.tree()["runner"]
    while True:
        runner.send_signal(signal.SIGSTOP)
        if books.can_write():
            return runner
        runner.send_signal(signal.SIGCONT)
        time.sleep(0.01)


class state_of:  # noqa: N801 - read as a phrase
    """Holds a job in a state: whoever would move it on stands still meanwhile."""

    def __init__(self, state: str, create: Create, client: OpenAI, server: Server, books: Books) -> None:
        self._state, self._create, self._client, self._server, self._books = state, create, client, server, books
        self._stopped: list[psutil.Process] = []

    def __enter__(self) -> str:
        if self._state == "validating_files":
            self._stop_runner()
            return self._create()
        if self._state == "queued":
            return self._catch_queued()
        job_id = self._create(Behaviour.SLOW)
        reach_step(self._books, job_id, 1)
        if self._state == "paused":
            self._client.fine_tuning.jobs.pause(job_id)
            until(lambda: self._books.job(job_id)["status"] == "paused")
        return job_id

    def __exit__(self, *_: object) -> None:
        for process in self._stopped:
            process.send_signal(signal.SIGCONT)

    def _catch_queued(self) -> str:
        """A job stays queued for a moment only: try until the runner stood still in it."""
        for _ in range(20):
            job_id = self._create(Behaviour.SLOW)
            until(lambda: self._books.job(job_id)["spec"] is not None)  # noqa: B023 - called before the next round
            self._stop_runner()
            if self._books.job(job_id)["status"] == "queued":
                return job_id
            self.__exit__()
            self._client.fine_tuning.jobs.cancel(job_id)
        raise AssertionError("no job was caught while it was queued")

    def _stop_runner(self) -> None:
        self._stopped = [freeze_runner(self._server, self._books)]


def is_frozen(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


def test_deleted_training_file_fails_the_job_as_recorded(client: OpenAI, server: Server, books: Books) -> None:
    file_id = upload(client, jsonl(11)).id
    runner = freeze_runner(server, books)
    job_id = client.fine_tuning.jobs.create(model="tiny", training_file=file_id).id
    client.files.delete(file_id)
    runner.send_signal(signal.SIGCONT)
    job = wait_for_end(client, job_id)
    assert job.error is not None
    assert job.error.to_dict() == {
        "code": "deleted_training_file",
        "param": "training_file",
        "message": "The job failed because the training file was deleted",
    }
    books.check(job_id)


@pytest.fixture
def second_runner() -> Iterator[Callable[[Server], subprocess.Popen[bytes]]]:
    """Starts one more runner on a server's database."""
    started: list[subprocess.Popen[bytes]] = []

    def start(server: Server) -> subprocess.Popen[bytes]:
        environment = server.environment() | {"PYTHONPATH": python_path()}
        with (server.data_dir / "second.log").open("ab") as log:
            runner = subprocess.Popen(
                [sys.executable, "-m", "tunery.runner"], env=environment, stdin=subprocess.PIPE, stderr=log, stdout=log
            )
        started.append(runner)
        return runner

    yield start
    for runner in started:
        runner.terminate()
        runner.wait(30)
        assert runner.stdin is not None
        runner.stdin.close()


@pytest.mark.parametrize("wakes", ["after the other finished", "while the other works"])
def test_stale_reports_of_a_zombie_change_nothing(
    create: Create,
    client: OpenAI,
    server: Server,
    books: Books,
    second_runner: Callable[[Server], subprocess.Popen[bytes]],
    wakes: str,
) -> None:
    """A runner sleeps past its lease while its host finishes the job; another does it again; then the first wakes."""
    job_id = create(n_epochs=20)
    reach_step(books, job_id, 3)
    zombie = freeze_runner(server, books)
    epoch = books.job(job_id)["epoch"]
    second_runner(server)
    if wakes == "while the other works":
        until(lambda: books.job(job_id)["epoch"] > epoch)
        zombie.send_signal(signal.SIGCONT)
    assert wait_for_end(client, job_id).status == "succeeded"
    before = (dict(books.job(job_id)), books.messages(job_id))
    zombie.send_signal(signal.SIGCONT)
    time.sleep(LEASE_SECONDS / 2)
    assert (dict(books.job(job_id)), books.messages(job_id)) == before
    assert books.messages(job_id)[-1] == SUCCESS
    assert f"/e{epoch}/" not in books.model(job_id)["blob_key"], "published by the zombie's epoch"
    books.check(job_id)


def test_shutdown_does_not_wait_for_chats_that_wait_for_an_engine(server: Server, books: Books) -> None:
    with ThreadPoolExecutor() as threads:
        runner = freeze_runner(server, books)
        body = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
        waiting = threads.submit(httpx.post, f"{server.url}/v1/chat/completions", json=body, timeout=60)
        until(lambda: books.engine("tiny") is not None)
        (api,) = server.tree()["api"]
        began = time.monotonic()
        api.terminate()
        answer = waiting.result()
        assert time.monotonic() - began < 5
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json()["error"]["message"] == "The server is shutting down."
        runner.send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Books]]:
    """A server that tests bring down; the next one starts it again on what is left."""
    with hurt(tmp_path_factory.mktemp("victim")) as running:
        yield running


def begin(server: Server, books: Books, count: int) -> list[str]:
    """Slow jobs that have made two steps, on a server that is up."""
    if server.survivors() == []:
        server.start()
    with connect(server) as client:
        file_id = upload(client).id
        making = [
            client.fine_tuning.jobs.create(model="tiny", training_file=file_id, seed=Behaviour.SLOW).id
            for _ in range(count)
        ]
    for job_id in making:
        reach_step(books, job_id, 2)
    return making


def test_drain_burns_no_attempt_and_the_next_server_goes_on(victim: tuple[Server, Books]) -> None:
    server, books = victim
    job_ids = begin(server, books, 2)
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 20
    assert server.process is not None
    assert server.process.returncode == 0
    assert server.survivors() == []
    for job_id in job_ids:
        row = books.job(job_id)
        assert (row["status"], row["attempt"], row["runner_id"]) == ("queued", 0, None)
        assert row["step"] >= 2
    server.start()
    for job_id in job_ids:
        until(lambda job_id=job_id: any("resumed at step" in message for message in books.messages(job_id)))
        books.check(job_id)
        assert f"Fine-tuning job resumed at step {row_step(books, job_id)}" in books.messages(job_id)


def row_step(books: Books, job_id: str) -> int:
    """The step behind which the first run ended: none was lost, and none was told twice."""
    told = [event for event in books.events(job_id) if event["type"] == "metrics" or "resumed" in event["message"]]
    position = next(n for n, event in enumerate(told) if "resumed" in event["message"])
    return told[position - 1]["data"]["step"]


def test_nothing_is_left_of_a_server_whose_supervisor_was_killed(victim: tuple[Server, Books]) -> None:
    server, books = victim
    (job_id,) = begin(server, books, 1)
    assert server.process is not None
    assert len(server.survivors()) >= 4
    server.process.kill()
    server.process.wait()
    until(lambda: server.survivors() == [], seconds_max=20)
    assert books.job(job_id)["status"] == "queued"
    books.check(job_id)


def test_host_outlives_no_runner_that_was_killed(victim: tuple[Server, Books]) -> None:
    """All others at once, so that nobody is left to clean up: the host itself must notice."""
    server, books = victim
    begin(server, books, 1)
    tree = server.tree()
    assert len(tree["host"]) == 1
    for process in (*tree["supervisor"], *tree["runner"], *tree["api"]):
        process.kill()
    until(lambda: server.survivors() == [], seconds_max=5 * LEASE_SECONDS)
