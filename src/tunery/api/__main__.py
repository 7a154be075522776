"""The API process: `python -m tunery.api`, started by `tunery serve` with its settings in the environment."""

import asyncio
import signal
import socket
import sys

import uvicorn

from tunery import observability, settings
from tunery.api.app import build_app
from tunery.api.guard import LOOPBACK_NAMES
from tunery.blobs.disk import DiskBlobs
from tunery.operations.access import Context
from tunery.operations.chat import EngineTable
from tunery.serving.engines import SocketEngines
from tunery.serving.renderers import Renderers
from tunery.settings import Settings
from tunery.store.database import Database

GRACEFUL_SECONDS = 20


def build_context(config: Settings) -> Context:
    database = Database(config.resolved_database_url)
    return Context(
        database=database,
        blobs=DiskBlobs(config.blobs_dir),
        engine=SocketEngines(EngineTable(database)),
        renderers=Renderers(),
        organization=config.organization,
        default_model=config.default_model,
    )


async def serve(config: Settings, listener: socket.socket) -> None:
    """Answer requests on the listening socket until a signal arrives or the parent is gone."""
    context = build_context(config)

    async def stop() -> None:
        await context.engine.close()
        context.database.close()

    hosts = LOOPBACK_NAMES if config.host in LOOPBACK_NAMES else None
    app = build_app(context, hosts=hosts, on_stop=stop)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACEFUL_SECONDS,
            lifespan="on",
        )
    )
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _parent_gone, server)
    await server.serve(sockets=[listener])


def _parent_gone(server: uvicorn.Server) -> None:
    """The supervisor holds our standard input open for as long as it lives."""
    server.should_exit = True
    asyncio.get_running_loop().remove_reader(sys.stdin.fileno())


def main() -> None:
    config, _ = settings.load()
    observability.configure(level=config.log_level, process="api", json=config.log_json)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener = socket.socket(fileno=int(sys.argv[1]))
    asyncio.run(serve(config, listener))


if __name__ == "__main__":
    main()
