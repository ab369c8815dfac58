"""Lines on their way: in order, once, and bounded where nobody takes them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.dialogue import Line, LogPlace, Logs, LogsKept
from market.errors import PeerUnreachable, Refused
from market.receipts import GENESIS, chain_log
from node.actions import log_relay
from node.actions.log_relay import LINE_COST, NODE, Deliveries, LogRelay
from tests.builders import NOW, a_lease


class Taker:
    """A requester that keeps lines by number, is away while `away` is set, and forgets answers on their way back."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.asked: list[Logs] = []
        self.away = 0
        self.lost_answers = 0
        self.refuses = False
        self.places: tuple[LogPlace, ...] = ()

    async def ask(self, peer: str, kind: Any, message: Logs, answer: Any) -> LogsKept:
        self.asked.append(message)
        await asyncio.sleep(0)
        if self.away:
            self.away -= 1
            raise PeerUnreachable("away")
        if self.refuses:
            raise Refused("no more", codes=("LOGS_FULL",))
        if message.first <= len(self.lines):
            self.lines += message.lines[len(self.lines) - message.first :]
        if self.lost_answers:
            self.lost_answers -= 1
            raise PeerUnreachable("lost")
        return LogsKept(len(self.lines), chained(self.lines), self.places)

    def texts(self) -> list[str]:
        return [line.text for line in self.lines]


def chained(lines: list[Line]) -> str:
    link = GENESIS
    for line in lines:
        link = chain_log(link, line.at, line.stream, line.text)
    return link


def a_line(number: int) -> Line:
    return Line(NOW + number, "stdout", f"{number:04}")


