"""Effects: performed after the commit, until they are done, whatever breaks."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from market.errors import Unavailable
from market.machines import Event
from node.engine import MAX_DELAY
from node.ports import Tx
from node.records import Mark, Pending
from tests.builders import NOW
from tests.fakes import FakeClock, MemoryStorage
from tests.node.bells import Answered, House, Knock, Ring, Rung, played, waited

# --- effects ----------------------------------------------------------------------------------------------------------


def test_an_effect_is_performed_after_the_commit_and_its_answer_applied() -> None:
    async def play(house: House) -> None:
        seen: list[str] = []

        async def ring(effect: Ring) -> Event:
            seen.append(house.value("a"))
            return Answered()

        house.on_ring = ring
        running = asyncio.create_task(house.engine.run())
        await house.engine.handle("Mark", "a", Rung())
        await waited(lambda: not house.pending())
        running.cancel()
        assert (seen, house.value("a")) == (["ringing"], "idle")
        assert house.journal() == [("a", "Rung"), ("a", "Answered")]

    played(play)


def test_nothing_is_performed_before_the_engine_runs() -> None:
    async def play(house: House) -> None:
        await house.engine.handle("Mark", "a", Rung())
        await asyncio.sleep(0)
        assert (house.heard, house.pending()) == ([], ["a:Ring:0"])
        await house.live(lambda: not house.pending())
        assert house.heard == ["a"]

    played(play)


def test_an_effect_is_performed_again_when_the_node_crashed_in_the_middle_of_it() -> None:
    async def play(house: House) -> None:
        async def hang(effect: Ring) -> None:
            house.heard.append("cut off")
            await asyncio.Event().wait()

        house.on_ring = hang
        await house.engine.handle("Mark", "a", Rung())
        await house.live(lambda: house.heard)
        reborn = House(house.storage)
        await reborn.live(lambda: not reborn.pending())
        assert (house.heard, reborn.heard, reborn.value("a")) == (["cut off"], ["a"], "idle")

    played(play)


def test_an_answer_that_comes_too_late_is_dropped_and_the_effect_is_done() -> None:
    async def play(house: House) -> None:
        async def late(effect: Ring) -> Event:
            await house.put("a", value="broken")
            return Answered()

        house.on_ring = late
        await house.engine.handle("Mark", "a", Rung())
        await house.live(lambda: not house.pending())
        assert (house.value("a"), house.journal()) == ("broken", [("a", "Rung")])

    played(play)


def test_an_answer_may_ask_for_the_same_effect_again() -> None:
    async def play(house: House) -> None:
        async def once_more(effect: Ring) -> Event:
            if not house.heard:
                await house.put("a", value="again")
            return await house.ring(effect)

        house.on_ring = once_more  # type: ignore[assignment]
        await house.engine.handle("Mark", "a", Rung())
        await house.live(lambda: not house.pending())
        assert (house.heard, house.value("a")) == (["a", "a"], "idle")

    played(play)


def test_a_caller_that_goes_away_does_not_take_its_effects_along() -> None:
    async def play(house: House) -> None:
        running = asyncio.create_task(house.engine.run())
        await asyncio.sleep(0)
        asking = asyncio.create_task(house.engine.handle("Mark", "a", Rung()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking.cancel()
        await waited(lambda: house.heard == ["a"])
        running.cancel()

    played(play)


def test_an_effect_that_nobody_performs_waits_for_somebody_who_does() -> None:
    async def play(house: House) -> None:
        knock = Knock(subject="c", attempt=1)
        await house.engine.transact(lambda changes: changes.create(Mark(id="c", value="idle"), knock))
        await house.engine.handle("Mark", "a", Rung())
        await house.live(lambda: house.heard)
        assert house.pending() == ["c:Knock:1"]

    played(play)


# --- effects that fail ------------------------------------------------------------------------------------------------


class Hurried(MemoryStorage):
    """Storage after whose every write a minute has passed, so that no pause is waited for; `broken` writes fail."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.broken = 0
        self.pauses: list[tuple[int, int]] = []

    async def write(self, work: Callable[[Tx], Any]) -> Any:
        if self.broken:
            self.broken -= 1
            self.clock.advance(60_000)
            raise Unavailable("the disk is full")
        result = await super().write(work)
        self.pauses += [(p.attempts, p.not_before - self.clock.now()) for p in self.find(Pending) if p.attempts]
        self.clock.advance(60_000)
        return result


async def a_hurried_house() -> tuple[House, Hurried]:
    storage = Hurried()
    house = House(storage)
    house.engine.clock = storage.clock
    await house.put("a", "b")
    return house, storage


def test_a_failing_effect_is_tried_again_after_growing_pauses() -> None:
    async def play() -> None:
        house, storage = await a_hurried_house()

        async def fail(effect: Ring) -> Event | None:
            house.heard.append("")
            if len(house.heard) < 10:
                raise Unavailable("nobody there")
            return Answered()

        house.on_ring = fail
        await house.engine.handle("Mark", "a", Rung())
        await house.live(lambda: not house.pending())
        assert storage.pauses[:4] == [(1, 250), (2, 500), (3, 1000), (4, 2000)]
        assert [pause for _, pause in storage.pauses][-2:] == [MAX_DELAY, MAX_DELAY]
        assert house.value("a") == "idle"

    asyncio.run(play())


