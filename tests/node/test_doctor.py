"""What the doctor finds in a node's records, whether it runs or not, on each database."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from market.audit import AuditEntry, Deed, Head, SignedHead, digest_of_head
from market.ledger import CHAIN, Transfer, between, hold_account, user_account
from market.signing import Signer
from node.actions.audit import FOLDS, Anchor, note
from node.actions.following import FollowedStorage
from node.actions.ledger import post
from node.adapters import sqlite
from node.adapters.audit_heads import HeadFile
from node.adapters.postgres_storage import Use, open_postgres
from node.adapters.records_check import look_at_audit, look_at_ledger
from node.adapters.rows import body_of, shape_of
from node.config import ChainSettings, Config, StorageSettings
from node.database import at_one_moment, open_database
from node.doctor import examine
from node.migrations import steps
from node.ports import Storage, Tx
from node.records import Balance, Posted
from node.setup import init, unlock
from tests.builders import NOW
from tests.fakes import FakeClock
from tests.node.adapters.postgres_server import Server

pytestmark = pytest.mark.anyio
KEY = Signer(b"\x07" * 32)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["sqlite", "postgres"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Config]:
    config = Config(
        data_dir=str(tmp_path / "node"), roles=("requester",), chain=ChainSettings(rpc="http://127.0.0.1:1")
    )
    if request.param == "sqlite":
        yield config
        return
    server: Server = request.getfixturevalue("postgres")
    with server.database() as url:
        yield replace(config, storage=StorageSettings(url=url))


async def live(config: Config, *works: Callable[[Tx], object]) -> None:
    """A node that books three transfers, writes its deeds down, signs a head, and does `works`."""
    async with open_database(config) as storage:
        followed = FollowedStorage(storage, FakeClock(), FOLDS)
        for number, (source, target) in enumerate(
            [(CHAIN, user_account("a")), (user_account("a"), hold_account("job_1")), (hold_account("job_1"), "house")]
        ):
            transfer = Transfer(id=f"t{number}", kind="x", subject="s", postings=between(source, target, 50 - number))
            await followed.write(lambda tx, transfer=transfer: post(tx, transfer, NOW))  # type: ignore[misc]
            await note(followed, Deed(action="x.done", account="user_a", subject=f"s{number}"), NOW)
        await Anchor(storage, KEY, HeadFile(config.folder).add).sign()
        for work in works:
            await storage.write(work)


def looked(config: Config) -> dict[str, str]:
    heads = [each.head for each in HeadFile(config.folder).read()]
    with at_one_moment(config) as side:
        found = {"ledger": look_at_ledger(side), "audit": look_at_audit(heads, side)}
    return {check: "" if status == "ok" else f"{status}: {message}" for check, (status, message) in found.items()}


async def test_records_that_nobody_touched_are_sound_also_while_the_node_runs(config: Config) -> None:
    await live(config)
    assert looked(config) == {"ledger": "", "audit": ""}
    async with open_database(config):
        assert looked(config) == {"ledger": "", "audit": ""}


def a_balance(account: str, amount: int) -> Balance:
    return Balance(id=f"{account}/money", account=account, currency="money", amount=amount)


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (
            lambda tx: tx.put(a_balance("user:a", 2)),
            ["all money sums to 1", "user:a has 2 money, and its lines sum to 1"],
        ),
        (lambda tx: tx.delete(Posted, "t0/1"), ["user:a has 1 money, and its lines sum to -49"]),
        (lambda tx: tx.delete(Balance, "user:a/money"), ["sums to -1", "user:a has 0 money"]),
        (lambda tx: tx.put(a_balance("hold:job_2", -3)), ["hold:job_2 is -3 money"]),
    ],
)
async def test_books_that_are_wrong_are_told(config: Config, work: Any, said: list[str]) -> None:
    await live(config, work)
    found = looked(config)
    assert found["ledger"].startswith("failed: the books are wrong: ")
    for words in said:
        assert words in found["ledger"]
    assert found["audit"] == ""


def forged(tx: Tx) -> None:
    [first, *_] = tx.find(AuditEntry)
    tx.put(replace(first, deed=replace(first.deed, subject="forged")))


def misfiled(tx: Tx) -> None:
    """The columns say that it concerns another account, so that it would not be found."""
    [first, *_] = tx.find(AuditEntry)
    other = replace(first, deed=replace(first.deed, account="user_b"))
    shape = shape_of(AuditEntry)
    tx.delete(AuditEntry, "1")
    tx._connection.rows(  # type: ignore[attr-defined]
        tx._statements.insert(shape, row := {**shape.columns(other), "body": body_of(first)}),  # type: ignore[attr-defined]
        row,
    )


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (forged, "whole up to entry 0 alone: entry 1 was changed"),
        (lambda tx: tx.delete(AuditEntry, "2"), "whole up to entry 1 alone: entry 2 is missing"),
        (lambda tx: tx.delete(AuditEntry, "3"), "it ends with entry 2, but entry 3 was signed"),
    ],
)
async def test_a_log_that_was_tampered_with_is_told(config: Config, work: Any, said: str) -> None:
    await live(config, work)
    found = looked(config)
    assert found["ledger"] == ""
    assert said in found["audit"]


async def test_an_entry_under_another_account_than_its_own_is_told(config: Config) -> None:
    await live(config, misfiled)
    with pytest.raises(Exception, match="AuditEntry 1 was changed: its columns and body differ"):
        looked(config)


async def test_processes_that_share_a_database_write_one_chain(config: Config) -> None:
    if not config.storage.url:
        pytest.skip("SQLite has one process")
    async with open_database(config):
        pass
    async with (
        open_postgres(config.storage.url, use=Use.NODE) as one,
        open_postgres(config.storage.url, use=Use.API) as two,
        asyncio.TaskGroup() as group,
    ):
        for storage in (one, two):
            group.create_task(write_many(storage))
    assert looked(config)["audit"] == ""


async def write_many(storage: Storage) -> None:
    for number in range(40):
        await note(storage, Deed(action="x.done", subject=str(number)), NOW)


async def findings(config: Config) -> dict[str, tuple[str, str]]:
    return {each.check: (each.status, each.message) for each in await examine(config)}


async def test_the_doctor_tells_what_he_found(config: Config) -> None:
    init(config, light=True)
    if not config.storage.url:
        assert (await findings(config))["ledger"][0] == "warning", "there is no file yet"
    await live(config)
    found = await findings(config)
    assert found["ledger"] == ("ok", "4 balances are the sums of their lines, and every currency sums to zero")
    assert found["audit"][0] == "failed", "that head was signed by another key"
    HeadFile(config.folder).path.unlink()
    said = "3 entries in an unbroken chain; its head was last signed at entry 0"
    assert (await findings(config))["audit"] == ("ok", said)
    own = Signer(unlock(config.folder).node)
    head = Head(seq=9, hash="ab" * 32)
    HeadFile(config.folder).add(SignedHead(head=head, signature=own.sign(digest_of_head(head))))
    status, message = (await findings(config))["audit"]
    assert (status, "entry 9 was signed" in message) == ("failed", True)


async def test_a_database_of_before_is_no_failure(tmp_path: Path) -> None:
    config = Config(
        data_dir=str(tmp_path / "node"), roles=("requester",), chain=ChainSettings(rpc="http://127.0.0.1:1")
    )
    init(config, light=True)
    connection = sqlite.open_writer(config.folder / "node.db")
    steps.upgrade(sqlite.engine_over(connection), "node.db", "0008")
    connection.close()
    found = await findings(config)
    assert found["ledger"][0] == found["audit"][0] == "warning"
    assert "schema 0008" in found["audit"][1]


def test_a_file_of_heads_is_its_owners_alone_and_bears_a_line_that_was_cut_off(tmp_path: Path) -> None:
    file = HeadFile(tmp_path)
    assert file.read() == []
    head = SignedHead(head=Head(seq=1), signature=b"s")
    file.add(head)
    file.add(head)
    assert file.path.stat().st_mode & 0o777 == 0o600
    with file.path.open("ab") as opened:
        opened.write(b'{"head":')
    assert file.read() == [head, head]
    file.add(head)
    assert file.read() == [head] * 3
