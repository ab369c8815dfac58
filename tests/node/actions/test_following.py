"""What follows from a change of a record happens in its transaction, whoever makes it, on behalf of who asked."""

import asyncio
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from market.errors import Conflict
from node.actions.following import FollowedStorage
from node.adapters.storage import open_storage
from node.ports import Storage, Tx
from node.records import Mark, Nonce
from tests.builders import NOW
from tests.fakes import FakeClock, MemoryStorage
from tests.node.actions.desk import run

WHO: ContextVar[str] = ContextVar("who", default="nobody")


class Scene:
    """A storage that follows marks and writes down what it saw."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.memory = MemoryStorage()
        self.storage = FollowedStorage(self.memory, FakeClock(), {Mark: (self.fold,)})

    def fold(self, tx: Tx, before: Mark | None, after: Mark | None, now: int) -> None:
        assert now == NOW
        self.seen.append((before and before.value, after and after.value, WHO.get()))
        if after is not None and after.value == "bad":
            raise Conflict("no")
        tx.insert(Nonce(id=f"n{len(self.seen)}", created_at=NOW, expires_at=NOW))

    def write(self, work: Any) -> Any:
        return run(self.storage.write(work))


def test_every_change_is_followed_with_what_was_before() -> None:
    scene = Scene()

    def work(tx: Tx) -> None:
        tx.insert(Mark(id="a", value="1"))
        tx.put(Mark(id="a", value="2"))
        tx.put(Mark(id="b", value="3"))
        tx.delete(Mark, "a")
        tx.delete(Mark, "a")
        tx.put(Mark(id="a", value="4"))

    scene.write(work)
    assert [pair[:2] for pair in scene.seen] == [(None, "1"), ("1", "2"), (None, "3"), ("2", None), (None, "4")]
    scene.write(lambda tx: tx.put(Mark(id="a", value="5")))
    assert scene.seen[-1][:2] == ("4", "5")
    assert scene.memory.count(Nonce) == 6


def test_what_is_read_in_a_transaction_is_what_it_wrote() -> None:
    def work(tx: Tx) -> list[Any]:
        found = [tx.get(Mark, "a")]
        tx.put(Mark(id="a", value="1"))
        found.append(tx.get(Mark, "a"))
        tx.delete(Mark, "a")
        return [*found, tx.get(Mark, "a")]

    assert Scene().write(work) == [None, Mark(id="a", value="1"), None]


def test_what_can_not_follow_undoes_the_change() -> None:
    scene = Scene()
    with pytest.raises(Conflict):
        scene.write(lambda tx: tx.put(Mark(id="a", value="bad")))
    assert scene.memory.get(Mark, "a") is None


def test_work_is_done_on_behalf_of_who_asked_for_it_in_the_writers_thread_too(tmp_path: Path) -> None:
    scene = Scene()

    async def ask(storage: Storage, who: str) -> None:
        WHO.set(who)
        await storage.write(lambda tx: tx.put(Mark(id=who, value=who)))

    async def all_at_once() -> None:
        async with open_storage(tmp_path / "node.db") as opened:
            storage = FollowedStorage(opened, FakeClock(), {Mark: (scene.fold,)})
            await asyncio.gather(*(ask(storage, who) for who in ("ann", "bob", "eve")))
            await storage.write(lambda tx: tx.put(Mark(id="x", value="nobody")))

    run(all_at_once())
    assert sorted((value, who) for _, value, who in scene.seen) == [
        (who, who) for who in ("ann", "bob", "eve", "nobody")
    ]
