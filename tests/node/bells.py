"""A small machine for tests of the engine: bells that ring until they are answered, and a house to hang them in."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from msgspec.structs import replace

from market.machines import Effect, Event, QuietEvent, Rules, Step, Tell, take_step
from node.engine import Engine, Machine, Performer
from node.records import Entry, Mark, Pending
from tests.fakes import FakeClock, MemoryStorage


class Rung(Event, frozen=True, tag=True, kw_only=True):
    pass


class Answered(Event, frozen=True, tag=True, kw_only=True):
    pass


class Polished(QuietEvent, frozen=True, tag=True, kw_only=True):
    pass


class Passed(Event, frozen=True, tag=True, kw_only=True):
    to: str


class Ring(Effect, frozen=True, tag=True, kw_only=True):
    pass


class Knock(Effect, frozen=True, tag=True, kw_only=True):
    attempt: int


RULES: Rules[Mark] = {
    ("idle", Rung): lambda bell, event, now: (replace(bell, value="ringing"), [Ring(subject=bell.id)]),
    ("ringing", Answered): lambda bell, event, now: (replace(bell, value="idle"), []),
    ("again", Answered): lambda bell, event, now: (replace(bell, value="ringing"), [Ring(subject=bell.id)]),
    ("idle", Polished): lambda bell, event, now: (replace(bell, value="idle"), []),
    ("idle", Passed): lambda bell, event, now: (bell, [Tell(noun="Mark", subject=event.to, event=Rung())]),
}


def step(bell: Mark, event: Event, now: int) -> Step[Mark]:
    return take_step(RULES, bell, bell.value, event, now)


class House:
    """An engine with bells, on a storage that may outlive it; `heard` holds every effect that was performed."""

    def __init__(self, storage: MemoryStorage | None = None) -> None:
        self.storage = storage or MemoryStorage()
        self.clock = FakeClock()
        self.engine = Engine(self.storage, self.clock, {"Mark": Machine(Mark, step)})
        self.heard: list[str] = []
        self.on_ring: Callable[[Ring], Awaitable[Event | None]] = self.ring
        self.engine.bind(Performer(Ring, "Mark", lambda effect: self.on_ring(effect)))

    async def ring(self, effect: Ring) -> Event | None:
        self.heard.append(effect.subject)
        return Answered()

    async def put(self, *bells: str, value: str = "idle") -> None:
        for bell in bells:
            await self.storage.write(lambda tx, bell=bell: tx.put(Mark(id=bell, value=value)))  # type: ignore[misc]

    def value(self, bell: str) -> str:
        found = self.storage.get(Mark, bell)
        return found.value if found else "none"

    def journal(self) -> list[tuple[str, str]]:
        return [(entry.subject, entry.event) for entry in self.storage.find(Entry)]

    def pending(self) -> list[str]:
        return [pending.id for pending in self.storage.find(Pending)]

    async def live(self, until: Callable[[], object]) -> None:
        """Run the engine until `until` is true."""
        running = asyncio.create_task(self.engine.run())
        try:
            await waited(until)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def waited(until: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not until():
            await asyncio.sleep(0.001)


def played(play: Callable[[House], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        house = House()
        await house.put("a", "b")
        await play(house)

    asyncio.run(run())
