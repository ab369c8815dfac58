"""Which database a node has, and that a data directory and a database belong to one node each."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from market.errors import Conflict, Unavailable
from node.config import Config, StorageSettings
from node.database import look_at_server, open_database
from node.migrations import HEAD
from node.records import Mark
from tests.node.adapters.postgres_server import Server, name_in
from tests.node.adapters.samples import a_mark

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(data_dir=str(tmp_path / "one"), roles=("requester",))


@pytest.fixture
def on_postgres(config: Config, postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Config]:
    """The same over loopback, with the password in the environment."""
    monkeypatch.setenv("NEUGRID_DATABASE_PASSWORD", postgres.password)
    with postgres.database() as url:
        name = name_in(url)
        yield msgspec.structs.replace(config, storage=StorageSettings(url=postgres.loopback_url(name)))


async def refused(config: Config, said: str) -> None:
    with pytest.raises(Conflict, match=said):
        async with open_database(config):
            pass


async def test_without_a_url_it_is_a_file_in_the_data_directory(config: Config) -> None:
    async with open_database(config) as storage:
        await storage.write(lambda tx: tx.put(a_mark()))
        await refused(config, "in use by another node")

    assert (config.folder / "node.db").exists()


async def test_with_a_url_it_is_the_server_and_the_data_directory_is_still_one_nodes(on_postgres: Config) -> None:
    async with open_database(on_postgres) as storage:
        await storage.write(lambda tx: tx.put(a_mark()))
        assert storage.find(Mark) == [a_mark()]
        await refused(on_postgres, r"node\.db is in use by another node \(process ")
        await refused(msgspec.structs.replace(on_postgres, storage=StorageSettings()), r"node\.db is in use")

    assert not (on_postgres.folder / "node.db").exists()


async def test_two_nodes_can_not_have_one_database(on_postgres: Config, tmp_path: Path) -> None:
    async with open_database(on_postgres):
        await refused(
            msgspec.structs.replace(on_postgres, data_dir=str(tmp_path / "other")),
            "the database .* is in use by another",
        )


async def test_the_doctor_says_what_the_server_is(on_postgres: Config) -> None:
    said = look_at_server(on_postgres)
    assert said.startswith("PostgreSQL ")
    assert said.endswith(f"answers and syncs; schema {HEAD}")


async def test_the_doctor_says_that_no_server_answers(config: Config) -> None:
    away = msgspec.structs.replace(config, storage=StorageSettings(url="postgresql://me@127.0.0.1:1/none"))
    with pytest.raises(Unavailable, match=r"none at 127\.0\.0\.1:1 can not be reached"):
        look_at_server(away)
