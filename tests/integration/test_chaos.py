"""kill -9 of any process at any moment: every accepted job ends succeeded, once, with its books in order."""

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import openai
import psutil
import pytest
from openai import OpenAI

from tests.books import Books
from tests.integration.conftest import connect, hurt
from tests.samples import jsonl, upload, wait_for_end
from tests.servers import Server

PARTS = ("supervisor", "api", "runner", "host")
PATIENCE_SECONDS = 120.0


@dataclass
class Chaos:
    """Accepts jobs and kills processes, each from the same seeded stream of choices."""

    server: Server
    books: Books
    choices: random.Random
    training_file: str = ""
    accepted: list[str] = field(default_factory=list)
    killed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))

    def accept(self) -> None:
        """Create a job as a patient client does, through whatever dies meanwhile."""

        def create(client: OpenAI) -> str:
            if not self.training_file:
                self.training_file = upload(client, jsonl(11)).id
            return client.fine_tuning.jobs.create(model="tiny", training_file=self.training_file).id

        self.accepted.append(self.ask(create))

    def ask(self, question: Callable[[OpenAI], str]) -> str:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with connect(self.server, max_retries=10) as client:
                    return question(client)
            except (openai.APIConnectionError, openai.InternalServerError):
                assert time.monotonic() < deadline, "the API did not come back"

    def kill(self, part: str) -> None:
        """One process of the part; a host only after some job went on, or it would look like poison."""
        if part == "host":
            self._await_progress()
        processes = self.server.tree()[part]
        if not processes:
            return
        victim = self.choices.choice(processes)
        try:
            victim.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            return
        self.killed[part] += 1
        if part == "supervisor":
            assert self.server.process is not None
            self.server.process.wait()
            self.server.start()

    def _await_progress(self) -> None:
        def steps() -> int:
            return sum(self.books.job(job_id)["step"] for job_id in self.accepted)

        before, deadline = steps(), time.monotonic() + PATIENCE_SECONDS
        while steps() == before and not self.all_ended():
            assert time.monotonic() < deadline, "no job goes on"
            time.sleep(0.05)

    def all_ended(self) -> bool:
        return all(self.books.job(job_id)["status"] == "succeeded" for job_id in self.accepted)


def run_chaos(data_dir: Path, *, kills: int, seed: int, database_url: str | None = None) -> Chaos:
    settings = {"database_url": database_url} if database_url else {}
    with hurt(data_dir, **settings) as (server, books):
        chaos = Chaos(server, books, random.Random(seed))
        chaos.accept()
        parts = [PARTS[n % len(PARTS)] for n in range(kills)]
        chaos.choices.shuffle(parts)
        for part in parts:
            chaos.accept()
            time.sleep(chaos.choices.uniform(0, 0.8))
            chaos.kill(part)
        with connect(server, max_retries=10) as client:
            for job_id in chaos.accepted:
                job = wait_for_end(client, job_id, seconds_max=PATIENCE_SECONDS)
                assert job.status == "succeeded", f"{job_id}: {job.error}\n{server.log()}"
        server.stop()
        assert server.survivors() == []
        assert sorted(books.job_ids()) == sorted(chaos.accepted), "jobs were doubled or lost"
        for job_id in chaos.accepted:
            books.check(job_id)
    return chaos


def test_six_kills_lose_nothing(tmp_path: Path) -> None:
    chaos = run_chaos(tmp_path, kills=6, seed=20261120)
    assert sum(chaos.killed.values()) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_fifty_kills_lose_nothing(tmp_path: Path, seed: int) -> None:
    chaos = run_chaos(tmp_path, kills=50, seed=seed)
    print(f"{sum(chaos.killed.values())} kills {chaos.killed}, {len(chaos.accepted)} jobs, none lost, none doubled")
    assert sum(chaos.killed.values()) >= 40


@pytest.mark.slow
@pytest.mark.postgres
def test_kills_lose_nothing_on_postgres(tmp_path: Path, empty_postgres_url: str) -> None:
    chaos = run_chaos(tmp_path, kills=24, seed=3, database_url=empty_postgres_url)
    assert sum(chaos.killed.values()) >= 18
