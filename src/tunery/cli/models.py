"""`tunery models`: list, get, delete."""

import time
from typing import Annotated

import typer

from tunery.cli.formats import age, moment
from tunery.cli.options import AsJson, BaseUrl, command_group, connect
from tunery.cli.output import err, print_facts, print_json, print_table

app = command_group("List and delete models.")


@app.command("list")
def list_models(base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """List base models, tuned models and checkpoints."""
    with connect(base_url) as client:
        page = client.models.list()
    if as_json:
        print_json(page)
        return
    now = time.time()
    rows = [(model["id"], model["owned_by"], age(model["created"], now=now)) for model in page["data"]]
    print_table(("MODEL", "OWNER", "CREATED"), rows)


@app.command()
def get(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name.")],
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show one model."""
    with connect(base_url) as client:
        found = client.models.retrieve(model)
    if as_json:
        print_json(found)
    else:
        print_facts({"model": found["id"], "owner": found["owned_by"], "created": moment(found["created"])})


@app.command()
def delete(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Tuned models to delete.")],
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Delete tuned models or checkpoints and their weights."""
    with connect(base_url) as client:
        for model in models:
            deleted = client.models.delete(model)
            if as_json:
                print_json(deleted)
            else:
                err.say(f"Deleted {model}.")
