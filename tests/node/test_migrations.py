"""From nothing to the declared tables and back, all steps or none, on each database."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from msgspec import Struct
from sqlalchemy import Engine, event, text

from market.errors import Conflict
from market.units import Timestamp
from node.adapters import postgres, sqlite
from node.adapters.postgres import Connection as PostgresConnection
from node.adapters.postgres_places import database_at
from node.adapters.rows import body_of, shape_of
from node.adapters.sqlite import Connection as SqliteConnection
from node.adapters.tables import Row
from node.migrations import FOLDER, HEAD, REVISIONS, migrate, steps
from node.records import LogChunk, LogHead, Mark


class Database(Struct):
    """An empty database of one kind; `engine` makes a new one over it."""

    connection: SqliteConnection | PostgresConnection
    engine: Callable[[], Engine]
    revision: Callable[[], str]
    catalog: str

    def tables(self) -> set[str]:
        return {name for (name,) in self.ask(self.catalog) if not name.startswith("sqlite_")}

    def ask(self, sql: str, **values: Any) -> list[Any]:
        with self.engine().begin() as connection:
            result = connection.execute(text(sql), values)
            return [tuple(row) for row in result] if result.returns_rows else []


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        connection = sqlite.open_writer(tmp_path / "node.db")
        catalog = "SELECT name FROM sqlite_master WHERE type = 'table'"
        yield Database(
            connection, lambda: sqlite.engine_over(connection), lambda: sqlite.revision_of(connection), catalog
        )
        connection.close()
        return
    with request.getfixturevalue("postgres").database("template0") as url:
        place = database_at(url)
        session = PostgresConnection(place)
        catalog = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        yield Database(session, lambda: postgres.engine_over(place), lambda: postgres.revision_of(session), catalog)
        session.close()


def test_a_fresh_database_comes_to_the_declared_tables(database: Database) -> None:
    migrate("", database.engine, "node.db")

    assert database.tables() == {*Row.metadata.tables, "alembic_version"}
    assert database.revision() == HEAD
    steps.check(database.engine(), "node.db")


def test_every_step_can_be_taken_back(database: Database) -> None:
    steps.upgrade(database.engine(), "node.db")

    for revision in ("base", "head", *reversed(REVISIONS[:-1]), *REVISIONS[1:], "base"):
        is_up = revision == "head" or (revision != "base" and revision > database.revision())
        (steps.upgrade if is_up else steps.downgrade)(database.engine(), "node.db", revision)

    assert database.tables() == {"alembic_version"}
    assert database.revision() == ""


def test_jobs_of_before_belong_to_no_service(database: Database) -> None:
    steps.upgrade(database.engine(), "node.db", "0001")
    database.ask("INSERT INTO job VALUES ('user_1', 'pending', '', 0, 0, 'job_1', 7, '{}')")

    steps.upgrade(database.engine(), "node.db")

    assert database.ask("SELECT id, created, service FROM job") == [("job_1", 7, "")]


def test_a_step_that_fails_leaves_the_database_as_it_was(database: Database) -> None:
    engine = database.engine()

    @event.listens_for(engine, "before_cursor_execute")
    def fail(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if "CREATE TABLE withdrawal" in statement:
            raise InterruptedError("power cut")

    with pytest.raises(InterruptedError):
        steps.upgrade(engine, "node.db")

    assert database.tables() == set()


def test_logs_that_were_counted_by_marks_get_their_heads(database: Database) -> None:
    steps.upgrade(database.engine(), "node.db", "0003")
    chunk = LogChunk(id="lse_1:0", lease="lse_1", first=0, count=2, body=b'[[5,"stdout","a"],[9,"stderr","b"]]')
    row = {**shape_of(LogChunk).columns(chunk), "body": body_of(chunk)}
    database.ask(
        "INSERT INTO log_chunk (id, created, lease, first, body) VALUES (:id, :created, :lease, :first, :body)", **row
    )
    for mark in (Mark(id="logs:lse_1", value="2"), Mark(id="log-bytes:lse_1", value="35"), Mark(id="chain", value="7")):
        database.ask("INSERT INTO mark (id, created, body) VALUES (:id, 0, :body)", id=mark.id, body=body_of(mark))

    steps.upgrade(database.engine(), "node.db")

    [(id, kind, oldest, newest, body)] = database.ask("SELECT id, kind, oldest, newest, body FROM log_head")
    expected = LogHead(id="lse_1", kind="batch", next=2, size=35, oldest=Timestamp(5), newest=Timestamp(9))
    assert (id, kind, oldest, newest) == ("lse_1", "batch", 5, 9)
    assert shape_of(LogHead).decode(id, body) == expected


def test_a_database_of_a_newer_program_is_refused() -> None:
    with pytest.raises(Conflict, match="schema 9999, newer than this program knows"):
        migrate("9999", _never, "node.db")


def test_a_database_at_head_is_left_alone() -> None:
    migrate(HEAD, _never, "node.db")


def _never() -> Any:
    raise AssertionError("nothing is to be done")


def test_the_files_name_the_revisions_that_alembic_finds() -> None:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    found = ScriptDirectory.from_config(config)

    assert found.get_heads() == [HEAD]
    assert tuple(script.revision for script in found.walk_revisions())[::-1] == REVISIONS


def test_opening_a_database_at_head_does_not_import_alembic(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom node.adapters.storage import open_storage\n"
        "async def main():\n    async with open_storage(Path(sys.argv[1])): print('alembic' in sys.modules)\n"
        "asyncio.run(main())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "node.db")]
    outputs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() for _ in range(2)]

    assert outputs == ["True", "False"]
