"""What SQLite on disk must do beyond the port: durability, one owner, one schema, a full disk."""

import asyncio
import os
import random
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from msgspec import Struct

from market.errors import Conflict, NeugridError, Unavailable
from market.jobs import LIVE, Job, JobState
from node.adapters import sqlite
from node.adapters.rows import shape_of
from node.adapters.statements import values_of
from node.adapters.storage import SqlStorage, open_storage
from node.ports import Tx
from node.records import Balance, Entry, Mark
from tests.node.adapters.samples import a_job, a_mark, an_entry
from tests.node.adapters.writers import together

pytestmark = pytest.mark.anyio

WRITERS = """
import asyncio, sys
from pathlib import Path
from node.adapters.storage import open_storage
from node.records import Mark

async def write(storage, writer, start):
    number = start
    while True:
        mark = Mark(id=f"{start}-{writer}-{number}", value="x" * 500)
        await storage.write(lambda tx: tx.insert(mark))
        sys.stdout.write(mark.id + "\\n")
        sys.stdout.flush()
        number += 1

async def main(path, start):
    async with open_storage(path) as storage:
        await asyncio.gather(*(write(storage, writer, start) for writer in range(16)))

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "node.db"


def acknowledged(path: Path, start: int, enough: int) -> list[str]:
    """Let a child process write until `enough` writes are acknowledged, kill it, and return all it acknowledged."""
    child = subprocess.Popen([sys.executable, "-c", WRITERS, str(path), str(start)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child.stdout:
        try:
            ids = [child.stdout.readline().strip() for _ in range(enough)]
        finally:
            child.kill()
        ids += [line.strip() for line in child.stdout if line.endswith("\n")]
    child.wait()
    return ids


async def test_every_acknowledged_write_survives_kill_minus_nine(path: Path) -> None:
    acked: list[str] = []
    for start in range(3):
        acked += acknowledged(path, start, enough=random.randint(1, 400))

    async with open_storage(path) as storage:
        stored = {mark.id for mark in storage.find(Mark)}

    assert len(acked) >= 3
    assert set(acked) <= stored


async def test_reads_see_only_what_is_committed(path: Path) -> None:
    written, seen = Event(), Event()

    def work(tx: Tx) -> None:
        tx.put(a_mark())
        written.set()
        seen.wait(10)

    async with open_storage(path) as storage:
        writing = asyncio.ensure_future(storage.write(work))
        await asyncio.to_thread(written.wait, 10)
        before = storage.find(Mark)
        seen.set()
        await writing
        assert (before, storage.find(Mark)) == ([], [a_mark()])


async def test_many_writers_share_few_commits(path: Path) -> None:
    async with open_storage(path) as storage:
        await together(storage, *(lambda tx, n=n: tx.insert(a_mark(n)) for n in range(500)))  # type: ignore[misc]

        assert storage.count(Mark) == 500
        assert storage.commits <= 3, "that of the work before, and two of 256 at most"


async def test_closing_commits_what_waits(path: Path) -> None:
    async with open_storage(path) as storage:
        tasks = [asyncio.ensure_future(storage.write(lambda tx, n=n: tx.insert(a_mark(n)))) for n in range(50)]  # type: ignore[misc]
        await asyncio.sleep(0)

    await asyncio.gather(*tasks)
    async with open_storage(path) as storage:
        assert storage.count(Mark) == 50


async def test_a_write_whose_caller_gave_up_is_kept(path: Path) -> None:
    async with open_storage(path) as storage:
        task = asyncio.ensure_future(storage.write(lambda tx: tx.put(a_mark())))
        await asyncio.sleep(0)
        task.cancel()
    async with open_storage(path) as storage:
        assert storage.find(Mark) == [a_mark()]


async def test_the_settings_of_the_writer_are_durable(path: Path) -> None:
    writer = sqlite.open_writer(path)
    try:
        assert writer.rows("PRAGMA journal_mode", {}) == [("wal",)]
        assert writer.rows("PRAGMA synchronous", {}) == [(2,)]
    finally:
        writer.close()


async def test_the_database_is_its_owners_alone(path: Path) -> None:
    async with open_storage(path) as storage:
        await storage.write(lambda tx: tx.put(a_mark()))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}

    assert modes.keys() >= {"node.db", "node.db-wal", "node.db.lock"}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_second_node_is_refused_the_same_database(path: Path) -> None:
    async with open_storage(path):
        with pytest.raises(Conflict, match=f"in use by another node \\(process {os.getpid()}\\)"):
            await _open_and_close(path)

    await _open_and_close(path)


async def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database, " * 1000)

    with pytest.raises(Unavailable, match="not a database"):
        await _open_and_close(path)

    assert path.read_bytes().startswith(b"not a database")


async def test_a_body_that_can_not_be_read_is_an_error_of_ours(path: Path) -> None:
    async with open_storage(path) as storage:
        await storage.write(lambda tx: tx.put(a_mark()))
        with sqlite3.connect(path) as other:
            other.execute("UPDATE mark SET body = '{\"id\": 1}'")
        other.close()

        with pytest.raises(NeugridError, match="stored Mark m000001 can not be read"):
            storage.find(Mark)


async def test_a_database_that_another_program_locks_is_unavailable_and_works_again(path: Path) -> None:
    writer = sqlite.open_writer(path)
    writer.rows("PRAGMA busy_timeout=10", {})
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="another program has locked it"):
            writer.begin()
        writer.rollback()
        other.execute("ROLLBACK")
        writer.begin()
        writer.commit()
    finally:
        other.close()
        writer.close()


async def test_a_reader_that_met_a_lock_reads_again_when_it_is_gone(path: Path) -> None:
    sqlite.open_writer(path).close()
    reader, other = sqlite.open_reader(path), sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("CREATE TABLE t (x)")
        reader.rows("PRAGMA busy_timeout=10", {})
        with pytest.raises(Unavailable, match="another program has locked it"):
            reader.rows("SELECT * FROM t", {})
        other.close()
        assert reader.rows("SELECT * FROM t", {}) == []
    finally:
        other.close()
        reader.close()


# --- a full disk ---------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk can not be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def fill(storage: SqlStorage, acked: list[str]) -> None:
    """Write for as long as there is room, and note in `acked` what was acknowledged."""
    while True:
        mark = a_mark(len(acked), value="x" * 4000)
        await storage.write(lambda tx, mark=mark: tx.insert(mark))  # type: ignore[misc]
        acked.append(mark.id)


async def test_a_full_disk_loses_nothing_and_writes_go_on_when_there_is_room(small_disk: Path) -> None:
    filler, acked = small_disk / "filler", list[str]()
    async with open_storage(small_disk / "node.db") as storage:
        filler.write_bytes(bytes(1 << 20))
        with pytest.raises(Unavailable, match="the disk is full"):
            await fill(storage, acked)
        assert [mark.id for mark in storage.find(Mark)] == acked

        filler.unlink()
        more = a_mark(900_000)
        await storage.write(lambda tx: tx.put(more))
        assert storage.count(Mark) == len(acked) + 1 > 50

    async with open_storage(small_disk / "node.db") as storage:
        assert [mark.id for mark in storage.find(Mark)] == [*acked, more.id]


async def test_work_that_hides_a_full_disk_stores_nothing(small_disk: Path) -> None:
    def work(tx: Tx) -> None:
        tx.put(Mark(id="before", value=""))
        for number in range(2000):
            try:
                tx.put(a_mark(number, "x" * 4000))
            except Unavailable:
                continue
        tx.put(Mark(id="after", value=""))

    async with open_storage(small_disk / "node.db") as storage:
        storage._writer.rows("PRAGMA cache_size=10", {})  # so that pages reach the disk before the commit
        with pytest.raises(Unavailable, match="the disk is full"):
            await storage.write(work)
        assert storage.find(Mark) == []
        await storage.write(lambda tx: tx.put(a_mark(1)))
        assert storage.find(Mark) == [a_mark(1)]


# --- writes that wait for each other -------------------------------------------------------------------------------


def posting(number: int) -> Callable[[Tx], None]:
    """Work that writes to three tables, and to a row that all such work writes."""

    def work(tx: Tx) -> None:
        tx.insert(a_job(f"job_{number:06}"))
        tx.put(an_entry(f"job_{number:06}"))
        tx.put(a_mark(0, f"last is {number}"))

    return work


async def test_rows_of_many_works_for_one_table_are_one_statement(path: Path) -> None:
    said: list[str] = []
    async with open_storage(path) as storage:
        storage._writer.raw.set_trace_callback(said.append)
        results = await together(storage, *(posting(number) for number in range(64)))
        assert results == [None] * 64
        storage._writer.raw.set_trace_callback(None)
        assert [job.id for job in storage.find(Job)] == [f"job_{number:06}" for number in range(64)]
        assert [entry.subject for entry in storage.find(Entry)] == [f"job_{number:06}" for number in range(64)]
        assert storage.find(Mark) == [a_mark(0, "last is 63")]
    assert len([sql for sql in said if sql.startswith("INSERT")]) == 6
    assert not [sql for sql in said if "SAVEPOINT" in sql]


async def test_what_nobody_waited_for_fails_with_what_was_built_on_it_and_then_its_own_work_alone(path: Path) -> None:
    def twice(tx: Tx) -> None:
        tx.put(a_mark(1))
        tx.insert(a_mark(9))

    async with open_storage(path) as storage:
        await storage.write(lambda tx: tx.put(a_mark(9)))
        works = (lambda tx: tx.put(a_mark(2)), twice, lambda tx: tx.put(a_mark(3)))
        results = await together(storage, *works)
        assert {type(result) for result in results} == {Unavailable}
        assert "a write beside this one was refused" in str(results[2])
        assert storage.find(Mark) == [a_mark(9)]
        results = await together(storage, *works)
        assert [type(result) for result in results] == [type(None), Conflict, type(None)]
        assert storage.find(Mark) == [a_mark(2), a_mark(3), a_mark(9)]


async def test_work_that_hides_a_refused_write_stores_nothing(path: Path) -> None:
    def work(tx: Tx) -> None:
        tx.put(a_mark(1))
        tx.insert(a_mark(9))
        with suppress(Conflict):
            tx.find(Mark)
        tx.put(a_mark(2))

    async with open_storage(path) as storage:
        await storage.write(lambda tx: tx.put(a_mark(9)))
        results = await together(storage, work, lambda tx: tx.put(a_mark(3)))
        assert [type(result) for result in results] == [Conflict, type(None)]
        assert storage.find(Mark) == [a_mark(3), a_mark(9)]


async def test_values_that_no_column_takes_trouble_their_own_work_alone(path: Path) -> None:
    async with open_storage(path) as storage:
        results = await together(
            storage,
            lambda tx: tx.put(a_mark(1)),
            lambda tx: tx.put(a_job(deadline=2**63)),
            lambda tx: tx.delete(Mark, "\ud800"),
            lambda tx: tx.put(a_mark(2)),
        )
        assert [type(result) for result in results] == [type(None), OverflowError, UnicodeEncodeError, type(None)]
        assert storage.find(Mark) == [a_mark(1), a_mark(2)]


async def test_what_is_much_is_written_before_the_work_has_ended_and_undone_all_the_same(path: Path) -> None:
    def work(tx: Tx, *, fails: bool) -> None:
        for number in range(300):
            tx.put(a_mark(number, "x" * 8000))
        if fails:
            raise NeugridError("refused")

    async with open_storage(path) as storage:
        results = await together(
            storage, lambda tx: tx.put(a_mark(1000)), partial(work, fails=True), partial(work, fails=False)
        )
        assert [type(result) for result in results] == [type(None), NeugridError, type(None)]
        assert [mark.id for mark in storage.find(Mark)] == [
            *(a_mark(number).id for number in range(300)),
            a_mark(1000).id,
        ]
        await together(storage, partial(work, fails=True))
        assert storage.count(Mark) == 301


async def _open_and_close(path: Path) -> None:
    async with open_storage(path):
        pass


# --- what is asked all the time ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("noun", "where", "index"),
    [
        (
            Job,
            {"account": "user_1", "state": JobState.RESTING},
            "ix_job_state_account_created_id (state=? AND account=?)",
        ),
        (Job, {"account": "user_1", "service": ""}, "ix_job_account_service_created_id (account=? AND service=?)"),
        (Job, {"state": LIVE}, "ix_job_state_account_created_id (state=?)"),
        (Balance, {"amount_until": -1}, "ix_balance_amount (amount<?)"),
    ],
    ids=["orders of an account that rest", "jobs of an account", "jobs that live", "balances below zero"],
)
async def test_what_is_asked_all_the_time_is_found_by_an_index(
    path: Path, noun: type[Struct], where: dict[str, Any], index: str
) -> None:
    async with open_storage(path):
        reader = sqlite.open_reader(path)
        sql = sqlite.statements().count(shape_of(noun), where)
        plan = [row[-1] for row in reader.rows(f"EXPLAIN QUERY PLAN {sql}", values_of(where))]
        reader.close()
    assert [step for step in plan if index in step] == plan
