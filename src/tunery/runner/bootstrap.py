"""Make a data folder ready to serve: `python -m tunery.runner.bootstrap`, before any other process starts.

Upgrades the schema, enters the default project and the starter model. A process of its own, so that what it loads is
given back before the server runs.
"""

import dataclasses
import sys
import time

from sqlalchemy import Connection

from tunery import settings, starter
from tunery.errors import StartError
from tunery.runner.bases import STARTER, folders_in, inspect
from tunery.settings import Settings
from tunery.store import models
from tunery.store.database import Database
from tunery.store.upgrade import upgrade


def bootstrap(config: Settings) -> None:
    """Raises StartError with what stands in the way."""
    config.data_dir.mkdir(parents=True, exist_ok=True)
    database = Database(config.resolved_database_url)
    upgrade(database)
    found = {folder.name: inspect(folder, source="folder") for folder in folders_in(config.bases_dir)}
    found[STARTER] = inspect(starter.FOLDER, source="packaged")

    def enter(connection: Connection) -> None:
        models.ensure_project(connection, organization=config.organization, at=int(time.time()))
        for base_id, facts in found.items():
            known = models.base(connection, base_id)
            since = known["created_at"] if known else int(time.time())
            models.put_base(connection, base_id, created_at=since, **dataclasses.asdict(facts))
        if models.base(connection, config.default_model) is None:
            raise StartError(
                f"The default model '{config.default_model}' is not known here. Known: "
                + ", ".join(row["id"] for row in models.all_bases(connection))
            )

    database.write_now(enter)
    database.close()


if __name__ == "__main__":
    try:
        bootstrap(settings.load()[0])
    except StartError as error:
        sys.exit(str(error))
