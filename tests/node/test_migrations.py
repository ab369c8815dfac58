"""From nothing to the declared tables and back, all steps or none."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import event

from market.errors import Conflict
from market.units import Timestamp
from node.adapters import sqlite
from node.adapters.rows import body_of, shape_of
from node.adapters.sqlite import Connection
from node.adapters.storage import open_storage
from node.adapters.tables import Row
from node.migrations import FOLDER, HEAD, REVISIONS, migrate, steps
from node.records import LogChunk, LogHead, Mark


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Connection]:
    connection = sqlite.open_writer(tmp_path / "node.db")
    yield connection
    connection.close()


def tables(database: Connection) -> set[str]:
    names = database.rows("SELECT name FROM sqlite_master WHERE type = 'table'", {})
    return {name for (name,) in names if not name.startswith("sqlite_")}


def test_a_fresh_database_comes_to_the_declared_tables(database: Connection) -> None:
    migrate("", lambda: sqlite.engine_over(database), "node.db")

    assert tables(database) == {*Row.metadata.tables, "alembic_version"}
    assert sqlite.revision_of(database) == HEAD
    steps.check(sqlite.engine_over(database), "node.db")


def test_every_step_can_be_taken_back(database: Connection) -> None:
    engine = sqlite.engine_over(database)
    steps.upgrade(engine, "node.db")

    for revision in ("base", "head", "base"):
        (steps.upgrade if revision == "head" else steps.downgrade)(engine, "node.db", revision)

    assert tables(database) == {"alembic_version"}
    assert sqlite.revision_of(database) == ""


def test_jobs_of_before_belong_to_no_service(database: Connection) -> None:
    engine = sqlite.engine_over(database)
    steps.upgrade(engine, "node.db", "0001")
    database.rows("INSERT INTO job VALUES ('user_1', 'pending', '', 0, 0, 'job_1', 7, '{}')", {})

    steps.upgrade(engine, "node.db")

    assert database.rows("SELECT id, created, service FROM job", {}) == [("job_1", 7, "")]


def test_a_step_that_fails_leaves_the_database_as_it_was(database: Connection) -> None:
    engine = sqlite.engine_over(database)

    @event.listens_for(engine, "before_cursor_execute")
    def fail(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if "CREATE TABLE withdrawal" in statement:
            raise InterruptedError("power cut")

    with pytest.raises(InterruptedError):
        steps.upgrade(engine, "node.db")

    assert tables(database) == set()


def test_a_database_of_a_newer_program_is_refused() -> None:
    with pytest.raises(Conflict, match="schema 9999, newer than this program knows"):
        migrate("9999", _never, "node.db")


def test_a_database_at_head_is_left_alone() -> None:
    migrate(HEAD, _never, "node.db")


def test_logs_that_were_counted_by_marks_get_their_heads(tmp_path: Path) -> None:
    file = tmp_path / "node.db"
    connection = sqlite.open_writer(file)
    engine = sqlite.engine_over(connection)
    steps.upgrade(engine, "node.db")
    steps.downgrade(engine, "node.db", "0003")
    chunk = LogChunk(id="lse_1:0", lease="lse_1", first=0, count=2, body=b'[[5,"stdout","a"],[9,"stderr","b"]]')
    row = {**shape_of(LogChunk).columns(chunk), "body": body_of(chunk)}
    connection.rows(
        "INSERT INTO log_chunk (id, created, lease, first, body) VALUES (:id, :created, :lease, :first, :body)", row
    )
    for mark in (Mark(id="logs:lse_1", value="2"), Mark(id="log-bytes:lse_1", value="35"), Mark(id="chain", value="7")):
        connection.rows(
            "INSERT INTO mark (id, created, body) VALUES (:id, 0, :body)", {"id": mark.id, "body": body_of(mark)}
        )
    connection.close()

    async def heads() -> list[LogHead]:
        async with open_storage(file) as storage:
            return storage.find(LogHead)

    assert asyncio.run(heads()) == [
        LogHead(id="lse_1", kind="batch", next=2, size=35, oldest=Timestamp(5), newest=Timestamp(9))
    ]


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
