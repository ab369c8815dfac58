"""The engine: one transaction for noun, journal and effects, and word to those who wait."""

import asyncio

import pytest

from market.errors import Conflict, InvalidTransition, NotFound, Unavailable
from node.engine import Changes, supervise
from node.records import Entry, Mark
from tests.builders import NOW
from tests.node.bells import Answered, House, Knock, Passed, Polished, Ring, Rung, played

# --- one transaction --------------------------------------------------------------------------------------------------


def test_an_event_changes_noun_journal_and_effects_together() -> None:
    async def play(house: House) -> None:
        after = await house.engine.handle("Mark", "a", Rung())
        assert after.value == house.value("a") == "ringing"
        assert (house.journal(), house.pending()) == ([("a", "Rung")], ["a:Ring:0"])

    played(play)


def test_a_refused_event_leaves_nothing() -> None:
    async def play(house: House) -> None:
        with pytest.raises(InvalidTransition):
            await house.engine.handle("Mark", "a", Answered())
        assert (house.value("a"), house.journal(), house.pending()) == ("idle", [], [])

    played(play)


def test_an_error_in_a_transaction_undoes_all_of_it() -> None:
    def work(changes: Changes) -> None:
        changes.apply("Mark", "a", Rung())
        changes.create(Mark(id="c", value="idle"), Ring(subject="c"))
        changes.create(Mark(id="b", value="idle"))

    async def play(house: House) -> None:
        with pytest.raises(Conflict):
            await house.engine.transact(work)
        assert (house.value("a"), house.value("c")) == ("idle", "none")
        assert (house.journal(), house.pending()) == ([], [])

    played(play)


def test_a_new_noun_is_in_the_journal_with_its_first_effects() -> None:
    async def play(house: House) -> None:
        await house.engine.transact(lambda changes: changes.create(Mark(id="c", value="idle"), Ring(subject="c")))
        assert (house.journal(), house.pending()) == ([("c", "Created")], ["c:Ring:0"])

    played(play)


def test_a_journal_line_holds_the_event_and_the_time_of_the_engines_clock() -> None:
    async def play(house: House) -> None:
        house.clock.advance(7)
        await house.engine.handle("Mark", "a", Passed(to="b"))
        entry, told = house.storage.find(Entry)
        assert (entry.at, entry.noun, entry.body) == (NOW + 7, "Mark", b'{"type":"Passed","to":"b"}')
        assert told.event == "Rung"

    played(play)


def test_a_quiet_event_leaves_no_line() -> None:
    async def play(house: House) -> None:
        await house.engine.handle("Mark", "a", Polished())
        assert house.journal() == []

    played(play)


def test_an_event_for_nothing_is_not_found() -> None:
    async def play(house: House) -> None:
        with pytest.raises(NotFound):
            await house.engine.handle("Mark", "nowhere", Rung())
        assert await house.engine.attempt("Mark", "nowhere", Rung()) is None

    played(play)


def test_an_attempt_that_is_refused_is_no_error() -> None:
    async def play(house: House) -> None:
        assert await house.engine.attempt("Mark", "a", Answered()) is None
        assert (await house.engine.attempt("Mark", "a", Rung())).value == "ringing"

    played(play)


def test_two_equal_effects_are_stored_once() -> None:
    async def play(house: House) -> None:
        for bell in ("c", "d"):
            await house.engine.transact(
                lambda changes, bell=bell: changes.create(Mark(id=bell, value="idle"), Ring(subject="c"))
            )
        assert house.pending() == ["c:Ring:0"]

    played(play)


def test_effects_of_different_attempts_are_different() -> None:
    async def play(house: House) -> None:
        knocks = [Knock(subject="c", attempt=attempt) for attempt in (1, 2)]
        await house.engine.transact(lambda changes: changes.create(Mark(id="c", value="idle"), *knocks))
        assert sorted(house.pending()) == ["c:Knock:1", "c:Knock:2"]

    played(play)


# --- telling ----------------------------------------------------------------------------------------------------------


def test_what_one_noun_tells_another_is_in_the_same_transaction() -> None:
    async def play(house: House) -> None:
        await house.engine.handle("Mark", "a", Passed(to="b"))
        assert house.value("b") == "ringing"
        assert (house.journal(), house.pending()) == ([("a", "Passed"), ("b", "Rung")], ["b:Ring:0"])

    played(play)


@pytest.mark.parametrize("listener", ["deaf", "nobody"])
def test_a_noun_that_can_not_listen_does_not_stop_the_one_who_tells(listener: str) -> None:
    async def play(house: House) -> None:
        await house.put("deaf", value="broken")
        await house.engine.handle("Mark", "a", Passed(to=listener))
        assert (house.journal(), house.pending()) == ([("a", "Passed")], [])

    played(play)


def test_a_transaction_that_fails_later_was_never_told() -> None:
    def work(changes: Changes) -> None:
        changes.apply("Mark", "a", Passed(to="b"))
        raise Unavailable("no more disk")

    async def play(house: House) -> None:
        with pytest.raises(Unavailable):
            await house.engine.transact(work)
        assert (house.value("b"), house.journal(), house.pending()) == ("idle", [], [])

    played(play)


# --- waiting for changes ----------------------------------------------------------------------------------------------


def test_whoever_waits_for_a_noun_is_woken_by_its_next_change() -> None:
    async def play(house: House) -> None:
        waiting = [asyncio.create_task(house.engine.changed("a", 5)) for _ in range(2)]
        await asyncio.sleep(0)
        await house.engine.handle("Mark", "a", Rung())
        assert await asyncio.gather(*waiting) == [True, True]

    played(play)


def test_changes_of_others_wake_nobody_and_time_runs_out() -> None:
    async def play(house: House) -> None:
        waiting = asyncio.create_task(house.engine.changed("a", 0.01))
        await asyncio.sleep(0)
        await house.engine.handle("Mark", "b", Rung())
        assert await waiting is False

    played(play)


def test_a_quiet_event_and_a_refused_one_wake_nobody() -> None:
    async def play(house: House) -> None:
        waiting = asyncio.create_task(house.engine.changed("a", 0.01))
        await asyncio.sleep(0)
        await house.engine.handle("Mark", "a", Polished())
        await house.engine.attempt("Mark", "a", Answered())
        assert await waiting is False

    played(play)


def test_things_beside_the_nouns_can_be_waited_for_by_name() -> None:
    async def play(house: House) -> None:
        waiting = asyncio.create_task(house.engine.changed("logs:a", 5))
        await asyncio.sleep(0)
        house.engine.notify("logs:a")
        house.engine.notify("nobody waits")
        assert await waiting is True

    played(play)


# --- loops ------------------------------------------------------------------------------------------------------------


def test_a_loop_that_fails_starts_again_and_one_that_ends_has_ended() -> None:
    lives: list[int] = []

    async def loop() -> None:
        lives.append(1)
        if len(lives) < 3:
            raise RuntimeError("broken")

    asyncio.run(supervise("loop", loop, pause=0))
    assert len(lives) == 3


def test_a_supervised_loop_can_be_cancelled() -> None:
    async def play() -> None:
        task = asyncio.create_task(supervise("loop", asyncio.Event().wait, pause=0))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(play())
