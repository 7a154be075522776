"""Where output goes: data to standard output, messages to standard error; tables for people, JSON for programs.

Colours are rich's: they are left out where NO_COLOR is set or nobody looks.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunery.cli.formats import printable

# Tables are never narrower than their contents: an id or a name that was folded could not be copied.
TABLE_COLUMNS_MAX = 10_000
PROSE_COLUMNS_MIN = 24
STATUS_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
    "paused": "yellow",
    "running": "cyan",
}


class Messages:
    """Sentences for the person at the terminal, on standard error."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

    def say(self, text: str, *, style: str = "") -> None:
        self.console.print(Text(printable(text), style=style))

    def fail(self, text: str) -> None:
        self.console.print(Text("Error: ", style="bold red").append(printable(text), style="not bold default"))


err = Messages()


def print_json(value: Any) -> None:
    """One JSON value, indented."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_json_line(value: Any) -> None:
    """One JSON value on one line, at once: for streams of values."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, right: Sequence[str] = (), prose: str | None = None
) -> None:
    """Rows under headings. Columns named in `right` hold numbers; the one named `prose` may be broken into lines."""
    table = table_of(columns, rows, right=right, prose=prose)
    typer.echo("\n".join(lines_of(table, Console(highlight=False), folded=prose is not None)))


def table_of(
    columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, right: Sequence[str] = (), prose: str | None = None
) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    cells = [[_cell(value) for value in row] for row in rows]
    for position, column in enumerate(columns):
        widest = max([len(column), *(row[position].cell_len for row in cells)])
        table.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=column != prose,
            min_width=min(widest, PROSE_COLUMNS_MIN) if column == prose else widest,
        )
    for row in cells:
        table.add_row(*row)
    return table


def lines_of(table: Table, console: Console, *, folded: bool = False) -> list[str]:
    """The table in the console's colours, without regard to its width unless prose is to be `folded` for a reader."""
    inner = Console(stderr=console.stderr, highlight=False)
    if not (folded and inner.is_terminal):
        inner.width = TABLE_COLUMNS_MAX
    with inner.capture() as captured:
        inner.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]


def print_facts(facts: Mapping[str, str | Text | None]) -> None:
    """Names and values, one a line; what is None is left out."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in facts.items():
        if value is not None:
            table.add_row(name, _cell(value))
    typer.echo("\n".join(lines_of(table, Console(highlight=False))))


def status_text(status: str) -> Text:
    return Text(status, style=STATUS_STYLES.get(status, ""))


def _cell(value: str | Text) -> Text:
    return value if isinstance(value, Text) else Text(printable(value))
