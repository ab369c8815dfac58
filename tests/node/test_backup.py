"""A backup brings everything back, on each database; what would forget money is refused."""

import asyncio
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from market.errors import Conflict, InvalidParameters
from node.adapters import sqlite
from node.adapters.rows import SHAPES
from node.backup import back_up, restore
from node.config import Config, StorageSettings
from node.database import open_database
from node.migrations import HEAD, steps
from node.ports import Storage
from node.records import Entry, Happened, Mark
from tests.builders import NOW
from tests.node.adapters.postgres_server import Server
from tests.node.adapters.samples import EVERY_NOUN, a_job, a_mark, an_entry

pytestmark = pytest.mark.anyio
KINDS = ("sqlite", "postgres")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=KINDS)
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Config]:
    yield from a_config(request.param, request, tmp_path / "node")


@pytest.fixture(params=KINDS)
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Config]:
    """Another node, which has nothing yet."""
    yield from a_config(request.param, request, tmp_path / "other")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "backup.db"


def a_config(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[Config]:
    config = Config(data_dir=str(folder), roles=("requester",))
    if kind == "sqlite":
        yield config
        return
    server: Server = request.getfixturevalue("postgres")
    with server.database() as url:
        yield msgspec.structs.replace(config, storage=StorageSettings(url=url))


async def put(config: Config, *nouns: Struct) -> None:
    async with open_database(config) as storage:
        await write(storage, *nouns)


async def write(storage: Storage, *nouns: Struct) -> None:
    for noun in nouns:
        await storage.write(lambda tx, noun=noun: tx.put(noun))  # type: ignore[misc]


async def everything(config: Config) -> list[Struct]:
    async with open_database(config) as storage:
        return [noun for kind in SHAPES for noun in storage.find(kind)]


@pytest.fixture
async def full(config: Config) -> Config:
    """A node's database with one of everything, and the latest of what is numbered deleted again."""
    many = [a_mark(number) for number in range(1200)]
    async with open_database(config) as storage:
        await write(storage, *EVERY_NOUN, an_entry("job_a"), an_entry("job_b"), an_entry("job_c"))
        await write(storage, a_job("job_\0", account="acc\0"), a_job("job_\1", account="acc\1\1"))
        await storage.write(lambda tx: [tx.put(mark) for mark in many])
        await hear(storage, 3)
        await storage.write(lambda tx: [tx.delete(noun, "3") for noun in (Entry, Happened)])
    return config


async def hear(storage: Storage, times: int) -> None:
    for _ in range(times):
        happened = Happened(account="user_1", event="job.created", subject="job_1", body=b"{}", at=NOW)
        await storage.write(lambda tx, happened=happened: tx.insert(happened))  # type: ignore[misc]


# --- there and back ------------------------------------------------------------------------------------------------


async def test_a_backup_brings_everything_into_any_other_database(full: Config, other: Config, file: Path) -> None:
    before = await everything(full)
    back_up(full, file)
    done = restore(other, file)

    assert done.kept is None
    assert await everything(other) == before
    async with open_database(other) as storage:
        await write(storage, an_entry("job_d"))
        assert [entry.seq for entry in storage.find(Entry)] == [1, 2, 4]
        await hear(storage, 1)
        assert [happened.seq for happened in storage.find(Happened, account="user_1")] == [1, 2, 4]
        assert [job.id for job in storage.find(type(a_job()), account="acc\0")] == ["job_\0"]
        assert storage.count(Mark, id=a_mark(7).id) == 1


async def test_it_is_made_while_the_node_runs_and_is_of_one_moment(config: Config, file: Path) -> None:
    async with open_database(config) as storage:
        for number in range(50):
            await write(storage, a_mark(number))
        writing = [asyncio.create_task(write(storage, a_mark(number))) for number in range(50, 150)]
        await asyncio.to_thread(back_up, config, file)
        await asyncio.gather(*writing)
    with closing(sqlite3.connect(file)) as found:
        ids = [id for (id,) in found.execute("SELECT id FROM mark ORDER BY id")]

    assert ids[:50] == [a_mark(number).id for number in range(50)]
    assert [path.name for path in file.parent.glob("backup*")] == ["backup.db"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_file_that_is_there_is_not_written_over(full: Config, file: Path) -> None:
    file.write_text("precious")
    with pytest.raises(Conflict, match="is there already"):
        back_up(full, file)
    assert file.read_text() == "precious"


# --- what a restore may forget -------------------------------------------------------------------------------------


async def test_what_the_backup_lacks_is_forgotten_only_when_that_is_accepted(full: Config, file: Path) -> None:
    before = await everything(full)
    back_up(full, file)
    await put(full, Mark(id="promise", value="of money"))
    after = await everything(full)
    with pytest.raises(Conflict, match=r"has writes that the backup of 20.* has not"):
        restore(full, file)
    assert await everything(full) == after

    done = restore(full, file, accept_loss=True)

    assert await everything(full) == before
    assert done.kept == full.folder / "node.db.before-restore"
    assert done.kept.exists()
    assert not list(full.folder.glob("*.restoring*"))


async def test_what_was_there_before_is_kept_and_can_be_put_back(full: Config, file: Path) -> None:
    back_up(full, file)
    await put(full, Mark(id="promise", value="of money"))
    after = await everything(full)
    kept = restore(full, file, accept_loss=True).kept
    assert kept is not None

    with pytest.raises(Conflict, match="before-restore is there already"):
        restore(full, file)

    aside = kept.rename(full.folder / "aside.db")
    if full.storage.url:
        restore(full, aside, accept_loss=True)
    else:
        aside.replace(full.folder / "node.db")
    assert await everything(full) == after


async def test_a_database_that_has_nothing_more_is_replaced_without_a_word(full: Config, file: Path) -> None:
    before = await everything(full)
    back_up(full, file)

    restore(full, file)

    assert await everything(full) == before


async def test_a_node_that_runs_keeps_its_database(full: Config, file: Path) -> None:
    back_up(full, file)
    async with open_database(full):
        with pytest.raises(Conflict, match="in use by another node"):
            restore(full, file, accept_loss=True)


async def test_a_damaged_database_is_replaced_only_when_that_is_accepted(tmp_path: Path, file: Path) -> None:
    config = Config(data_dir=str(tmp_path / "node"), roles=("requester",))
    await put(config, a_mark(1))
    back_up(config, file)
    (config.folder / "node.db").write_bytes(b"damaged" * 1000)
    (config.folder / "node.db-wal").write_bytes(b"a log of before")

    with pytest.raises(Conflict, match="nobody can say what it has"):
        restore(config, file)
    done = restore(config, file, accept_loss=True)

    assert done.kept is not None
    assert done.kept.read_bytes() == b"damaged" * 1000
    assert await everything(config) == [a_mark(1)]


# --- what is no backup ---------------------------------------------------------------------------------------------


async def refused(config: Config, file: Path, error: type[Exception], said: str) -> None:
    before = await everything(config)
    with pytest.raises(error, match=said):
        restore(config, file, accept_loss=True)
    assert await everything(config) == before
    assert not list(config.folder.glob("*before-restore*"))
    assert not list(config.folder.glob("*.restoring*"))


async def test_what_is_no_backup_is_refused(full: Config, file: Path, tmp_path: Path) -> None:
    file.write_text("no database")
    await refused(full, file, InvalidParameters, "is no backup of a node")
    with closing(sqlite3.connect(tmp_path / "foreign.db")) as foreign:
        foreign.execute("CREATE TABLE backup (name)")
    await refused(full, tmp_path / "foreign.db", InvalidParameters, "is no backup of a node: only")
    await refused(full, tmp_path / "missing.db", FileNotFoundError, "missing")


async def test_the_file_of_another_node_is_no_backup(full: Config, tmp_path: Path) -> None:
    config = Config(data_dir=str(tmp_path / "third"), roles=("requester",))
    await put(config, a_mark(1))
    await refused(full, config.folder / "node.db", InvalidParameters, "only `neugrid db backup` makes one")


async def test_a_damaged_backup_is_refused(full: Config, file: Path) -> None:
    back_up(full, file)
    size = file.stat().st_size
    with file.open("r+b") as damaged:
        damaged.seek(size // 2)
        damaged.write(os.urandom(size // 4))
    await refused(full, file, Exception, "damaged|malformed|can not be read")


async def test_the_backup_of_a_newer_program_is_refused_and_one_of_an_older_is_migrated(
    full: Config, file: Path
) -> None:
    before = await everything(full)
    back_up(full, file)
    with closing(sqlite3.connect(file)) as changed:
        changed.execute("UPDATE alembic_version SET version_num = '9999'")
        changed.commit()
    await refused(full, file, Conflict, "has schema 9999, newer than this program knows")
    older = sqlite.open_writer(file)
    older.rows("UPDATE alembic_version SET version_num = :head", {"head": HEAD})
    steps.downgrade(sqlite.engine_over(older), "the backup", "0004")
    tables = {name for (name,) in older.rows("SELECT name FROM sqlite_master WHERE type = 'table'", {})}
    older.close()
    restore(full, file, accept_loss=True)

    assert await everything(full) == [noun for noun in before if SHAPES[type(noun)].table in tables]


async def test_a_backup_says_when_it_was_made(full: Config, file: Path) -> None:
    assert back_up(full, file).made_at > NOW