COST = LINE_COST + 4


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause is waited for."""
    for name in ("LINGER", "RETRY", "GAP_PAUSE"):
        monkeypatch.setattr(log_relay, name, 0)


def relayed(play: Callable[[LogRelay, Taker], Awaitable[None]], limit: int = 0) -> tuple[LogRelay, Taker]:
    """A relay whose lines are added by `play`, delivered to its end."""

    async def run() -> tuple[LogRelay, Taker]:
        taker = Taker()
        relay = LogRelay(taker, a_lease(), limit)  # type: ignore[arg-type]
        delivery = asyncio.create_task(relay.deliver())
        await play(relay, taker)
        relay.complete()
        await asyncio.wait_for(delivery, 60)
        return relay, taker

    return asyncio.run(run())


def test_all_lines_arrive_in_order_and_the_head_is_over_all_of_them() -> None:
    async def play(relay: LogRelay, taker: Taker) -> None:
        for number in range(5000):
            relay.add(a_line(number))
            if number % 700 == 0:
                await asyncio.sleep(0)

    relay, taker = relayed(play)
    assert taker.lines == [a_line(number) for number in range(5000)]
    assert (relay.count, relay.head) == (5000, chained(taker.lines))


def test_lines_that_come_soon_after_each_other_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_relay, "LINGER", 60)

    async def play(relay: LogRelay, taker: Taker) -> None:
        for number in range(50):
            relay.add(a_line(number))
            await asyncio.sleep(0)

    _, taker = relayed(play)
    assert [len(message.lines) for message in taker.asked] == [1, 49]


def test_the_end_of_a_lease_does_not_wait_for_a_log_that_goes_on_being_offered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_relay, "DELIVER_WITHIN", 0.01)
    monkeypatch.setattr(log_relay, "RETRY", 0.002)

    async def play() -> None:
        deliveries, taker = Deliveries(), Taker()
        taker.away = 10**9
        relay = LogRelay(taker, a_lease())  # type: ignore[arg-type]
        relay.add(a_line(1))
        relay.complete()
        delivery = asyncio.create_task(relay.deliver())
        await deliveries.finish(delivery)
        assert (taker.texts(), relay.count) == ([], 1)
        taker.away = 0
        await asyncio.wait_for(delivery, 60)
        assert taker.texts() == ["0001"]

    asyncio.run(play())


def test_so_many_logs_are_offered_late_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_relay, "DELIVER_WITHIN", 0)
    monkeypatch.setattr(log_relay, "MOST_LATE", 1)

    async def play() -> None:
        deliveries, never = Deliveries(), asyncio.Event()
        waiting = [asyncio.create_task(_until(never)) for _ in range(2)]
        for delivery in waiting:
            await deliveries.finish(delivery)
        await asyncio.sleep(0)
        assert [delivery.cancelled() for delivery in waiting] == [False, True]
        never.set()
        await waiting[0]

    asyncio.run(play())


async def _until(event: asyncio.Event) -> None:
    await event.wait()


def test_a_requester_that_is_away_for_long_gets_the_newest_lines_and_is_told_how_many_are_missing() -> None:
    async def play(relay: LogRelay, taker: Taker) -> None:
        taker.away = 3
        for number in range(1000):
            relay.add(a_line(number))

    relay, taker = relayed(play, limit=100 * COST)
    told = next(line for line in taker.lines if line.stream == NODE)
    shown = [int(line.text) for line in taker.lines if line.stream != NODE]
    assert shown == list(range(1000 - len(shown), 1000))
    assert 40 <= len(shown) <= 100
    assert told.text.startswith(f"[{1000 - len(shown)} lines are missing")
    assert (relay.count, relay.head) == (len(taker.lines), chained(taker.lines))


def test_a_batch_job_waits_in_full() -> None:
    async def play(relay: LogRelay, taker: Taker) -> None:
        taker.away = 3
        for number in range(1000):
            relay.add(a_line(number))

    assert relayed(play)[1].texts() == [f"{number:04}" for number in range(1000)]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 60)),
        st.tuples(st.just("away"), st.integers(1, 3)),
        st.tuples(st.just("lost_answers"), st.integers(1, 3)),
        st.tuples(st.just("turn"), st.integers(1, 5)),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_whatever_fails_lines_are_in_order_and_missing_ones_are_counted(steps: list[tuple[str, int]]) -> None:
    numbers = iter(range(10**6))

    async def play(relay: LogRelay, taker: Taker) -> None:
        for step, count in steps:
            for _ in range(count):
                if step == "add":
                    relay.add(a_line(next(numbers)))
                elif step == "turn":
                    await asyncio.sleep(0)
                else:
                    setattr(taker, step, count)

    relay, taker = relayed(play, limit=30 * COST)
    assert counted(taker.lines) == next(numbers)
    assert (relay.count, relay.head) == (len(taker.lines), chained(taker.lines))


def counted(lines: list[Line]) -> int:
    """The lines that were written, when they come in order and those between are told."""
    expected = 0
    for line in lines:
        if line.stream == NODE:
            expected += int(line.text[1:].split()[0])
        else:
            assert int(line.text) == expected
            expected += 1
    return expected


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(relay: LogRelay, taker: Taker) -> None:
        taker.away = 1
        for number in range(10_000):
            relay.add(a_line(number))
            assert len(relay._lines) * COST <= 102 * COST

    relayed(play, limit=100 * COST)


def test_a_relay_goes_on_where_the_requesters_log_ends() -> None:
    async def play(relay: LogRelay, taker: Taker) -> None:
        taker.away, taker.lines, taker.places = 2, [a_line(0), a_line(1)], (LogPlace("stdout", NOW + 1, 1),)
        assert await relay.resume() == taker.places
        relay.add(a_line(2))

    relay, taker = relayed(play)
    assert taker.texts() == ["0000", "0001", "0002"]
    assert (relay.count, relay.head) == (3, chained(taker.lines))


def test_what_is_refused_is_dropped_and_the_end_is_not_held_up() -> None:
    async def play(relay: LogRelay, taker: Taker) -> None:
        taker.refuses = True
        for number in range(10):
            relay.add(a_line(number))

    relay, taker = relayed(play)
    assert (relay.count, taker.lines) == (10, [])
