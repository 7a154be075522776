"""Commands to go on with, as a person types them into a shell in this folder: they work as they stand."""

import os
import shlex
import shutil
import socket
import sys
from pathlib import Path

from tunery import settings
from tunery.cli.options import local_base_url

SPARE_PORTS = range(8001, 8101)


def going_on(data_dir: Path, *, model: str, prompt: str, system: str | None) -> list[str]:
    """One command that serves a data folder, and one that talks with a model of it from another terminal."""
    config, _ = settings.load()
    ports = (config.port, *SPARE_PORTS) if config.port else SPARE_PORTS
    port = next((port for port in ports if _is_free(config.host, port)), config.port)
    program = shlex.quote(program_name())
    serve = f"{program} serve --data-dir {shlex.quote(str(data_dir))}"
    if port != config.port:
        serve += f" --port {port}"
    chat = f"{program} chat {model}"
    base_url = f"http://{config.host}:{port}/v1"
    if local_base_url() != base_url:
        chat += f" --base-url {base_url}"
    if system:
        chat += f" --system {quoted(system)}"
    return [serve, f"{chat} {quoted(prompt)}"]


def quoted(text: str) -> str:
    """The text as one word of a shell, in double quotes where they are enough."""
    return shlex.quote(text) if set(text) & set('$`"\\!\n') else f'"{text}"'


def program_name() -> str:
    """How this program is called from here: `tunery` where the shell finds it, else its path."""
    script = Path(sys.executable).parent / "tunery"
    found = shutil.which("tunery")
    if found is not None and script.exists() and os.path.samefile(found, script):
        return "tunery"
    relative = os.path.relpath(script)
    return str(script) if relative.startswith("..") else relative


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
