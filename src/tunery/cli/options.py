"""Options that every command shares, and the server that they lead to.

`--base-url` and `--json` may stand before the command group or behind the command.
"""

import json
import os
from pathlib import Path
from typing import Annotated

import httpx
import typer

from tunery import settings
from tunery.client import Client

ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def _base_url(ctx: typer.Context, value: str | None) -> str | None:
    return value or ctx.find_root().params.get("base_url") or None


def _as_json(ctx: typer.Context, value: bool) -> bool:
    return value or bool(ctx.find_root().params.get("as_json"))


BaseUrl = Annotated[
    str | None,
    typer.Option("--base-url", callback=_base_url, metavar="URL", help="The server to call.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", callback=_as_json, help="Print JSON, for programs.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="At most so many.", show_default=False)]
After = Annotated[str | None, typer.Option("--after", metavar="ID", help="Begin behind this one.", show_default=False)]


def command_group(purpose: str) -> typer.Typer:
    """A group of commands; named without one, it shows its help."""
    return typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=purpose)


def connect(base_url: str | None) -> Client:
    """A client of the server that was named, else of this machine's. The key comes from TUNERY_API_KEY only."""
    return Client(_checked(base_url) if base_url else local_base_url(), api_key=settings.api_key())


def local_base_url() -> str:
    """The server that runs on the configured data folder, else the configured address. Raises StartError."""
    config, _ = settings.load()
    running = running_url(config.run_dir)
    if running is not None:
        return f"{running}/v1"
    host = ANY_ADDRESS.get(config.host, config.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{config.port}/v1"


def running_url(run_dir: Path) -> str | None:
    """Where the server of a data folder answers; None when none runs there."""
    try:
        state = json.loads((run_dir / "server.json").read_text())
        os.kill(state["pid"], 0)
    except (OSError, ValueError):
        return None
    return state["url"]


def _checked(base_url: str) -> str:
    """A bare server address gets the API's usual prefix. Raises BadParameter for what is no HTTP address."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise typer.BadParameter(f"{base_url} is no address: {error}.", param_hint="--base-url") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise typer.BadParameter(
            f"{base_url} is no HTTP address; write it like http://127.0.0.1:8000.", param_hint="--base-url"
        )
    return f"{base_url.rstrip('/')}/v1" if url.path in ("", "/") else base_url
