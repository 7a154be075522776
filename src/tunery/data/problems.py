"""What is wrong with a file: every problem with its place, cause and mend, and the one line that a failed job shows.

The wording of `Problem.message` and of the job error follows what users of OpenAI's API have captured; where no
capture exists the text keeps that style.
"""

from collections import Counter
from typing import Literal

from msgspec import Struct, field

from tunery.data.formats import FORMAT_NAMES, METHOD_OF_KIND, Kind
from tunery.data.turns import RenderingError

Role = Literal["training", "validation"]

EXAMPLES_MIN = 10

_FORMAT_CODES = frozenset(
    {
        "blank_line",
        "duplicate_key",
        "extra_key",
        "invalid_json",
        "invalid_utf8",
        "line_too_long",
        "lone_surrogate",
        "missing_key",
        "non_finite_number",
        "not_a_dictionary",
        "special_token",
        "too_deep",
    }
)
"""Problems of the file's form; those of what the rows say have a job error code of their own."""


class Problem(Struct, frozen=True):
    line: int | None
    """1-based position in the file; None for a problem of the whole file."""
    pointer: str
    """RFC 6901 JSON pointer into the line's object; empty for the line as a whole."""
    code: str
    message: str
    """One line in the style of job errors, such as: Example 1 is missing key 'messages'."""
    mend: str
    """What to do about it."""


class JobError(Struct, frozen=True):
    """`error` of a failed job."""

    code: str
    message: str
    param: str


class FileReport(Struct):
    """All that validation found. `problems` holds the first ones in full, in the file's order; `counts` counts all."""

    kind: Kind | None = None
    """Of the file's first readable row."""
    n_examples: int = 0
    """Lines that are not blank."""
    n_bytes: int = 0
    problems: list[Problem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """Problem code to the number of such problems."""

    @property
    def is_valid(self) -> bool:
        return not self.counts

    def job_error(self, *, file_id: str, method: str = "supervised", role: Role = "training") -> JobError | None:
        """The first problem as the job's error, or None for a valid file."""
        if not self.problems:
            return None
        first = self.problems[0]
        param = f"{role}_file"
        if first.code == "too_few_examples":
            return JobError("invalid_n_examples", f"{role.capitalize()} {first.message}", param)
        detail = first.message
        if first.code == "wrong_method":
            assert self.kind is not None
            detail = wrong_method_message(self.kind, file_id=file_id, method=method)
        if first.code in _FORMAT_CODES:
            head = f"The job failed due to a file format error in the {role} file. Invalid file format."
            return JobError("invalid_file_format", f"{head} {detail}", param)
        head = f"The job failed due to an invalid {role} file. Invalid file format."
        return JobError(f"invalid_{role}_file", f"{head} {detail}", param)


def wrong_method_message(kind: Kind, *, file_id: str, method: str) -> str:
    """The recorded text; its last character is a blank."""
    return (
        f"Input file {file_id} is in the {FORMAT_NAMES[kind]} format, but the specified fine-tuning job is not using "
        f"'{METHOD_OF_KIND[kind]}' as the training method (provided method={method}). "
    )


def rendering_problem(error: RenderingError, *, line: int) -> Problem:
    """What the renderer refuses, as a problem of the line that it was given."""
    index = error.message_index
    where = pointer() if index is None else pointer("messages", index)
    if error.code == "special_token":
        message = f"Example {line} {'message ' if index is not None else ''}{error.reason}."
    else:
        message = (
            f"Example {line} {error.reason}" if index is None else f"Example {line}, message {index + 1} {error.reason}"
        )
    return Problem(line, where, error.code, message, error.mend)


def pointer(*steps: str | int) -> str:
    """RFC 6901: the steps from the line's object to a value in it."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)
