"""The loop that makes room for images."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from market.errors import Unavailable
from market.units import Timestamp
from node.loops import tidying
from node.ports import Image, PullProgress
from tests.builders import NOW
from tests.fakes import FakeClock


class FakeStore:
    """Fails the first time; ends the test at the second."""

    def __init__(self) -> None:
        self.looks = 0
        self.seen = asyncio.Event()

    async def load(self, archive: Path, *, requester: str = "") -> Image:
        return Image(archive.name, "sha256:0", 1)

    def progress(self, reference: str) -> PullProgress | None:
        return None

    async def tidy(self) -> int:
        self.looks += 1
        if self.looks == 1:
            raise Unavailable("the engine is away")
        self.seen.set()
        return 1


class FakeFolders:
    """Keeps in mind what was asked."""

    def __init__(self) -> None:
        self.before = 0

    async def drop_kept_volumes(self, before: Timestamp) -> tuple[str, ...]:
        self.before = before
        return ()


def test_an_engine_that_is_away_does_not_end_the_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "EVERY", 0.0)
    store, folders = FakeStore(), FakeFolders()

    async def play() -> None:
        running = asyncio.create_task(tidying.run(store, folders, FakeClock()))
        await asyncio.wait_for(store.seen.wait(), 5)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    asyncio.run(play())
    assert store.looks >= 2
    assert folders.before == NOW - tidying.KEPT_FOR
