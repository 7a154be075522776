"""`tunery demo`: a tuned model in under a minute, through a real server, leaving everything to go on with."""

import json
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from tunery import settings
from tunery.cli.child import server, unwound_by_signals
from tunery.cli.formats import duration, printable, size
from tunery.cli.invocation import going_on, program_name
from tunery.cli.options import AsJson
from tunery.cli.output import err, lines_of, print_json, status_text, table_of
from tunery.cli.progress import conclude, view_on, watch
from tunery.client import Client, ClientError
from tunery.client.objects import Job, Message
from tunery.starter import SAMPLES

TRAINING_FILE = SAMPLES / "support.jsonl"
VALIDATION_FILE = SAMPLES / "support_valid.jsonl"
EPOCHS = 10
"""With ten, three seeds of three answered the question as the sample does; with the four of `auto` one did."""
SUFFIX = "support"
SEED = 7
ANSWER_TOKENS_MAX = 120


@dataclass(frozen=True)
class Question:
    """What both models are asked: the first row of the sample's validation file, which is not trained on."""

    messages: list[Message]
    expected: str

    @property
    def system(self) -> str | None:
        first = self.messages[0]
        return first["content"] if first["role"] == "system" else None

    @property
    def prompt(self) -> str:
        return self.messages[-1]["content"]


@dataclass(frozen=True)
class Outcome:
    """What the demo brought about."""

    question: Question
    job: Job
    model: str
    before: str
    after: str


def demo(
    data_dir: Annotated[Path, typer.Option(metavar="DIR", help="Where everything is kept.")] = Path("tunery-demo"),
    as_json: AsJson = False,
) -> None:
    """Tune the starter model on a packaged sample: a real server, a job, and the answers before and after."""
    stage = Stage(Console(stderr=as_json, highlight=False, markup=False))
    base = settings.load({"data_dir": data_dir})[0].default_model
    data_dir.mkdir(parents=True, exist_ok=True)
    log_path = data_dir / "server.log"
    try:
        with unwound_by_signals():
            outcome = play(stage, base, data_dir=data_dir, log_path=log_path)
    except KeyboardInterrupt:
        err.say(f"Stopped. What there is so far stays in {data_dir}.")
        raise
    except ClientError:
        err.say(f"The server's log, {log_path}, may say more.")
        raise
    question = outcome.question
    commands = going_on(data_dir, model=outcome.model, prompt=question.prompt, system=question.system)
    stage.end(commands, base=base, data_dir=data_dir)
    if as_json:
        print_json(
            {
                "data_dir": str(data_dir.absolute()),
                "prompt": question.prompt,
                "answer_before": outcome.before,
                "answer_after": outcome.after,
                "answer_in_sample": question.expected,
                "job": outcome.job,
                "commands": commands,
            }
        )


def play(stage: "Stage", base: str, *, data_dir: Path, log_path: Path) -> Outcome:
    """The demo from the server's start to its end. Raises Exit when the job does not succeed."""
    question = read_question(VALIDATION_FILE)
    stage.begin(f"Tunery demo; everything stays in {data_dir}")
    stage.step("A server")
    started = time.monotonic()
    with server(data_dir, log_path=log_path) as url, Client(f"{url}/v1", api_key=settings.api_key()) as client:
        stage.say(f"{url}/v1 after {time.monotonic() - started:.1f} s, log in {log_path}")
        before = stage.ask(client, base, question, title=f"What {base} answers")
        job = stage.train(client, base)
        model = job["fine_tuned_model"]
        if model is None:
            conclude(job, as_json=False)
        assert model is not None, "a job that succeeded has a model"
        after = stage.ask(client, model, question, title="What the tuned model answers")
        stage.say(f"The sample's own answer: {question.expected}", style="dim")
        stage.step("The job")
        stage.show_job(job)
    return Outcome(question=question, job=job, model=model, before=before, after=after)


class Stage:
    """What the demo shows, one numbered step after the other."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._steps = 0

    def begin(self, title: str) -> None:
        self._console.print(Text(title, style="bold"))

    def step(self, title: str) -> None:
        self._steps += 1
        self._console.print()
        self._console.print(Text(f"{self._steps}  ", style="cyan").append(printable(title), style="bold default"))

    def say(self, text: str, *, style: str = "") -> None:
        width = max(40, self._console.width - 4)
        for paragraph in printable(text).splitlines() or [""]:
            for line in textwrap.wrap(paragraph, width, break_long_words=False) or [""]:
                self._console.print(Text(f"   {line}", style=style), soft_wrap=True)

    def ask(self, client: Client, model: str, question: Question, *, title: str) -> str:
        """Show the question and the model's most likely answer."""
        self.step(title)
        self.say(f"> {question.prompt}", style="dim")
        pieces = client.chat.stream_text(model, question.messages, temperature=0, max_tokens=ANSWER_TOKENS_MAX)
        answer = "".join(pieces)
        self.say(answer.strip() or "(nothing)")
        return answer

    def train(self, client: Client, base: str) -> Job:
        """Upload the sample, create the job, show it until it ends. A demo that is stopped cancels its job."""
        self.step("A training file")
        uploaded = [client.files.upload(path) for path in (TRAINING_FILE, VALIDATION_FILE)]
        for path, file in zip((TRAINING_FILE, VALIDATION_FILE), uploaded, strict=True):
            rows = len(path.read_text(encoding="utf-8").splitlines())
            self.say(f"{path.name}, {rows} conversations, {size(file['bytes'])}: {file['id']}")
        self.step("A supervised fine-tuning job")
        job = client.jobs.create(
            model=base,
            training_file=uploaded[0]["id"],
            validation_file=uploaded[1]["id"],
            hyperparameters={"n_epochs": EPOCHS},
            suffix=SUFFIX,
            seed=SEED,
        )
        with _cancelled_when_stopped(client, job["id"]):
            self.say(f"{job['id']}, model name with the suffix '{SUFFIX}'")
            return watch(client, job["id"], view_on(self._console, quiet=True, indent=3))

    def show_job(self, job: Job) -> None:
        taken = duration(job["finished_at"] - job["created_at"]) if job["finished_at"] is not None else "-"
        row = (job["id"], status_text(job["status"]), job["model"], taken, f"{job['trained_tokens']:,}")
        columns = ("JOB", "STATUS", "MODEL", "TOOK", "TOKENS")
        for line in lines_of(table_of(columns, [row], right=("TOOK", "TOKENS")), self._console):
            self._console.file.write(f"   {line}\n")

    def end(self, commands: list[str], *, base: str, data_dir: Path) -> None:
        self._console.print()
        self._console.print(Text("Go on from here", style="bold"))
        for command in commands:
            self._console.print(Text(f"   {command}", style="green"), soft_wrap=True)
        self._console.print()
        bases = data_dir / "bases"
        self.say(
            f"{base} is small enough to train anywhere; it shows how things work and knows next to nothing. For real "
            f"work put a model's Hugging Face folder into {bases}, start the server again and name it: "
            f"{program_name()} jobs create --model FOLDER --file rows.jsonl --follow",
            style="dim",
        )


def read_question(path: Path) -> Question:
    """The conversation of the file's first row up to its last answer."""
    with path.open(encoding="utf-8") as lines:
        messages = json.loads(next(lines))["messages"]
    return Question(messages=messages[:-1], expected=messages[-1]["content"])


@contextmanager
def _cancelled_when_stopped(client: Client, job_id: str) -> Iterator[None]:
    """A job that nobody waits for any more would go on with the next server on the same folder."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        with suppress(ClientError):
            client.jobs.cancel(job_id)
        raise
