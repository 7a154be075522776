"""The API process: `python -m tunery.api`, started by `tunery serve` with its settings in the environment."""

import asyncio
import signal
import socket
import sys
import threading
from types import FrameType

import uvicorn

from tunery import observability, settings
from tunery.api import conformance
from tunery.api.app import build_app
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
    stopping = threading.Event()
    return Context(
        database=database,
        blobs=DiskBlobs(config.blobs_dir),
        engine=SocketEngines(EngineTable(database, stopping=stopping)),
        renderers=Renderers(),
        organization=config.organization,
        default_model=config.default_model,
        stopping=stopping,
        aliases=config.aliases | dict.fromkeys(conformance.MODELS if config.conformance else (), config.default_model),
    )


async def serve(config: Settings, listener: socket.socket) -> None:
    """Answer requests on the listening socket until a signal arrives or the parent is gone."""
    context = build_context(config)

    async def stop() -> None:
        await context.engine.close()
        context.database.close()

    hosts = settings.LOOPBACK_NAMES if config.is_loopback else None
    app = build_app(context, hosts=hosts, on_stop=stop)
    if config.conformance:
        app.router.routes[:0] = conformance.routes()
        await context.database.write(
            lambda connection: conformance.seed(connection, context.blobs, base_id=config.default_model)
        )
    server = Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACEFUL_SECONDS,
            lifespan="on",
        ),
        context.stopping,
    )
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _parent_gone, server)
    await server.serve(sockets=[listener])


class Server(uvicorn.Server):
    """Sets `stopping` as soon as it is to end: uvicorn itself then waits for requests in progress."""

    def __init__(self, config: uvicorn.Config, stopping: threading.Event) -> None:
        super().__init__(config)
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._stopping.set()
        super().handle_exit(sig, frame)

    def stop(self) -> None:
        self._stopping.set()
        self.should_exit = True


def _parent_gone(server: Server) -> None:
    """The supervisor holds our standard input open for as long as it lives."""
    server.stop()
    asyncio.get_running_loop().remove_reader(sys.stdin.fileno())


def main() -> None:
    config, _ = settings.load()
    observability.configure(level=config.log_level, process="api", json=config.log_json)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener = socket.socket(fileno=int(sys.argv[1]))
    asyncio.run(serve(config, listener))


if __name__ == "__main__":
    main()
