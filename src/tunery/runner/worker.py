"""Claim, prepare, place, record; repeat. One runner serves one machine; many may share a database."""

import asyncio
import os
import signal
import socket
import time
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection, RowMapping, select

from tunery import ids
from tunery.blobs.disk import DiskBlobs
from tunery.errors import JobError, TuneryError
from tunery.lifecycle import Desired, Status
from tunery.observability import logger
from tunery.runner import machine, recovery
from tunery.runner.pool import HostPool, Run, TrainHost
from tunery.runner.prepare import Prepared, Request, prepare, resolved_event
from tunery.runner.records import Outcome, Recorder, fail, run_prefix
from tunery.settings import Settings
from tunery.store import events, jobs, leases, models
from tunery.store.database import Database, now
from tunery.store.events import Event
from tunery.store.schema import files, snapshots
from tunery.training.reports import Ack, Report, Start
from tunery.training.spec import Dtype, TrainSpec

PREPARING_MAX = 2
TICK_SECONDS_MAX = 1.0
WATCH_SECONDS = 1.0
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
        self._wake = asyncio.Event()
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._preparing: dict[str, int] = {}
        self._engines_starting: set[str] = set()
        self._placing: set[Run] = set()
        self._burying: set[Run] = set()
        self._pool = HostPool(
            module=host_module,
            run_dir=config.run_dir,
            device=device,
            dtype=dtype,
            threads=config.threads or os.cpu_count() or 1,
            lease_seconds=config.lease_seconds,
            on_report=self._on_report,
            on_train_end=self._on_train_end,
            on_serve_end=self._on_serve_end,
        )

    async def run(self) -> None:
        """Work until `stop`, then drain. A failure in a tick is logged and tried again; the leases keep jobs safe."""
        await self._database.write(self._register)
        background = [asyncio.create_task(self._watch_database()), asyncio.create_task(self._keep_leases())]
        if self._config.warm:
            self._start(self._warm())
        while not self._stopping:
            self._wake.clear()
            try:
                await self._tick()
            except Exception:
                log.exception("a step of the runner failed; it is tried again")
                await asyncio.sleep(0.2)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), TICK_SECONDS_MAX)
        for task in background:
            task.cancel()
        await self._drain()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()

    async def _tick(self) -> None:
        await self._record_reports()
        await self._obey()
        await self._database.write(self._recover)
        await self._claim_files()
        await self._claim_runs()
        await self._start_engines()

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

    def _recover(self, connection: Connection) -> None:
        recovery.requeue_abandoned(connection, at=now(connection))

    async def _warm(self) -> None:
        base = await self._database.read(lambda connection: models.base(connection, self._config.default_model))
        if base is None:
            return
        await self._database.write(lambda connection: models.want_engine(connection, base["id"], at=time.time()))
        await self._pool.warm(base)

    async def _watch_database(self) -> None:
        version = self._database.version() if self._database.is_sqlite else 0
        while True:
            current = await self._database.changed(version, TICK_SECONDS_MAX)
            if current != version:
                version = current
                self._wake.set()

    async def _keep_leases(self) -> None:
        """Renew every lease three times before it would end, and watch the hosts meanwhile."""
        renewed = 0.0
        while True:
            loop_time = asyncio.get_running_loop().time()
            if loop_time - renewed > self._config.lease_seconds / 3:
                renewed = loop_time
                await self._database.write(self._renew)
            self._pool.watch(keep=frozenset({self._config.default_model}))
            await asyncio.sleep(min(WATCH_SECONDS, self._config.lease_seconds / 10))

    def _renew(self, connection: Connection) -> None:
        at = now(connection)
        leases.renew(connection, runner_id=self.id, at=at, lease_seconds=self._config.lease_seconds)
        recovery.bury_dead_runners(connection, self.id)

    async def _record_reports(self) -> None:
        """Everything that hosts reported since the last tick, in one transaction; then their acknowledgements."""
        reports, self._reports = self._reports, []
        if not reports:
            return
        try:
            outcome = await self._database.write(lambda connection: self._recorder.apply(connection, reports))
        except Exception:
            self._reports = reports + self._reports
            raise
        self._settle(outcome)

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
        strays = held.keys() - placed - self._placing - self._burying - set(self._preparing.items())
        for job_id, epoch in strays:
            log.error("a job was held without being worked on", job_id=job_id)
            await self._database.write(partial(leases.release, job_id=job_id, epoch=epoch))

    async def _claim_files(self) -> None:
        room = PREPARING_MAX - len(self._preparing)
        for row in await self._claim(Status.VALIDATING_FILES, room):
            self._preparing[row["id"]] = row["epoch"]
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

    async def _prepare(self, row: RowMapping) -> None:
        """`validating_files` to `queued`, or to `failed` with the file's first problem."""
        try:
            request = await self._database.read(lambda connection: _request(connection, row))
            prepared = await asyncio.to_thread(
                prepare,
                request,
                blobs=self._blobs,
                device=self._pool.device,
                dtype=self._dtype,
                snapshot_seconds=self._config.snapshot_seconds,
            )
        except JobError as problem:
            await self._fail(row, problem)
        except Exception:
            log.exception("a job could not be prepared", job_id=row["id"])
            message = "The server failed while preparing this job; its log has the details."
            await self._fail(row, JobError(message, code="server_error"))
        else:
            await self._database.write(lambda connection: _queue(connection, row, prepared))
        finally:
            del self._preparing[row["id"]]
            self._wake.set()

    async def _fail(self, row: RowMapping, error: JobError) -> None:
        told: Any = {"code": error.code, "message": error.message, "param": error.param, "epoch": row["epoch"]}
        await self._database.write(lambda connection: fail(connection, row["id"], **told))

    async def _place(self, row: RowMapping) -> None:
        run = (row["id"], row["epoch"])
        try:
            start, base = await self._database.read(lambda connection: self._start_message(connection, row))
            await self._pool.place(base, run, start, alone=bool(row["run_alone"]))
        except Exception:
            log.exception("a job could not be placed", job_id=row["id"])
            await self._database.write(lambda connection: leases.release(connection, job_id=run[0], epoch=run[1]))
        finally:
            self._placing.discard(run)

    def _start_message(self, connection: Connection, row: RowMapping) -> tuple[Start, Any]:
        newest = select(snapshots).where(snapshots.c.job_id == row["id"]).order_by(snapshots.c.step.desc()).limit(1)
        snapshot = connection.execute(newest).mappings().first()
        output = self._blobs.path(run_prefix(row["id"], row["epoch"]))
        start = Start(
            job_id=row["id"],
            epoch=row["epoch"],
            spec=msgspec.convert(row["spec"], TrainSpec),
            output_path=str(output),
            resume_path=str(self._blobs.path(snapshot["blob_key"])) if snapshot else None,
        )
        return start, models.base(connection, row["base_id"])

    async def _start_engines(self) -> None:
        wanted = await self._database.read(models.all_engines)
        for engine in wanted:
            base_id = engine["base_id"]
            if engine["status"] == "wanted" and base_id not in self._engines_starting:
                self._engines_starting.add(base_id)
                self._start(self._serve(base_id))

    async def _serve(self, base_id: str) -> None:
        """Bring up a serving host, or say in the table why there is none."""
        try:
            base = await self._database.read(lambda connection: models.base(connection, base_id))
            running = self._pool.serve.get(base_id)
            process = running or await self._pool.start_serving(base)
            ready = {"status": "ready", "socket_path": process.plan.socket_path, "runner_id": self.id, "error": None}
            await self._database.write(lambda connection: models.set_engine(connection, base_id, **ready))
        except TuneryError as error:
            failed = {"status": "failed", "error": str(error)}
            await self._database.write(lambda connection: models.set_engine(connection, base_id, **failed))
        finally:
            self._engines_starting.discard(base_id)

    def _on_report(self, report: Report) -> None:
        self._reports.append(report)
        self._wake.set()

    def _on_train_end(self, host: TrainHost, status: int) -> None:
        self._burying |= host.runs.keys()
        if host.runs or not self._stopping:
            self._start(self._after_death(host, status))

    async def _after_death(self, host: TrainHost, status: int) -> None:
        """Record what the host still said, then give its runs back to the queue."""
        await self._record_reports()
        runs = [run for run in host.runs if run not in host.stopping]
        if runs:
            reason = recovery.describe(status)
            log.error("a training host ended", status=status, reason=reason, jobs=[run[0] for run in runs])
            await self._database.write(lambda connection: recovery.after_host_death(connection, runs, reason=reason))
        self._burying -= host.runs.keys()
        self._wake.set()

    def _on_serve_end(self, base_id: str, status: int) -> None:
        log.error("a serving host ended", base=base_id, status=status, reason=recovery.describe(status))
        if not self._stopping:
            self._start(self._restart_serving(base_id))

    async def _restart_serving(self, base_id: str) -> None:
        await self._database.write(lambda connection: models.want_engine(connection, base_id, at=time.time()))
        self._wake.set()

    async def _drain(self) -> None:
        """Snapshot and stop every host, record what they said, hand the jobs back without burning an attempt."""
        await self._pool.drain(DRAIN_SECONDS)
        await asyncio.sleep(0)
        for _ in range(100):
            if not self._tasks and not self._pool.runs:
                break
            await self._record_reports()
            await asyncio.sleep(0.02)
        await self._record_reports()
        await self._database.write(lambda connection: recovery.leave(connection, self.id))

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def install_signals(runner: Runner) -> None:
    """SIGTERM drains; a second one ends the process at once."""
    loop = asyncio.get_running_loop()

    def drain() -> None:
        loop.add_signal_handler(signal.SIGTERM, lambda: os._exit(1))
        runner.stop()

    loop.add_signal_handler(signal.SIGTERM, drain)


def _request(connection: Connection, row: RowMapping) -> Request:
    def file(file_id: str | None) -> Any:
        return connection.execute(select(files).where(files.c.id == file_id)).mappings().first()

    parent_id = jobs.parent(connection, row["id"])
    parent = models.get(connection, project_id=row["project_id"], model_id=parent_id) if parent_id else None
    if parent_id is not None and parent is None:
        raise JobError(f"The model {parent_id} was deleted", code="model_not_available", param="model")
    return Request(
        job=row,
        base=models.base(connection, row["base_id"]),
        training_file=file(row["training_file"]),
        validation_file=file(row["validation_file"]),
        parent=parent,
    )


def _queue(connection: Connection, row: RowMapping, prepared: Prepared) -> None:
    free = {"runner_id": None, "lease_until": None}
    moved = jobs.move(connection, row["id"], Status.QUEUED, epoch=row["epoch"], **prepared.columns(), **free)
    if moved is not None:
        told = [Event(warning, level="warn") for warning in prepared.warnings]
        told += [Event("Files validated, moving job to queued state"), Event(resolved_event(prepared))]
        events.append(connection, row["id"], told, at=time.time())
