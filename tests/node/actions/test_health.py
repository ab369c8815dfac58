"""What a provider tells about itself to who has a key: whether it sells and why not, and what its GPUs do."""

import asyncio
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from market.errors import Unavailable
from market.jobs import JobState
from market.runs import Run, RunState, post_run
from node.actions.gate import Gate
from node.actions.health import BOOKS_FRESH, PARTS_FRESH, Health, Seller
from node.actions.standing import GATEWAY
from node.ports import Finding, GpuUse, Reader
from node.records import Balance
from tests.builders import NOW
from tests.node.actions.stage import Stage, staged
from tests.node.actions.test_gate import FakeInspector
from tests.node.actions.test_jobs import a_job


class FakeGpus:
    async def use(self) -> tuple[GpuUse, ...]:
        return (GpuUse(uuid="GPU-1", model="Fake 9000", vram=2**34, utilisation=37, power=99_500),)


def test_a_provider_below_the_floor_says_what_is_missing(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        selling = stage.seller.selling
        assert selling is not None
        below = Finding(check="runc-version", status="failed", message="too old")
        selling.gate = Gate(FakeInspector(below))
        await selling.gate.look()
        selling.is_open = False
        state = (await stage.seller.health.full())["selling"]
        assert state == {"open": False, "isolation": "hardened", "reasons": ("runc-version: too old",), "risks": ()}
        assert (await stage.buyer.health.full())["selling"] is None

    staged(tmp_path, play)


def test_every_part_of_the_node_is_asked(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        parts = {part.name: part.reason for part in await stage.seller.health.services()}
        assert set(parts) == {"api", "auth", "storage", "ledger", "network", "chain", "docker", "selling"}
        assert parts["ledger"] == parts["chain"] == ""
        stage.storages["buyer"].put(Balance(id="user:a/money", account="user:a", currency="money", amount=1))
        wrong = {part.name: part.reason for part in await stage.buyer.health.services()}
        assert "money" in wrong["ledger"]
        assert "docker" not in wrong

    staged(tmp_path, play)


def test_however_many_ask_the_chain_is_asked_once_in_a_while_and_the_books_less_often(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        health, storage, asked, summed = stage.buyer.health, stage.storages["buyer"], list[int](), list[int]()
        earned, find = health._chain.earned, storage.find

        async def noted(channels: str) -> int:
            asked.append(stage.clock.now())
            return await earned(channels)

        def searched(noun: Any, **where: Any) -> list[Any]:
            summed.extend([stage.clock.now()] if noun is Balance else [])
            return find(noun, **where)

        health._chain.earned = noted  # type: ignore[method-assign, assignment]
        storage.find = searched  # type: ignore[method-assign]
        for _ in range(13):
            first, *others = await asyncio.gather(*(health.services() for _ in range(10)))
            assert others == [first] * 9
            await asyncio.gather(*(health.full() for _ in range(10)))
            stage.clock.advance(PARTS_FRESH)
        assert (len(asked), len(summed)) == (13, 2)
        assert summed[1] - summed[0] == BOOKS_FRESH

    staged(tmp_path, play)


def test_what_the_gpus_do_is_told_in_units_that_are_named(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        node, selling = stage.seller, stage.seller.selling
        assert selling is not None
        seller = Seller(stage.runtime, selling, FakeGpus())
        old = node.health
        health = Health(old._storage, old._clock, old._network, old._chain, seller, lambda: None)
        (gpu,) = (await health.full())["gpu"]
        assert (gpu["utilisation"], gpu["power"], gpu["vram"]) == (37, 99.5, 2**34)
        assert (await node.health.full())["gpu"] == []

    staged(tmp_path, play)


def test_the_queue_is_what_waits_of_users_work(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        put = stage.storages["buyer"].put
        states = (JobState.PENDING, JobState.RESTING, JobState.PLACED, JobState.RUNNING, JobState.SUCCEEDED)
        for number, state in enumerate(states):
            put(a_job(number, state=state))
            put(a_job(10 + number, state=state, account=GATEWAY))
        put(a_job(20, state=JobState.RUNNING, service="dep_1"))
        for number, state in enumerate((RunState.QUEUED, RunState.QUEUED, RunState.SUCCEEDED)):
            run = Run(id=f"{number:024x}", account="user_1", language="python", code="", created_at=NOW)
            put(post_run(run)[0] if state is RunState.QUEUED else replace(run, state=state))
        assert (await stage.buyer.health.full())["queueDepth"] == 3 + 2
        stage.buyer.runner._running.add(f"{0:024x}")
        assert (await stage.buyer.health.full())["queueDepth"] == 3 + 1

    staged(tmp_path, play)


class BrokenReader:
    """A storage whose server went away, for as long as `is_gone`."""

    def __init__(self, storage: Reader) -> None:
        self._storage = storage
        self.is_gone = True

    def __getattr__(self, name: str) -> Any:
        if self.is_gone:
            raise Unavailable("the database does not answer")
        return getattr(self._storage, name)


def test_a_part_is_up_since_it_was_last_found_well_again(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        old = stage.buyer.health
        storage = BrokenReader(old._storage)
        health = Health(storage, stage.clock, old._network, old._chain, None, lambda: None)  # type: ignore[arg-type]
        start = stage.clock.now()
        seen = []
        for is_gone in (False, True, False, False):
            stage.clock.advance(60_000)
            storage.is_gone = is_gone
            parts = {part.name: part for part in await health.services()}
            assert parts["api"].reason == parts["chain"].reason == ""
            assert parts["api"].since == start
            said = {parts[name].reason for name in ("auth", "storage", "ledger")}
            assert said == {"it can not be read: SERVICE_UNAVAILABLE" if is_gone else ""}
            seen.append(parts["storage"].checked_at - parts["storage"].since)
        assert seen == [60_000, 0, 0, 60_000]

    staged(tmp_path, play)
