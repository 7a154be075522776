"""Pages stay inside a project, whatever a client names as the place to go on from."""

from tests.factories import add_file, add_project
from tunery.store import files
from tunery.store.database import Connection, Database


def test_anchor_of_another_project_gives_an_empty_page(database: Database) -> None:
    def change(connection: Connection) -> None:
        mine, other = add_project(connection), add_project(connection)
        first, second = (add_file(connection, mine)["id"] for _ in range(2))
        foreign = add_file(connection, other)["id"]
        seen = {
            after: [
                row["id"]
                for row in files.listing(
                    connection, project_id=mine, purpose=None, after=after, limit=10, ascending=False
                ).rows
            ]
            for after in (None, second, foreign)
        }
        assert seen == {None: [second, first], second: [first], foreign: []}

    database.write_now(change)


def test_walk_goes_on_behind_a_file_that_was_deleted_meanwhile(database: Database) -> None:
    def change(connection: Connection) -> None:
        project = add_project(connection)
        first, second = (add_file(connection, project)["id"] for _ in range(2))
        files.delete(connection, project_id=project, file_id=second, at=1)
        page = files.listing(connection, project_id=project, purpose=None, after=second, limit=10, ascending=False)
        assert [row["id"] for row in page.rows] == [first]

    database.write_now(change)
