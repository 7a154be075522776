"""Bring a database to this program's schema: `python -m tunery.store.upgrade URL`.

A process of its own, so that Alembic's memory is not kept by the server. Repeatable; one that was killed goes on
where it stopped; a database from a newer program is refused.
"""

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import make_url
from sqlalchemy.exc import DatabaseError, DBAPIError

from tunery.errors import DatabaseUnavailable, StartError
from tunery.store.database import Connection, Database


def configuration() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(database: Database) -> None:
    """Run every migration that the database lacks. Raises StartError for a newer or unreachable database."""
    try:
        database.write_now(_upgrade)
    except DatabaseUnavailable as error:
        cause = error.__cause__
        raise (_refusal(database, cause) if isinstance(cause, DBAPIError) else error) from None
    except DatabaseError as error:
        raise _refusal(database, error) from None


def _refusal(database: Database, error: DBAPIError) -> StartError:
    shown = make_url(database.url).render_as_string(hide_password=True)
    return StartError(f"The database {shown} cannot be opened: {error.orig}")


def _upgrade(connection: Connection) -> None:
    config = configuration()
    current = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise StartError(
            f"The database is at schema {current}, which this version of Tunery does not know. "
            "Install the newer version that wrote it, or restore a backup."
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


if __name__ == "__main__":
    database = Database(sys.argv[1])
    try:
        upgrade(database)
    except StartError as error:
        sys.exit(str(error))
    finally:
        database.close()
