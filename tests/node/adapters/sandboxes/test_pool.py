"""The pool over sandboxes that are only names: used once, refilled, bounded, and honest about failures."""

import asyncio

import pytest

from market.errors import Unavailable
from node.adapters.sandboxes import pool
from node.adapters.sandboxes.pool import Pool

pytestmark = pytest.mark.anyio


class FakeSandbox:
    def __init__(self, name: str) -> None:
        self.name = name
        self.is_fresh = True
        self.is_connected = True

    def hang_up(self) -> None:
        self.is_connected = False


class FakeMaker:
    """Makes a sandbox whenever `gate` is open; `there` are those that were made and not removed."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.there: dict[str, FakeSandbox] = {}
        self.made = 0
        self.most = 0
        self.failure: Unavailable | None = None

    async def start(self, image: str) -> FakeSandbox:
        await self.gate.wait()
        if self.failure:
            raise self.failure
        self.made += 1
        sandbox = FakeSandbox(f"{image}-{self.made}")
        self.there[sandbox.name] = sandbox
        self.most = max(self.most, len(self.there))
        return sandbox

    async def remove(self, name: str) -> None:
        assert not self.there.pop(name).is_connected, "the stream must be closed before the kill"


class Stage:
    def __init__(self, most: int = 4) -> None:
        self.now = 1000.0
        self.maker = FakeMaker()
        self.pool = Pool(self.maker, most, lambda: self.now)

    async def settled(self) -> dict[str, int]:
        for _ in range(30):
            await asyncio.sleep(0)
        return self.pool.idle


async def test_one_of_each_image_waits_before_anybody_asks() -> None:
    stage = Stage()
    stage.pool.serve({"a", "b"})
    assert await stage.settled() == {"a": 1, "b": 1}
    await stage.pool.close()
    assert stage.maker.there == {}


async def test_nobody_gets_a_sandbox_that_another_had() -> None:
    stage = Stage()
    stage.pool.serve({"a"})
    names = []
    for _ in range(5):
        sandbox = await stage.pool.take("a", 1)
        names.append(sandbox.name)
        stage.pool.done(sandbox)
        await stage.settled()
    assert len(set(names)) == 5
    await stage.pool.close()
    assert stage.maker.there == {}


@pytest.mark.parametrize("is_wanted", [False, True])
async def test_a_used_one_goes_when_its_answer_is_out_and_at_once_when_somebody_waits(
    is_wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "ANSWERING", 2.0)  # longer than this test stands still on a busy machine
    stage = Stage(most=1)
    stage.pool.serve({"a"})
    await stage.settled()
    used = await stage.pool.take("a", 1)
    stage.maker.gate.clear()
    waiting = asyncio.create_task(stage.pool.take("a", 1)) if is_wanted else None
    await stage.settled()
    stage.pool.done(used)
    await stage.settled()
    assert (used.name in stage.maker.there) is not is_wanted
    stage.maker.gate.set()
    assert waiting is None or (await waiting).is_fresh
    await stage.pool.close()
    assert stage.maker.there == {}


async def test_demand_fills_the_pool_up_to_its_budget_and_is_forgotten_after_a_minute() -> None:
    stage = Stage(most=4)
    stage.pool.serve({"a", "b"})
    for _ in range(8):
        stage.pool.done(await stage.pool.take("a", 1))
    assert await stage.settled() == {"a": 3, "b": 1}
    stage.now += 61
    stage.pool.refill()
    assert await stage.settled() == {"a": 1, "b": 1}
    await stage.pool.close()
    assert stage.maker.there == {}


async def test_a_sandbox_that_died_while_it_waited_is_not_given_out() -> None:
    stage = Stage()
    stage.pool.serve({"a"})
    await stage.settled()
    (dead,) = stage.maker.there.values()
    dead.is_fresh = False
    assert (await stage.pool.take("a", 1)).name != dead.name
    await stage.settled()
    assert dead.name not in stage.maker.there
    await stage.pool.close()


async def test_who_waits_too_long_is_told_so_and_what_comes_later_is_kept_for_others() -> None:
    stage = Stage()
    stage.maker.gate.clear()
    stage.pool.serve({"a"})
    with pytest.raises(Unavailable, match=r"within 0\.01 seconds"):
        await stage.pool.take("a", 0.01)
    stage.maker.gate.set()
    await stage.settled()
    assert (await stage.pool.take("a", 1)).is_fresh
    await stage.pool.close()


async def test_who_gives_up_waiting_leaks_nothing() -> None:
    stage = Stage()
    stage.maker.gate.clear()
    stage.pool.serve({"a"})
    waiting = asyncio.create_task(stage.pool.take("a", 60))
    await stage.settled()
    waiting.cancel()
    stage.maker.gate.set()
    await stage.settled()
    await stage.pool.close()
    assert stage.maker.there == {}


async def test_a_failure_is_told_to_who_waits_and_tried_again_only_after_a_pause() -> None:
    stage = Stage()
    stage.maker.failure = Unavailable("no engine")
    stage.pool.serve({"a"})
    with pytest.raises(Unavailable, match="no engine"):
        await stage.pool.take("a", 1)
    stage.maker.failure = None
    stage.pool.refill()
    assert await stage.settled() == {"a": 0}
    stage.now += 1.1
    stage.pool.refill()
    assert (await stage.settled())["a"] > 0
    await stage.pool.close()


async def test_an_image_that_is_gone_is_no_longer_kept_ready() -> None:
    stage = Stage()
    stage.pool.serve({"a", "b"})
    await stage.settled()
    stage.pool.serve({"b"})
    assert await stage.settled() == {"b": 1}
    assert [name[0] for name in stage.maker.there] == ["b"]
    await stage.pool.close()


async def test_the_budget_holds_when_demand_moves_to_another_image() -> None:
    stage = Stage(most=4)
    stage.pool.serve({"a", "b"})
    for image in "aaaaaabbbbbbbbbbbbbb":
        stage.pool.done(await stage.pool.take(image, 1))
        assert sum(stage.pool.idle.values()) <= 4
    await stage.pool.filled()
    assert sum(stage.pool.idle.values()) == 4
    await stage.pool.close()


async def test_closing_takes_along_what_is_in_use_and_tells_who_waits() -> None:
    stage = Stage(most=1)
    stage.pool.serve({"a"})
    used = await stage.pool.take("a", 1)
    await stage.settled()
    await stage.pool.take("a", 1)
    stage.maker.gate.clear()
    waiting = asyncio.create_task(stage.pool.take("a", 60))
    await stage.settled()
    stage.maker.gate.set()
    await stage.pool.close()
    assert stage.maker.there == {}
    with pytest.raises(Unavailable, match="closing"):
        await waiting
    stage.pool.done(used)
    await stage.settled()