def test_any_error_of_a_performer_only_postpones() -> None:
    async def play() -> None:
        house, _ = await a_hurried_house()

        async def fail(effect: Ring) -> Event | None:
            house.heard.append("")
            return Answered() if len(house.heard) == 2 else [][0]

        house.on_ring = fail
        await house.engine.handle("Mark", "a", Rung())
        await house.live(lambda: not house.pending())
        assert len(house.heard) == 2

    asyncio.run(play())


def test_a_poisoned_effect_delays_only_itself() -> None:
    async def play(house: House) -> None:
        async def ring(effect: Ring) -> Event | None:
            if effect.subject == "a":
                raise Unavailable("poisoned")
            return await house.ring(effect)

        house.on_ring = ring
        for bell in ("a", "b"):
            await house.engine.handle("Mark", bell, Rung())
        await house.live(lambda: house.value("b") == "idle")
        assert (house.value("a"), house.pending()) == ("ringing", ["a:Ring:0"])

    played(play)


def test_a_pause_survives_a_crash() -> None:
    async def play(house: House) -> None:
        async def fail(effect: Ring) -> None:
            raise Unavailable("poisoned")

        house.on_ring = fail
        await house.engine.handle("Mark", "a", Rung())
        await house.live(lambda: any(pending.attempts for pending in house.storage.find(Pending)))
        (pending,) = house.storage.find(Pending)
        assert (pending.attempts, pending.not_before) == (1, NOW + 250)

    played(play)


@pytest.mark.parametrize("broken", [1, 2, 3])
def test_an_effect_whose_end_can_not_be_written_is_tried_again(broken: int) -> None:
    async def play() -> None:
        house, storage = await a_hurried_house()
        await house.engine.handle("Mark", "a", Rung())
        storage.broken = broken
        await house.live(lambda: not house.pending())
        assert (house.value("a"), storage.broken) == ("idle", 0)
        assert house.journal() == [("a", "Rung"), ("a", "Answered")]

    asyncio.run(play())


# --- what other processes on the database ask for -------------------------------------------------------------------


def test_what_another_process_wrote_is_performed_once_it_is_heard_of() -> None:
    async def play(house: House) -> None:
        other = House(house.storage)
        running = asyncio.create_task(house.engine.run())
        await asyncio.sleep(0)
        await other.engine.handle("Mark", "a", Rung())
        assert (house.heard, house.storage.announced[-2:]) == ([], ["a", "a:Ring:0"])
        house.engine.hear(["a", "a:Ring:0"])
        await waited(lambda: not house.pending())
        assert (house.heard, other.heard, house.value("a")) == (["a"], [], "idle")
        running.cancel()

    played(play)


def test_whatever_may_have_been_missed_is_looked_for() -> None:
    async def play(house: House) -> None:
        other = House(house.storage)
        running = asyncio.create_task(house.engine.run())
        await asyncio.sleep(0)
        waiting = asyncio.create_task(house.engine.changed("a", 10))
        await asyncio.sleep(0)
        await other.engine.handle("Mark", "a", Rung())
        house.engine.hear(())
        assert await waiting
        await waited(lambda: not house.pending())
        assert house.heard == ["a"]
        running.cancel()

    played(play)


def test_an_effect_that_is_heard_of_while_it_is_performed_or_ends_is_not_performed_twice() -> None:
    async def play(house: House) -> None:
        async def loud(effect: Ring) -> Event:
            house.engine.hear(["a:Ring:0"])
            return await house.ring(effect)

        house.on_ring = loud  # type: ignore[assignment]
        write = house.storage.write

        async def slow(work: Callable[[Tx], Any]) -> Any:
            house.engine.hear(["a:Ring:0"])  # the row is still there to be read
            return await write(work)

        await house.engine.handle("Mark", "a", Rung())
        house.storage.write = slow  # type: ignore[method-assign]
        await house.live(lambda: not house.pending())
        await asyncio.sleep(0)
        assert house.heard == ["a"]

    played(play)


def test_an_effect_that_another_process_asks_for_as_it_ends_is_performed_again() -> None:
    async def play(house: House) -> None:
        other, write = House(house.storage), house.storage.write

        async def crossed(work: Callable[[Tx], Any]) -> Any:
            done = await write(work)
            if house.value("a") == "idle" and not other.heard:
                other.heard.append("asked")
                await other.engine.handle("Mark", "a", Rung())
                house.engine.hear(["a:Ring:0"])
            return done

        await house.engine.handle("Mark", "a", Rung())
        house.storage.write = crossed  # type: ignore[method-assign]
        await house.live(lambda: other.heard and not house.pending())
        assert (house.heard, house.value("a")) == (["a", "a"], "idle")

    played(play)
