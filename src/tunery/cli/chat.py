"""`tunery chat`: one answer, or a conversation."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from tunery.cli import failures
from tunery.cli.formats import printable
from tunery.cli.options import AsJson, BaseUrl, connect
from tunery.cli.output import err, print_json
from tunery.client import ApiFailure, Client
from tunery.client.objects import Message

with contextlib.suppress(ImportError):
    # Its import alone gives input() a history and line editing; not every platform has it.
    import readline  # noqa: F401

FROM_STDIN = "-"


def chat(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A base model, a tuned model or a checkpoint.")],
    prompt: Annotated[
        str | None,
        typer.Argument(metavar="PROMPT", help="What to say; without it a conversation begins, - reads standard input."),
    ] = None,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Instructions before the conversation.", show_default=False)
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0, max=2, metavar="X", help="0 gives the most likely answer, more varies it.")
    ] = 0.0,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Longest answer.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Repeats a varied answer.", show_default=False)] = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Talk with a model."""
    given: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    options = {name: value for name, value in given.items() if value is not None}
    if prompt == FROM_STDIN or (prompt is None and not sys.stdin.isatty()):
        prompt = sys.stdin.read().rstrip("\n")
    if prompt is None and as_json:
        raise typer.BadParameter("A conversation is for people; give a prompt with --json.", param_hint="PROMPT")
    if prompt is not None and not prompt.strip():
        raise typer.BadParameter("The prompt is empty.", param_hint="PROMPT")
    begun: list[Message] = [{"role": "system", "content": system}] if system else []
    with connect(base_url) as client:
        if prompt is None:
            converse(client, model, begun, options)
            return
        messages: list[Message] = [*begun, {"role": "user", "content": prompt}]
        if as_json:
            print_json(client.chat.create(model, messages, **options))
        else:
            write_answer(client.chat.stream_text(model, messages, **options))


def converse(client: Client, model: str, messages: list[Message], options: dict[str, Any]) -> None:
    """Read a line, answer it, until the end of input. Ctrl-C stops an answer; at the prompt it ends the command."""
    client.models.retrieve(model)
    err.say(f"Talking with {model}. Ctrl-D ends.", style="dim")
    while (line := _read_line()) is not None:
        if not line.strip():
            continue
        asked: list[Message] = [*messages, {"role": "user", "content": line}]
        try:
            answer = write_answer(client.chat.stream_text(model, asked, **options))
        except KeyboardInterrupt:
            typer.echo()
            err.say("Stopped; the question is forgotten.", style="dim")
        except ApiFailure as failure:
            failures.report(failure)
        else:
            messages = [*asked, {"role": "assistant", "content": answer}]


def write_answer(pieces: Iterator[str]) -> str:
    """Show the answer as it grows; the whole of it comes back."""
    answer = ""
    safe = sys.stdout.isatty()
    for piece in pieces:
        answer += piece
        sys.stdout.write(printable(piece) if safe else piece)
        sys.stdout.flush()
    typer.echo()
    return answer


def _read_line() -> str | None:
    try:
        return input("> ")
    except EOFError:
        typer.echo()
        return None
