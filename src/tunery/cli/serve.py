"""`tunery serve`: everything in one command."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from tunery import observability, settings
from tunery.cli.supervisor import supervise
from tunery.errors import StartError
from tunery.settings import Settings

out = Console(stderr=True, highlight=False)


def serve(
    data_dir: Annotated[Path | None, typer.Option(help="Database, files and weights.", show_default=False)] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.", show_default=False)] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda:N or mps.", show_default=False)] = None,
    default_model: Annotated[str | None, typer.Option(help="Base model kept warm.", show_default=False)] = None,
    database_url: Annotated[str | None, typer.Option(help="SQLAlchemy URL.", show_default=False)] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.", show_default=False)] = None,
) -> None:
    """Serve the API and train jobs on this machine until Ctrl-C."""
    flags = {
        "data_dir": data_dir,
        "host": host,
        "port": port,
        "device": device,
        "default_model": default_model,
        "database_url": database_url,
        "log_level": log_level,
    }
    try:
        config, _ = settings.load(flags)
        observability.configure(level=config.log_level, process="supervisor", json=config.log_json)
        asyncio.run(supervise(config, on_ready=lambda url: announce(config, url)))
    except StartError as error:
        out.print(Text("Cannot serve: ", style="red").append(str(error), style="not bold default"), soft_wrap=True)
        sys.exit(1)


async def announce(config: Settings, url: str) -> None:
    """Say where the server is and what to try."""
    lines = [
        f"Tunery serves on {url}/v1 with data in {config.data_dir.absolute()}",
        f"  OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY=none python your_script.py",
        f'  tunery --base-url {url} chat {config.default_model} "Hello!"',
        "Ctrl-C stops it.",
    ]
    out.print(Text("\n".join(lines)), soft_wrap=True)
