"""Claim, prepare, place, record; repeat. One runner serves one machine; many may share a database."""

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from tunery import ids
from tunery.blobs.disk import DiskBlobs
from tunery.errors import DatabaseUnavailable, JobError
from tunery.lifecycle import Desired, Status
from tunery.observability import logger
from tunery.runner import machine, recovery
from tunery.runner.engines import Engines
from tunery.runner.pool import HostPool, Run, TrainHost, clear_sockets
from tunery.runner.prepare import enqueue, prepare, read_request
from tunery.runner.records import Outcome, Recorder, fail
from tunery.runner.resuming import make_start
from tunery.runner.sweeping import sweep_and_rest
from tunery.settings import Settings
from tunery.store import leases, models
from tunery.store.database import Connection, Database, Row, now
from tunery.training.reports import Ack, Report
from tunery.training.spec import Dtype

PREPARING_MAX = 2
TICK_SECONDS_MAX = 1.0
WATCH_SECONDS = 1.0
RETRY_SECONDS = 0.2
RECORD_SECONDS = 0.02
GIVE_UP_SECONDS = 1.0
DRAIN_SECONDS = 55.0
log = logger("runner")


class Runner:
    """The runner of this machine."""

    def __init__(
        self, config: Settings, database: Database, blobs: DiskBlobs, *, device: str, dtype: Dtype, host_module: str
    ) -> None:
        self.id = ids.runner()
        self._config = config
        self._database = database
        self._blobs = blobs
        self._dtype: Dtype = dtype
        self._recorder = Recorder(blobs, organization=config.organization)
        self._reports: list[Report] = []
        self._dead: list[tuple[TrainHost, int]] = []
        """Training hosts that ended, with their exit status, until their runs are handed back."""
        self._wake = asyncio.Event()
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._preparing: set[Run] = set()
        self._placing: set[Run] = set()
        self._version = 0
        self._pool = HostPool(
            module=host_module,
            run_dir=config.run_dir,
            device=device,
            dtype=dtype,
            threads=config.threads or machine.cores(),
            lease_seconds=config.lease_seconds,
            on_report=self._on_report,
            on_train_end=self._on_train_end,
            on_serve_end=lambda base_id, status: self._engines.ended(base_id, status),
            on_serve_idle=lambda process: self._engines.idle(process),
        )
        self._engines = Engines(database, self._pool, runner_id=self.id, start=self._start)

    async def run(self) -> None:
        """Work until `stop`, then drain. A failure in a tick is logged and tried again; the leases keep jobs safe."""
        clear_sockets(self._config.run_dir)
        await self._database.write(self._register)
        keeping = [self._watch_database, self._renew_leases, self._watch_hosts, self._sweep]
        background = [asyncio.create_task(self._repeat(step)) for step in keeping]
        if self._config.warm:
            self._start(self._warm())
        while not self._stopping:
            self._wake.clear()
            await self._attempt(self._tick)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), TICK_SECONDS_MAX)
        await self._drain()
        for task in background:
            task.cancel()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()

    async def _tick(self) -> None:
        await self._record_reports()
        await self._bury_hosts()
        await self._obey()
        await self._recover()
        await self._claim_files()
        await self._claim_runs()
        await self._engines.start_wanted()

    async def _sweep(self) -> None:
        await sweep_and_rest(self._database, self._blobs)

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._attempt(step)

    async def _attempt(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except Exception:
            log.exception("a step of the runner failed")
            await asyncio.sleep(RETRY_SECONDS)

    def _register(self, connection: Connection) -> None:
        """Enter this runner and take over at once from runners of this machine whose process is gone."""
        at = now(connection)
        recovery.bury_dead_runners(connection, self.id)
        leases.register(
            connection,
            id=self.id,
            hostname=socket.gethostname(),
            boot_id=machine.boot_id(),
            pid=os.getpid(),
            process_started_at=machine.process_started_at(os.getpid()),
            lease_until=at + self._config.lease_seconds,
        )
        for engine in models.all_engines(connection):
            models.want_engine(connection, engine["base_id"], at=at)

    async def _recover(self) -> None:
        def is_needed(connection: Connection) -> bool:
            return bool(leases.abandoned(connection, runner_id=self.id, at=now(connection)))

        def change(connection: Connection) -> None:
            recovery.requeue_abandoned(connection, runner_id=self.id, at=now(connection))

        if await self._database.read(is_needed):
            await self._database.write(change)

    async def _warm(self) -> None:
        base = await self._database.read(lambda connection: models.base(connection, self._config.default_model))
        if base is None:
            return
        await self._engines.want(base["id"])
        await self._pool.warm(base)

    async def _watch_database(self) -> None:
        current = await self._database.changed(self._version, TICK_SECONDS_MAX)
        if current != self._version:
            self._version = current
            self._wake.set()

    async def _renew_leases(self) -> None:
        """Three times before they would end."""

        def renew(connection: Connection) -> None:
            leases.renew(connection, runner_id=self.id, at=now(connection), lease_seconds=self._config.lease_seconds)
            recovery.bury_dead_runners(connection, self.id)

        await self._database.write(renew)
        await asyncio.sleep(self._config.lease_seconds / 3)

    async def _watch_hosts(self) -> None:
        """Apart from the leases: hosts must not take a busy database for a dead runner."""
        self._pool.watch(keep=frozenset({self._config.default_model}))
        await asyncio.sleep(min(WATCH_SECONDS, self._config.lease_seconds / 10))

    async def _record_reports(self) -> None:
        """Everything that hosts reported since the last tick, in one transaction; then their acknowledgements.

        Reports that make no sense end their own job and not its neighbours': then each job's are recorded alone.
        Where the database fails, what is not settled yet waits for the next tick.
        """
        reports, self._reports = self._reports, []
        try:
            if reports and (outcome := await self._record(reports)) is not None:
                reports = []
                self._settle(outcome)
            while reports:
                run = _run_of(reports[0])
                outcome = await self._record([each for each in reports if _run_of(each) == run])
                if outcome is None:
                    message = "The server could not record what this job reported; its log has the details."
                    await self._fail(run, JobError(message, code="server_error"))
                reports = [each for each in reports if _run_of(each) != run]
                self._settle(outcome or Outcome(fenced={run}))
        finally:
            self._reports = reports + self._reports

    async def _record(self, reports: list[Report]) -> Outcome | None:
        """What recording them means, or None where they cannot be: nothing of them is recorded then."""
        try:
            return await self._database.write(partial(self._recorder.apply, reports=reports))
        except (DatabaseUnavailable, OSError):
            raise
        except Exception:
            log.exception("reports could not be recorded", jobs=[*dict.fromkeys(each.job_id for each in reports)])
            return None

    async def _bury_hosts(self) -> None:
        """Give the runs of dead hosts back to the queue, after everything that these hosts still said."""
        while self._dead:
            host, status = self._dead[0]
            runs = [run for run in host.runs if run not in host.stopping]
            if runs:
                # A host that ends in order has lost sight of its runner; that is no job's doing.
                told: Any = {"to_blame": status != 0 and len(host.runs) == 1, "reason": recovery.describe(status)}
                log.error("a training host ended", status=status, jobs=[run[0] for run in runs], **told)
                await self._database.write(partial(recovery.after_host_death, runs=runs, **told))
            self._dead.pop(0)

    def _settle(self, outcome: Outcome) -> None:
        for report in outcome.acknowledged:
            host = self._pool.runs.get((report.job_id, report.epoch))
            if host is not None:
                host.process.send(Ack(report.job_id, report.epoch, report.n))
        for run in outcome.fenced:
            self._pool.stop(run, "cancel")
        for run in outcome.left:
            self._pool.left(run)
        for key in outcome.garbage:
            self._blobs.delete(key)

    async def _obey(self) -> None:
        """Bring what was cancelled or paused off its host, and hand back what the table says is ours but is not."""
        rows = await self._database.read(lambda connection: leases.held(connection, self.id))
        held = {(row["id"], row["epoch"]): row for row in rows}
        placed = set(self._pool.runs)
        for run in placed - held.keys():
            self._pool.stop(run, "cancel")
        for run in placed & held.keys():
            if held[run]["desired_state"] == Desired.PAUSE:
                self._pool.stop(run, "pause")
        dying = {run for host, _ in self._dead for run in host.runs}
        for run in held.keys() - placed - dying - self._placing - self._preparing:
            log.error("a job was held without being worked on", job_id=run[0])
            await self._give_up(run)

    async def _claim_files(self) -> None:
        room = PREPARING_MAX - len(self._preparing)
        for row in await self._claim(Status.VALIDATING_FILES, room):
            self._preparing.add((row["id"], row["epoch"]))
            self._start(self._prepare(row))

    async def _claim_runs(self) -> None:
        room = self._config.jobs_per_device - len(self._pool.runs) - len(self._placing)
        for row in await self._claim(Status.QUEUED, room):
            self._placing.add((row["id"], row["epoch"]))
            self._start(self._place(row))

    async def _claim(self, status: Status, room: int) -> Any:
        if room <= 0 or self._stopping:
            return []

        def waiting(connection: Connection) -> bool:
            return leases.any_free(connection, status=status, at=now(connection))

        if not await self._database.read(waiting):
            return []

        def change(connection: Connection) -> Any:
            lease = {"at": now(connection), "lease_seconds": self._config.lease_seconds}
            return leases.claim(connection, runner_id=self.id, status=status, limit=room, **lease)

        return await self._database.write(change)

    async def _prepare(self, row: Row) -> None:
        """`validating_files` to `queued`, or to `failed` with the file's first problem."""
        run = (row["id"], row["epoch"])
        try:
            request = await self._database.read(lambda connection: read_request(connection, row))
            prepared = await asyncio.to_thread(
                prepare,
                request,
                blobs=self._blobs,
                device=self._pool.device,
                dtype=self._dtype,
                snapshot_seconds=self._config.snapshot_seconds,
            )
            await self._database.write(lambda connection: enqueue(connection, row, prepared))
        except JobError as problem:
            await self._fail(run, problem)
        except DatabaseUnavailable:
            log.exception("a job could not be prepared now; it is tried again", job_id=row["id"])
        except Exception:
            log.exception("a job could not be prepared", job_id=row["id"])
            message = "The server failed while preparing this job; its log has the details."
            await self._fail(run, JobError(message, code="server_error"))
        finally:
            self._preparing.discard(run)
            self._wake.set()

    async def _fail(self, run: Run, error: JobError) -> None:
        told: Any = {"code": error.code, "message": error.message, "param": error.param, "epoch": run[1]}
        await self._database.write(lambda connection: fail(connection, run[0], **told))

    async def _give_up(self, run: Run) -> None:
        def change(connection: Connection) -> None:
            recovery.give_up(connection, run[0], epoch=run[1], message=None, wait_seconds=GIVE_UP_SECONDS)

        await self._database.write(change)

    async def _place(self, row: Row) -> None:
        run = (row["id"], row["epoch"])
        try:
            start = await make_start(self._database, self._blobs, row)
            base = await self._database.read(lambda connection: models.base(connection, row["base_id"]))
            await self._pool.place(base, run, start, alone=bool(row["run_alone"]))
        finally:
            self._placing.discard(run)

    def _on_report(self, report: Report) -> None:
        self._reports.append(report)
        self._wake.set()

    def _on_train_end(self, host: TrainHost, status: int) -> None:
        self._dead.append((host, status))
        self._wake.set()

    async def _drain(self) -> None:
        """Snapshot and stop every host, record what they said, hand the jobs back without burning an attempt."""
        draining = asyncio.create_task(self._pool.drain(DRAIN_SECONDS))
        while not draining.done():
            # Hosts stay until what they reported is acknowledged.
            await self._attempt(self._record_reports)
            await asyncio.wait({draining}, timeout=RECORD_SECONDS)
        await self._attempt(self._record_reports)
        await self._database.write(lambda connection: recovery.leave(connection, self.id))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """A job that a failed task leaves behind is held without being worked on, and so handed back."""
        task = asyncio.create_task(self._attempt(lambda: work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _run_of(report: Report) -> Run:
    return report.job_id, report.epoch


def install_signals(runner: Runner) -> None:
    """SIGTERM drains; a second one ends the process at once."""
    loop = asyncio.get_running_loop()

    def drain() -> None:
        loop.add_signal_handler(signal.SIGTERM, lambda: os._exit(1))
        runner.stop()

    loop.add_signal_handler(signal.SIGTERM, drain)
