"""Make a data folder ready to serve: `python -m tunery.runner.bootstrap`, before any other process starts.

Upgrades the schema, enters the default project and the starter model. A process of its own, so that what it loads is
given back before the server runs.
"""

import dataclasses
import sys
import time
from pathlib import Path

from tunery import ids, observability, settings, starter
from tunery.errors import StartError
from tunery.runner.bases import STARTER, inspect, inspect_all
from tunery.settings import Settings
from tunery.store import keys, models
from tunery.store.database import Connection, Database
from tunery.store.schema import DEFAULT_PROJECT
from tunery.store.upgrade import upgrade


def bootstrap(config: Settings) -> None:
    """Raises StartError with what stands in the way."""
    config.data_dir.mkdir(parents=True, exist_ok=True)
    database = Database(config.resolved_database_url)
    upgrade(database)
    found = inspect_all(config.bases_dir, needed=config.default_model)
    found[STARTER] = inspect(starter.FOLDER, source="packaged")

    def enter(connection: Connection) -> None:
        models.ensure_project(connection, organization=config.organization, at=int(time.time()))
        for base_id, facts in found.items():
            known = models.base(connection, base_id)
            since = known["created_at"] if known else int(time.time())
            models.put_base(connection, base_id, created_at=since, **dataclasses.asdict(facts))
        forget_lost(connection)
        if models.base(connection, config.default_model) is None:
            raise StartError(
                f"The default model '{config.default_model}' is not known here. Known: "
                + ", ".join(row["id"] for row in models.all_bases(connection))
            )

    database.write_now(enter)
    database.write_now(lambda connection: enter_keys(connection, config))
    database.close()


def forget_lost(connection: Connection) -> None:
    """Drop the bases whose folders are gone, but those that jobs or tuned models still name."""
    for base in models.all_bases(connection):
        if not Path(base["folder"]).is_dir():
            models.drop_base(connection, base["id"])


def enter_keys(connection: Connection, config: Settings) -> None:
    """Enter the file's new keys, and refuse to serve beyond this machine without any. A revoked key stays revoked."""
    if config.api_keys_file is not None:
        for secret in read_keys(config.api_keys_file):
            if not keys.known(connection, secret):
                about = {"id": ids.key(), "project_id": DEFAULT_PROJECT, "name": config.api_keys_file.name}
                keys.add(connection, secret=secret, created_at=int(time.time()), **about)
    if not (config.is_loopback or config.allow_open or keys.in_use(connection)):
        raise StartError(
            f"Listening on {config.host} without API keys would let everyone who reaches this machine use it. "
            "Make one with `tunery keys create NAME`, or set TUNERY_ALLOW_OPEN=true if a proxy asks for keys."
        )


def read_keys(path: Path) -> list[str]:
    """One key on each line; blank lines and those that begin with # do not count. Raises StartError."""
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"The file of API keys {path} cannot be read: {error}") from None
    return [line for line in lines if line and not line.startswith("#")]


if __name__ == "__main__":
    try:
        config, _ = settings.load()
        observability.configure(level=config.log_level, process="bootstrap", json=config.log_json)
        bootstrap(config)
    except StartError as error:
        sys.exit(str(error))
