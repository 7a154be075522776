"""Reading, writing and noticing change, the same on both databases."""

from tunery.store.database import Database


def test_smoke(database: Database) -> None:
    assert database.read_now(lambda connection: connection.exec_driver_sql("SELECT 1").scalar_one()) == 1
