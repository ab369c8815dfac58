"""What a provider tells about itself to who has a key: whether it sells and why not, and what its GPUs do."""

import asyncio
from pathlib import Path
from typing import Any

from node.actions.gate import Gate
from node.actions.health import BOOKS_FRESH, PARTS_FRESH, Health, Seller
from node.ports import Finding, GpuUse
from node.records import Balance
from tests.node.actions.stage import Stage, staged
from tests.node.actions.test_gate import FakeInspector


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
        assert set(parts) == {"api", "storage", "ledger", "network", "chain", "docker", "selling"}
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
