"""The `tunery` command: finds the command group that was named, runs it, and turns failures into exit codes.

Groups are imported when they are named, so that `tunery files list` never waits for the parts of `tunery serve`.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup

from tunery import __version__
from tunery.cli import failures
from tunery.cli.exits import Exit


class Group(NamedTuple):
    """Where a command group stands: `attribute` of the module tunery.cli.<name> is a Typer app or a function."""

    attribute: str
    help: str


GROUPS = {
    "demo": Group("demo", "Tune the starter model on a sample, from upload to chat, in under a minute."),
    "serve": Group("serve", "Serve the API and train jobs on this machine."),
    "files": Group("app", "Upload, list, read and delete files."),
    "jobs": Group("app", "Create, watch and steer fine-tuning jobs."),
    "models": Group("app", "List and delete models."),
    "chat": Group("chat", "Talk with a model."),
    "keys": Group("app", "Create, list and revoke API keys."),
    "config": Group("config", "Show every setting, its value and where it comes from."),
}


class LazyGroups(TyperGroup):
    """The groups of GROUPS, each imported on first use."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(GROUPS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in GROUPS:
            return None
        part = getattr(importlib.import_module(f"tunery.cli.{cmd_name}"), GROUPS[cmd_name].attribute)
        if isinstance(part, typer.Typer):
            return typer.main.get_command(part)
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(cmd_name)(part)
        return typer.main.get_command(alone)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, group.help) for name, group in GROUPS.items()])


app = typer.Typer(cls=LazyGroups, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def tunery(
    base_url: str = typer.Option(
        "", envvar="TUNERY_BASE_URL", metavar="URL", help="The server to call.", show_default="the local one"
    ),
    as_json: bool = typer.Option(False, "--json", help="Print JSON, for programs."),
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Print the version."),
) -> None:
    """Fine-tune models on this machine behind OpenAI's own API."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point, with the process's arguments by default. Ends the process with one of `Exit`."""
    try:
        status = app(arguments, standalone_mode=False, prog_name="tunery")
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python must not fail again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = Exit.FAILURE
    except failures.EXPECTED as failure:
        status = failures.report(failure)
    sys.exit(status)
