"""`tunery jobs`: create, list, get, cancel, pause, resume, events, checkpoints, follow."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from tunery import settings
from tunery.cli.files import send
from tunery.cli.formats import age, moment
from tunery.cli.options import After, AsJson, BaseUrl, Limit, command_group, connect
from tunery.cli.output import err, print_facts, print_json, print_table, status_text
from tunery.cli.progress import LEVEL_STYLES, JsonLines, conclude, view_on, watch
from tunery.client import Client
from tunery.client.objects import Checkpoint, Job

AUTO = "auto"
FILE_ID_PREFIX = "file-"
app = command_group("Create, watch and steer fine-tuning jobs.")
JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="Such as ftjob-abc123.")]
Timeout = Annotated[
    float | None, typer.Option("--timeout", min=0, metavar="SECONDS", help="Stop watching then.", show_default=False)
]


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise typer.BadParameter(f"{text!r} is no pair; write it like team=support.")
    return key, value


def _number(kind: type[int] | type[float]) -> Callable[[str], Any]:
    """Reads `auto`, which stands for the server's choice, or a number."""

    def read(text: str) -> Any:
        if text == AUTO:
            return None
        try:
            return kind(text)
        except ValueError:
            whole = "a whole number" if kind is int else "a number"
            raise typer.BadParameter(f"{text!r} is neither {whole} nor 'auto'.") from None

    return read


Metadata = Annotated[
    list[Any] | None,
    typer.Option("--metadata", parser=_pair, metavar="KEY=VALUE", help="May be repeated.", show_default=False),
]


@app.command()
def create(
    file: Annotated[str, typer.Option("--file", metavar="PATH|ID", help="Training rows: a JSONL file, or its id.")],
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Base or tuned model to start from.", show_default="the default model"),
    ] = None,
    validation: Annotated[
        str | None, typer.Option(metavar="PATH|ID", help="Held-out rows, measured on the way.", show_default=False)
    ] = None,
    suffix: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Part of the tuned model's name.", show_default=False)
    ] = None,
    epochs: Annotated[Any, typer.Option(parser=_number(int), metavar="N", help="Passes over the rows.")] = AUTO,
    batch_size: Annotated[Any, typer.Option(parser=_number(int), metavar="N", help="Rows in a step.")] = AUTO,
    learning_rate_multiplier: Annotated[
        Any, typer.Option(parser=_number(float), metavar="X", help="Scales the learning rate.")
    ] = AUTO,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Repeats a run.", show_default=False)] = None,
    metadata: Metadata = None,
    follow: Annotated[bool, typer.Option("--follow", help="Watch the job until it ends.")] = False,
    timeout: Timeout = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Create a job; prints its id, or with --follow the tuned model's name once it is there."""
    asked = {"n_epochs": epochs, "batch_size": batch_size, "learning_rate_multiplier": learning_rate_multiplier}
    sources = {"--file": file, "--validation": validation}
    for option, source in sources.items():
        check_source(source, option=option)
    with connect(base_url) as client:
        job = client.jobs.create(
            model=model or settings.load()[0].default_model,
            training_file=file_id_of(client, file),
            validation_file=None if validation is None else file_id_of(client, validation),
            suffix=suffix,
            seed=seed,
            hyperparameters={name: value for name, value in asked.items() if value is not None},
            metadata=dict(metadata) if metadata else None,
        )
        if follow:
            _follow(client, job["id"], timeout=timeout, as_json=as_json)
        elif as_json:
            print_json(job)
        else:
            err.say(f"Created a job; watch it with: tunery jobs follow {job['id']}")
            typer.echo(job["id"])


