"""Kill nodes at random under load, let everything drain, and check that nothing was lost, doubled or billed twice."""

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from random import Random
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from market.errors import NeugridError
from tests.e2e.killing.audit import Findings, audit, open_books
from tests.e2e.killing.life import Birth
from tests.e2e.killing.load import Users
from tests.e2e.killing.nursery import Nursery
from tests.e2e.killing.pace import start_pace
from tests.e2e.killing.roles import Role, cast
from tests.e2e.killing.world import World

DRAIN = 60
"""Seconds within which everything must have come to its end after the last kill."""
SIGKILLED = 9


class Plan(Struct, frozen=True):
    """What is done: how many kills, over how many pairs, how fast time runs."""

    kills: int
    seed: int
    pairs: int
    speed: float
    shoppers: int = 2
    think: float = 0.4

    @property
    def patience(self) -> float:
        """Seconds after which something must have got stuck."""
        return 90 + self.kills


class Killer:
    """Keeps all nodes alive, and kills them."""

    def __init__(self, plan: Plan, nursery: Nursery, world: World, birth: dict[str, Birth]) -> None:
        self._plan = plan
        self._nursery = nursery
        self._world = world
        self._birth = birth
        self._pids: dict[str, int] = {}
        self.kills = 0
        self.starts = 0
        self.ways: Counter[str] = Counter()

    async def raise_all(self) -> None:
        """Start every node and wait until it serves."""
        for name in self._birth:
            await self.start(name)
        await asyncio.gather(*(self._world.port_of(name) for name in self._birth))

    async def haunt(self, number: int, pair: tuple[Role, Role]) -> None:
        """Let both of the pair serve for a moment, kill one, start it again at once, until there were enough kills.

        Some are killed again: in their start, or by themselves right after one of their next steps.
        """
        rng = Random(f"{self._plan.seed} {number}")
        while self.kills < self._plan.kills:
            victim, again, share = pair[rng.randrange(2)].name, rng.random(), rng.random()
            for role in pair:
                await self._world.port_of(role.name)
            await asyncio.sleep(rng.random() * 0.25)
            await self.kill(victim, "at any time")
            if again < 0.2:
                await self.start(victim)
                await asyncio.sleep(share * 0.06)
                await self.kill(victim, "in its start")
            elif again < 0.6:
                await self.start(victim, steps=1 + int(30 * share**2))
                await self._end_of(victim)
                await self.kill(victim, "after a step")
            await self.start(victim)

    async def start(self, name: str, steps: int = 0) -> None:
        birth = replace(self._birth[name], number=self._world.expect(name), steps=steps)
        self._pids[name] = await self._nursery.start(birth)
        self.starts += 1

    async def kill(self, name: str, how: str) -> None:
        self.kills += 1
        self.ways[f"{name.rstrip('0123456789')} {how}"] += 1
        await self.end(name)

    async def _end_of(self, name: str) -> None:
        """The life's own end, or a second, if it finds too little to do."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._world.lives[name].ended.wait(), 1)

    async def end(self, name: str) -> None:
        status = await self._nursery.end(self._pids[name])
        self._world.bury(name)
        if status != SIGKILLED:
            self._world.violations.append(f"{name} had ended by itself, status {status}; see its log")


class Report(Struct):
    """What came out."""

    plan: Plan
    findings: Findings
    killer: Killer
    asked: int
    points: Counter[tuple[str, str, str]]
    seconds: dict[str, float]

    @property
    def is_clean(self) -> bool:
        found = self.findings
        return not (found.lost or found.duplicated or found.billed_twice or found.other)


async def run(plan: Plan, nursery: Nursery, folder: Path) -> Report:
    """The whole play."""
    pace, pairs = start_pace(plan.speed), list(cast(folder, plan.pairs))
    roles = [role for pair in pairs for role in pair]
    world = World(folder / "world.sock", roles, pace, plan.seed)
    births = {role.name: Birth(role, folder / "world.sock", pace) for role in roles}
    killer, users = Killer(plan, nursery, world, births), Users(world, plan.seed)
    serving = asyncio.create_task(world.serve())
    await world.is_open.wait()
    acts = (
        ("start", killer.raise_all()),
        ("kills", _under_load(plan, killer, users, pairs)),
        ("drain", _drain(world, roles)),
        ("look", _check_results(users, world)),
    )
    seconds = {name: await _timed(name, act, world, plan.patience) for name, act in acts}
    for role in roles:
        await killer.end(role.name)
    await users.close()
    serving.cancel()
    findings = audit(world, users, [open_books(role) for role in roles])
    return Report(plan, findings, killer, len(users.asked), world.last_words, seconds)


async def _timed(name: str, act: Coroutine[Any, Any, None], world: World, patience: float) -> float:
    """How long the act took; one that takes too long is a violation and is broken off."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(patience):
            await act
    except TimeoutError:
        world.violations.append(f"{name}: not over within {patience:.0f} s; see the logs (--keep)")
    return round(time.monotonic() - began, 1)


