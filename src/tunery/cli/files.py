"""`tunery files`: upload, list, get, content, delete."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from tunery.cli.formats import age, moment, size
from tunery.cli.options import After, AsJson, BaseUrl, Limit, command_group, connect
from tunery.cli.output import err, print_facts, print_json, print_table
from tunery.client import Client
from tunery.client.objects import File

BAR_BYTES_MIN = 4_000_000
app = command_group("Upload, list, read and delete files.")
FileId = Annotated[str, typer.Argument(metavar="FILE_ID", help="Such as file-abc123.")]


@app.command()
def upload(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files to send.")],
    purpose: Annotated[str, typer.Option(metavar="TEXT", help="What the files are for.")] = "fine-tune",
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Upload files; prints each one's id."""
    with connect(base_url) as client:
        for path in paths:
            created = send(client, path, purpose=purpose)
            if as_json:
                print_json(created)
            else:
                typer.echo(created["id"])


@app.command("list")
def list_files(
    purpose: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only files of this purpose.", show_default=False)
    ] = None,
    limit: Limit = None,
    after: After = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List files, newest first."""
    with connect(base_url) as client:
        page = client.files.list(purpose=purpose, limit=limit, after=after)
    if as_json:
        print_json(page)
        return
    _print_table(page["data"])
    if page.get("has_more"):
        err.say(f"There are more: --after {page['data'][-1]['id']}", style="dim")


@app.command()
def get(file_id: FileId, base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Show one file's facts."""
    with connect(base_url) as client:
        file = client.files.retrieve(file_id)
    if as_json:
        print_json(file)
        return
    expires = file["expires_at"]
    print_facts(
        {
            "id": file["id"],
            "filename": file["filename"],
            "purpose": file["purpose"],
            "size": f"{size(file['bytes'])} ({file['bytes']} bytes)" if file["bytes"] >= 1000 else size(file["bytes"]),
            "created": moment(file["created_at"]),
            "expires": None if expires is None else moment(expires),
        }
    )


@app.command()
def content(
    file_id: FileId,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PATH", help="Write to this file instead.", show_default=False),
    ] = None,
    base_url: BaseUrl = None,
) -> None:
    """Print a file's content; a result file comes as CSV."""
    with connect(base_url) as client:
        chunks = client.files.content(file_id)
        if output is None:
            for chunk in chunks:
                sys.stdout.buffer.write(chunk)
            sys.stdout.flush()
            return
        first = next(chunks, b"")
        with output.open("wb") as file:
            file.write(first)
            for chunk in chunks:
                file.write(chunk)
    err.say(f"Wrote {output}, {size(output.stat().st_size)}.")


@app.command()
def delete(
    file_ids: Annotated[list[str], typer.Argument(metavar="FILE_ID...", help="Files to delete.")],
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Delete files; their bytes are gone at once."""
    with connect(base_url) as client:
        for file_id in file_ids:
            deleted = client.files.delete(file_id)
            if as_json:
                print_json(deleted)
            else:
                err.say(f"Deleted {file_id}.")


def send(client: Client, path: Path, *, purpose: str = "fine-tune") -> File:
    """Upload with a bar for what takes a while, and say what was sent."""
    file_bytes = path.stat().st_size
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=err.console,
        transient=True,
        disable=file_bytes < BAR_BYTES_MIN or not err.console.is_terminal,
    )
    with bar:
        task = bar.add_task(f"Uploading {path.name}", total=file_bytes)
        created = client.files.upload(
            path, purpose=purpose, on_progress=lambda sent: bar.update(task, completed=min(sent, file_bytes))
        )
    err.say(f"Uploaded {path}, {size(file_bytes)}, as {created['id']}.")
    return created


def _print_table(files: Sequence[File]) -> None:
    now = time.time()
    rows = [
        (file["id"], file["purpose"], size(file["bytes"]), age(file["created_at"], now=now), file["filename"])
        for file in files
    ]
    print_table(("ID", "PURPOSE", "SIZE", "CREATED", "FILENAME"), rows, right=("SIZE",))