@app.command("list")
def list_jobs(
    limit: Limit = None,
    after: After = None,
    metadata: Metadata = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with connect(base_url) as client:
        page = client.jobs.list(limit=limit, after=after, metadata=dict(metadata) if metadata else None)
    if as_json:
        print_json(page)
        return
    print_job_table(page["data"])
    if page.get("has_more"):
        err.say(f"There are more: --after {page['data'][-1]['id']}", style="dim")


@app.command()
def get(job_id: JobId, base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Show one job."""
    with connect(base_url) as client:
        job = client.jobs.retrieve(job_id)
    if as_json:
        print_json(job)
    else:
        _print_job(job)


@app.command()
def cancel(job_id: JobId, base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Cancel a job for good."""
    with connect(base_url) as client:
        _print_changed(client.jobs.cancel(job_id), as_json=as_json)


@app.command()
def pause(job_id: JobId, base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Pause a job at its next step; nothing that it learned is lost."""
    with connect(base_url) as client:
        _print_changed(client.jobs.pause(job_id), as_json=as_json)


@app.command()
def resume(job_id: JobId, base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Let a paused job go on."""
    with connect(base_url) as client:
        _print_changed(client.jobs.resume(job_id), as_json=as_json)


@app.command()
def events(
    job_id: JobId, limit: Limit = None, after: After = None, base_url: BaseUrl = None, as_json: AsJson = False
) -> None:
    """List a job's newest events in the order in which they happened."""
    with connect(base_url) as client:
        page = client.jobs.events(job_id, limit=limit, after=after)
    if as_json:
        print_json(page)
        return
    rows = [
        (moment(event["created_at"]), Text(event["level"], style=LEVEL_STYLES[event["level"]]), event["message"])
        for event in reversed(page["data"])
    ]
    print_table(("TIME", "LEVEL", "MESSAGE"), rows)
    if page.get("has_more"):
        err.say(f"There are older ones: --after {page['data'][-1]['id']}", style="dim")


@app.command()
def checkpoints(
    job_id: JobId, limit: Limit = None, after: After = None, base_url: BaseUrl = None, as_json: AsJson = False
) -> None:
    """List a job's checkpoints, newest first; each is a model that can be used."""
    with connect(base_url) as client:
        page = client.jobs.checkpoints(job_id, limit=limit, after=after)
    if as_json:
        print_json(page)
        return
    now = time.time()
    rows = [_checkpoint_row(each, now=now) for each in page["data"]]
    print_table(("STEP", "LOSS", "VALID LOSS", "CREATED", "MODEL"), rows, right=("STEP", "LOSS", "VALID LOSS"))


@app.command()
def follow(job_id: JobId, timeout: Timeout = None, base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Watch a job until it ends; prints the tuned model's name, or with --json every event and then the job."""
    with connect(base_url) as client:
        _follow(client, job_id, timeout=timeout, as_json=as_json)


def check_source(source: str | None, *, option: str) -> None:
    """Raises BadParameter for what is neither a file nor the id of one, before anything is sent."""
    if source is None or source.startswith(FILE_ID_PREFIX) or Path(source).is_file():
        return
    raise typer.BadParameter(f"{source} is neither a file nor an id such as file-abc123.", param_hint=option)


def file_id_of(client: Client, source: str) -> str:
    """The id that was given, or that of the file just uploaded. A file on disk wins over an id of the same name."""
    path = Path(source)
    return send(client, path)["id"] if path.is_file() else source


def print_job_table(jobs: Sequence[Job]) -> None:
    now = time.time()
    rows = [
        (
            job["id"],
            status_text(status_of(job)),
            age(job["created_at"], now=now),
            job["model"],
            job["fine_tuned_model"] or "-",
        )
        for job in jobs
    ]
    print_table(("JOB", "STATUS", "CREATED", "MODEL", "TUNED MODEL"), rows)


def status_of(job: Job) -> str:
    """The status, with `paused` for what the wire shows as queued and paused."""
    return "paused" if job.get("paused") else job["status"]


def _follow(client: Client, job_id: str, *, timeout: float | None, as_json: bool) -> None:
    try:
        view = JsonLines() if as_json else view_on(err.console)
        job = watch(client, job_id, view, timeout_seconds=timeout)
    except KeyboardInterrupt:
        err.say(f"The job goes on. Watch it again: tunery jobs follow {job_id}")
        raise
    conclude(job, as_json=as_json)


def _print_changed(job: Job, *, as_json: bool) -> None:
    if as_json:
        print_json(job)
    else:
        print_job_table([job])


def _print_job(job: Job) -> None:
    error = job["error"]
    finish, tokens = job["estimated_finish"], job["trained_tokens"]
    print_facts(
        {
            "job": job["id"],
            "status": status_text(status_of(job)),
            "error": f"{error['message']} ({error['code']})" if error else None,
            "model": job["model"],
            "tuned model": job["fine_tuned_model"],
            "training file": job["training_file"],
            "validation file": job["validation_file"],
            "result files": ", ".join(job["result_files"]) or None,
            **{name.replace("_", " "): str(value) for name, value in job["hyperparameters"].items()},
            "seed": str(job["seed"]),
            "suffix": job["user_provided_suffix"],
            "metadata": ", ".join(f"{key}={value}" for key, value in (job["metadata"] or {}).items()) or None,
            "created": moment(job["created_at"]),
            "finished": None if job["finished_at"] is None else moment(job["finished_at"]),
            "expected end": None if finish is None else moment(finish),
            "trained tokens": None if tokens is None else f"{tokens:,}",
        }
    )


def _checkpoint_row(checkpoint: Checkpoint, *, now: float) -> tuple[str, ...]:
    metrics = checkpoint["metrics"]
    losses = [metrics.get("train_loss"), metrics.get("full_valid_loss", metrics.get("valid_loss"))]
    shown = ["-" if loss is None else f"{loss:.3f}" for loss in losses]
    created = age(checkpoint["created_at"], now=now)
    return (str(checkpoint["step_number"]), *shown, created, checkpoint["fine_tuned_model_checkpoint"])