async def _under_load(plan: Plan, killer: Killer, users: Users, pairs: list[tuple[Role, Role]]) -> None:
    load = [
        *(users.shop(buyer, number, plan.think) for buyer, _ in pairs for number in range(plan.shoppers)),
        *(users.earn(seller, 1.0) for _, seller in pairs),
    ]
    shopping = asyncio.gather(*load)
    await asyncio.gather(*(killer.haunt(number, pair) for number, pair in enumerate(pairs)))
    users.is_over = True
    await shopping


async def _drain(world: World, roles: list[Role]) -> None:
    """Until nothing is under way at any node, or time is up; the audit says then what was left."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN):
            while await _under_way(world, roles):
                await asyncio.sleep(0.1)


async def _under_way(world: World, roles: list[Role]) -> int:
    total = 0
    for role in roles:
        wire = world.lives[role.name].wire
        if wire is None:
            return 1
        try:
            total += sum((await wire.call("census")).values())
        except NeugridError:
            return 1
    return total


async def _check_results(users: Users, world: World) -> None:
    """What a user sees at the end: the final state, and the right bytes in every result."""
    for asked in users.asked:
        answer = await users.ask(asked.role, "GET", f"/v1/jobs/{asked.id}")
        if answer.status_code != 200:
            world.violations.append(f"{asked.key}: {answer.status_code} instead of the job")
        elif answer.json()["status"] == "success":
            for path, content in asked.outputs().items():
                result = await users.ask(asked.role, "GET", f"/v1/jobs/{asked.id}/results/{path}")
                if result.content != content:
                    world.violations.append(f"{asked.key}: wrong bytes in {path} ({result.status_code})")


def tell(report: Report) -> None:
    """One screen."""
    found, killer = report.findings, report.killer
    for title in ("lost", "duplicated", "billed_twice", "other"):
        for text in getattr(found, title)[:12]:
            print(f"! {title}: {text}")
    print(f"seed {report.plan.seed}: {report.plan.pairs} requesters and {report.plan.pairs} providers in one market")
    print(f"kills {killer.kills}, restarts {killer.starts - 2 * report.plan.pairs}, {dict(killer.ways)}")
    print(f"distinct kill points {len(report.points)} (last line of the journal, effects under way)")
    print(f"jobs acknowledged {report.asked}")
    for name, fact in found.facts.items():
        print(f"  {name}: {fact}")
    print(f"seconds {report.seconds}")
    print(
        f"lost {len(found.lost)}, duplicated {len(found.duplicated)}, billed twice {len(found.billed_twice)}, "
        f"other violations {len(found.other)}"
    )


def main() -> int:
    """Exit status 0 when nothing was violated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--speed", type=float, default=4.0, help="how much faster the nodes' time runs")
    parser.add_argument("--keep", type=Path, help="a folder for databases and logs; else they are removed")
    given = parser.parse_args()
    plan = Plan(kills=given.kills, seed=given.seed, pairs=given.pairs, speed=given.speed)
    print(f"seed {plan.seed}", flush=True)
    nursery = Nursery()
    try:
        with contextlib.ExitStack() as stack:
            folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kills-")))
            folder.mkdir(parents=True, exist_ok=True)
            report = asyncio.run(run(plan, nursery, folder))
            tell(report)
            return 0 if report.is_clean else 1
    finally:
        nursery.close()


if __name__ == "__main__":
    sys.exit(main())
