"""A job that is followed: a live bar where somebody looks, plain lines in a log, JSON lines for programs."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from tunery.cli.exits import Exit
from tunery.cli.formats import clock, duration, moment, printable
from tunery.cli.output import err, print_json_line
from tunery.client import Client, Update
from tunery.client.objects import Event, Job

BAR_COLUMNS_MIN, BAR_COLUMNS_MAX = 8, 40
LEVEL_STYLES = {"info": "dim", "warn": "yellow", "error": "red"}


@dataclass
class Measures:
    """The newest numbers that a job's events told."""

    step: int = 0
    total_steps: int | None = None
    train_loss: float | None = None
    valid_loss: float | None = None
    tokens: int = 0
    seconds: float = 0.0
    """Of the steps whose tokens are counted."""

    def absorb(self, events: Iterable[Event]) -> None:
        for event in events:
            data = event["data"]
            if event["type"] != "metrics" or data is None:
                continue
            self.step, self.total_steps, self.train_loss = data["step"], data["total_steps"], data["train_loss"]
            for measured in ("valid_loss", "full_valid_loss"):
                if measured in data:
                    self.valid_loss = data[measured]
            if "tokens" in data and "seconds" in data:
                self.tokens += data["tokens"]
                self.seconds += data["seconds"]

    @property
    def tokens_per_second(self) -> float | None:
        return self.tokens / self.seconds if self.seconds else None


class View(Protocol):
    """Shows updates of one job."""

    def __enter__(self) -> "View": ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, update: Update) -> None: ...


class Bar:
    """One line that moves; what the job says besides its numbers scrolls by above it."""

    def __init__(self, console: Console, *, quiet: bool, indent: int) -> None:
        self._measures = Measures()
        self._quiet = quiet
        self._indent = " " * indent
        self._bar = BarColumn()
        self._progress = Progress(
            TextColumn("{task.description}"),
            self._bar,
            TextColumn("{task.fields[numbers]}", style="default"),
            console=console,
        )
        self._task = self._progress.add_task(f"{self._indent}Waiting", total=None, numbers="")

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, update: Update) -> None:
        self._measures.absorb(update.events)
        for event in update.events:
            if event["type"] == "message" and not (self._quiet and event["level"] == "info"):
                text = event_text(event, written=clock, indent=self._indent)
                self._progress.console.print(text, soft_wrap=True)
        description = self._indent + phase(update.job, self._measures)
        told = numbers(update.job, self._measures, now=time.time())
        # Room is left at the line's end: the `^C` that a terminal echoes there must not break the line in two.
        room = self._progress.console.width - len(description) - len(told) - 6
        self._bar.bar_width = max(BAR_COLUMNS_MIN, min(BAR_COLUMNS_MAX, room))
        self._progress.update(
            self._task,
            description=description,
            completed=self._measures.step,
            total=self._measures.total_steps,
            numbers=told,
        )


class Lines:
    """Every event on a line of its own."""

    def __init__(self, console: Console, *, quiet: bool, indent: int) -> None:
        self._console = console
        self._quiet = quiet
        self._indent = " " * indent

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, update: Update) -> None:
        for event in update.events:
            if event["type"] == "metrics" or event["level"] != "info" or not self._quiet:
                self._console.print(event_text(event, written=moment, indent=self._indent), soft_wrap=True)


class JsonLines:
    """Every event and at last the job, one JSON object a line, on standard output."""

    def __enter__(self) -> "JsonLines":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, update: Update) -> None:
        for event in update.events:
            print_json_line(event)


def view_on(console: Console, *, quiet: bool = False, indent: int = 0) -> View:
    """A bar on a terminal, lines elsewhere. `quiet` leaves out what is neither a number nor a warning."""
    return (Bar if console.is_terminal else Lines)(console, quiet=quiet, indent=indent)


def watch(client: Client, job_id: str, view: View, *, timeout_seconds: float | None = None) -> Job:
    """Show a job until it has ended, and give its last state. Raises TimedOut."""
    job: Job | None = None
    with view:
        for update in client.jobs.follow(job_id, timeout_seconds=timeout_seconds):
            view.show(update)
            job = update.job
    assert job is not None, "a followed job has at least one state"
    return job


def conclude(job: Job, *, as_json: bool) -> None:
    """Say how the job ended; its model is the data. Raises Exit when it did not succeed."""
    if as_json:
        print_json_line(job)
    elif job["status"] == "succeeded" and job["fine_tuned_model"] is not None:
        err.say(succeeded_line(job))
        typer.echo(job["fine_tuned_model"])
    elif job["error"]:
        err.fail(f"{job['id']} failed: {job['error']['message']} ({job['error']['code']})")
    else:
        err.fail(f"{job['id']} was {job['status']}.")
    if job["status"] != "succeeded":
        raise typer.Exit(Exit.JOB_FAILED)


def succeeded_line(job: Job) -> str:
    assert job["finished_at"] is not None
    taken = duration(job["finished_at"] - job["created_at"])
    return f"{job['id']} succeeded in {taken} with {job['trained_tokens']:,} trained tokens."


def phase(job: Job, measures: Measures) -> str:
    """What the job is at, in a word or two."""
    if job.get("paused"):
        return "Paused"
    if job["status"] == "running":
        return "Training" if measures.step else "Starting"
    return {
        "validating_files": "Reading the files",
        "queued": "Waiting for a device",
        "succeeded": "Trained",
        "failed": "Failed",
        "cancelled": "Cancelled",
    }[job["status"]]


def numbers(job: Job, measures: Measures, *, now: float) -> str:
    """`12/24  loss 0.52  valid 0.61  1,240 tokens/s  0:08 left`, without what is not known."""
    parts: list[str] = []
    if measures.total_steps is not None:
        parts.append(f"{measures.step}/{measures.total_steps}")
    if measures.train_loss is not None:
        parts.append(f"loss {measures.train_loss:.2f}")
    if measures.valid_loss is not None:
        parts.append(f"valid {measures.valid_loss:.2f}")
    if measures.tokens_per_second is not None:
        parts.append(f"{measures.tokens_per_second:,.0f} tokens/s")
    if job["estimated_finish"] is not None:
        parts.append(f"{duration(job['estimated_finish'] - now)} left")
    return "  ".join(parts)


def event_text(event: Event, *, written: Callable[[int], str], indent: str) -> Text:
    """`written` writes its time."""
    message = f"{indent}{written(event['created_at'])}  {printable(event['message'])}"
    return Text(message, style=LEVEL_STYLES[event["level"]])
