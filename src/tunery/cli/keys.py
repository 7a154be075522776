"""`tunery keys`: create, list and revoke API keys in the data folder, whether or not a server runs on it."""

import time
from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from tunery import settings
from tunery.cli.formats import age
from tunery.cli.options import AsJson, command_group
from tunery.cli.output import err, print_json, print_table
from tunery.errors import StartError
from tunery.operations import keys
from tunery.store.database import Connection, Database

app = command_group("Create, list and revoke API keys.")
T = TypeVar("T")


@app.command()
def create(name: Annotated[str, typer.Argument(help="What the key is for.")], as_json: AsJson = False) -> None:
    """Make a key and show it once. From the first key on, every request must carry one."""
    secret = _in_database(lambda connection: keys.create(connection, name=name))
    if as_json:
        print_json({"name": name, "key": secret})
        return
    typer.echo(secret)
    err.say("This key is not shown again. From now on every request to this server needs a key.")


@app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List the keys, without their secrets."""
    rows = _in_database(keys.listing)
    if as_json:
        shown = ("id", "name", "last4", "created_at", "revoked_at")
        print_json([{name: row[name] for name in shown} for row in rows])
        return
    now = time.time()
    cells = []
    for row in rows:
        state = "revoked" if row["revoked_at"] else "live"
        cells.append((row["id"], row["name"], f"…{row['last4']}", age(row["created_at"], now=now), state))
    print_table(("KEY", "NAME", "ENDS WITH", "CREATED", "STATE"), cells)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(metavar="KEY", help="A key's id, from `tunery keys list`.")]) -> None:
    """End a key at once."""
    if not _in_database(lambda connection: keys.revoke(connection, key_id)):
        raise StartError(f"There is no live key {key_id}. `tunery keys list` shows them.")
    err.say(f"Revoked {key_id}.")


def _in_database(work: Callable[[Connection], T]) -> T:
    config, _ = settings.load()
    if config.database_url is None and not (config.data_dir / "tunery.db").exists():
        raise StartError(f"There is no data in {config.data_dir} yet. `tunery serve` makes it.")
    database = Database(config.resolved_database_url)
    try:
        return database.write_now(work)
    finally:
        database.close()
