"""The runner process: `python -m tunery.runner`, started by `tunery serve` with its settings in the environment."""

import asyncio
import signal
import sys

from tunery import observability, settings
from tunery.blobs.disk import DiskBlobs
from tunery.runner.worker import Runner, install_signals
from tunery.settings import Settings
from tunery.store.database import Database


async def run(config: Settings) -> None:
    """Work until SIGTERM, or until the supervisor is gone."""
    database = Database(config.resolved_database_url)
    runner = Runner(
        config,
        database,
        DiskBlobs(config.blobs_dir),
        device=config.device,
        dtype="bfloat16" if config.device.startswith("cuda") else "float32",
        host_module=config.host_module,
    )
    install_signals(runner)
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _parent_gone, runner)
    await runner.run()
    database.close()


def _parent_gone(runner: Runner) -> None:
    """The supervisor holds our standard input open for as long as it lives."""
    runner.stop()
    asyncio.get_running_loop().remove_reader(sys.stdin.fileno())


def main() -> None:
    config, _ = settings.load()
    observability.configure(level=config.log_level, process="runner", json=config.log_json)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(run(config))


if __name__ == "__main__":
    main()
