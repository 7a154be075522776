"""What went wrong, said in one or two lines with the way out, and the exit status that goes with it."""

from typing import Any

import typer

from tunery.cli.exits import Exit
from tunery.cli.output import err
from tunery.client import ApiFailure, ClientError, TimedOut
from tunery.errors import StartError

# Typer carries its own copy of click in new versions; its errors are reached through the one class it exports.
UsageProblem: type[Exception] = typer.BadParameter.__mro__[2]
EXPECTED = (ClientError, StartError, UsageProblem, typer.Abort, KeyboardInterrupt, OSError)
HINTS = {
    "fine_tune_not_found": "`tunery jobs list` shows the jobs.",
    "model_not_found": "`tunery models list` shows the models.",
    "model_not_available": "`tunery models list` shows the models.",
    "invalid_api_key": "Set the environment variable TUNERY_API_KEY to a valid key.",
}


def report(failure: BaseException) -> Exit:
    """Tell the failure on standard error and give its exit status."""
    if isinstance(failure, UsageProblem):
        _report_usage(failure)
        return Exit.USAGE
    if isinstance(failure, KeyboardInterrupt | typer.Abort):
        return Exit.INTERRUPTED
    err.fail(describe(failure))
    if hint := _hint(failure):
        err.say(hint)
    return status_of(failure)


def _report_usage(problem: Any) -> None:
    message = problem.format_message()
    if "\n" in message:
        # A group that was named without a command: the message is the group's help.
        problem.show()
        return
    err.fail(message)
    err.say(f"`{problem.ctx.command_path} --help` shows how it goes." if problem.ctx else "`tunery --help` helps.")


def describe(failure: BaseException) -> str:
    if isinstance(failure, OSError) and failure.strerror:
        return f"{failure.filename}: {failure.strerror}" if failure.filename else failure.strerror
    return str(failure)


def status_of(failure: BaseException) -> Exit:
    if isinstance(failure, ApiFailure) and failure.status in (401, 403, 404):
        return Exit.NOT_FOUND_OR_AUTH
    return Exit.TIMEOUT if isinstance(failure, TimedOut) else Exit.FAILURE


def _hint(failure: BaseException) -> str | None:
    if not isinstance(failure, ApiFailure):
        return None
    if failure.status == 401:
        return HINTS["invalid_api_key"]
    if failure.message.startswith("No such File object"):
        return "`tunery files list` shows the files."
    return HINTS.get(failure.code or "")
