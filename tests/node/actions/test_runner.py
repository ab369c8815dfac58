"""Runs of code that wait, are cancelled while they wait, and are forgotten when they ended long ago."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from msgspec.structs import replace

from market.dialogue import RunEnd
from market.errors import QuotaExceeded, Unavailable
from market.ledger import CREDITS, flaws_of
from market.runs import DispatchRun, Run, RunEnded, RunState
from node.actions import code_quota
from node.actions.answers import Idempotency
from node.actions.code_quota import MAX_WAITING
from node.actions.ledger import Ledger, balance
from node.actions.runner import FEW, KEPT, Runner
from node.actions.tallies import tally
from node.engine import Engine
from node.performers import MACHINES
from node.records import Account, Balance, Entry, Mark, Posted
from tests.builders import NOW
from tests.fakes import FakeClock, MemoryStorage

ACCOUNT = Account(id="user_a", name="a", created_at=NOW)
CREDIT = 100


class Place:
    """A sandbox that is free once `is_free`; `asked` are the runs that were sent to its provider."""

    def __init__(self) -> None:
        self.is_free = asyncio.Event()
        self.asked: list[str] = []
        self.lease = cast(Any, type("Lease", (), {"id": "lse_1"}))
        self.peer = "peer"

    @asynccontextmanager
    async def place(self, language: str, avoid: str) -> AsyncIterator[Any]:
        await self.is_free.wait()
        yield self

    def shun(self, lease: str, is_silent: bool) -> None:
        """Whoever does not answer is asked again here."""

    async def ask(self, peer: str, kind: object, message: Any, *rest: object) -> Any:
        self.asked.append(message.id)
        raise Unavailable("no answer")

    def languages(self) -> dict[str, int]:
        return {"python": 1}


class House:
    """A runner on fakes, whose user has some credits."""

    def __init__(self) -> None:
        self.storage, self.clock, self.place = MemoryStorage(), FakeClock(), Place()
        ledger = Ledger(grant=CREDIT)
        self.engine = Engine(self.storage, self.clock, MACHINES, (ledger.fold, code_quota.fold))
        place = cast(Any, self.place)
        self.runner = Runner(self.engine, place, place, place, {}, ledger)
        self.storage.put(ACCOUNT)
        ledger.welcome(self.storage, ACCOUNT, NOW)

    async def submit(self, code: str = "print(1)", inputs: tuple[str, ...] = ("one", "two")) -> Run:
        return await self.runner.submit(ACCOUNT, "python", code, inputs)

    def credits(self) -> int:
        return balance(self.storage, "user:user_a", CREDITS)

    def kept(self) -> str:
        """Everything that the database has of runs and their journal."""
        return str([self.storage.find(Run), [entry.body for entry in self.storage.find(Entry)]])


def played(play: Callable[[House], Awaitable[None]]) -> None:
    async def run() -> None:
        await play(House())

    asyncio.run(run())


def an_end(error: str = "") -> RunEnded:
    results = tuple(RunEnd(stdout="said", exit_code=1 if error else 0, error=error) for _ in range(2))
    return RunEnded(lease="lse_1", provider="0xab", results=results, waited=0, compiling=0)


def test_a_run_that_is_cancelled_while_it_waits_for_a_place_is_sent_to_nobody() -> None:
    async def play(house: House) -> None:
        run, other = await house.submit(), await house.submit()
        sending = [
            asyncio.create_task(house.runner.dispatch(DispatchRun(subject=each.id, attempt=1))) for each in (run, other)
        ]
        await asyncio.sleep(0)
        await house.runner.cancel(ACCOUNT, run.id)
        house.place.is_free.set()
        ends = await asyncio.gather(*sending)
        assert (house.place.asked, ends[0]) == ([other.id], None)
        assert house.credits() == CREDIT - 2

    played(play)


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_of_a_run_that_has_ended_nothing_is_kept_that_its_user_sent(is_cancelled: bool) -> None:
    async def play(house: House) -> None:
        run = await house.submit("the code", ("an input", "another"))
        assert "the code" in str(house.storage.get(Run, run.id))
        if is_cancelled:
            await house.runner.cancel(ACCOUNT, run.id)
        else:
            await house.engine.handle("Run", run.id, an_end())
        assert not any(text in house.kept() for text in ("the code", "an input", "another"))
        assert house.credits() == (CREDIT if is_cancelled else CREDIT - 2)

    played(play)


def test_what_a_run_wrote_is_kept_once() -> None:
    async def play(house: House) -> None:
        run = await house.submit()
        await house.engine.handle("Run", run.id, an_end("RuntimeError"))
        assert house.kept().count("said") == 2, "once for each input"
        assert house.runner.get(ACCOUNT, run.id).results[0].stdout == "said"

    played(play)


def test_the_code_of_one_account_that_waits_is_bounded_until_it_has_ended() -> None:
    async def play(house: House) -> None:
        half = "x" * (MAX_WAITING // 2)
        waiting = [await house.submit(half, ("",)) for _ in range(2)]
        with pytest.raises(QuotaExceeded):
            await house.submit("y", ("",))
        assert (house.credits(), len(house.storage.find(Run))) == (CREDIT - 2, 2)
        other = replace(ACCOUNT, id="user_b")
        Ledger(grant=1).welcome(house.storage, other, NOW)
        assert (await house.runner.submit(other, "python", "y")).state is RunState.QUEUED
        for run in waiting:
            await house.runner.cancel(ACCOUNT, run.id)
        assert tally(house.storage, "waiting:user_a") == 0
        assert house.storage.get(Mark, "waiting:user_a") is None
        await house.submit("y", ("",))

    played(play)


def test_runs_that_ended_long_ago_are_forgotten_with_their_journal_and_nothing_else_is() -> None:
    async def play(house: House) -> None:
        old = [await house.submit() for _ in range(FEW + 1)]
        for run in old:
            await house.engine.handle("Run", run.id, an_end())
        waiting = await house.submit()
        lines = house.storage.find(Posted)
        house.clock.advance(KEPT)
        new = await house.submit()
        await house.runner.cancel(ACCOUNT, new.id)

        assert await house.runner.sweep() == len(old)

        assert {run.id for run in house.storage.find(Run)} == {waiting.id, new.id}
        assert {entry.subject for entry in house.storage.find(Entry)} == {waiting.id, new.id}
        assert house.storage.find(Posted)[: len(lines)] == lines
        booked = ((line.account, line.currency, line.amount) for line in house.storage.find(Posted))
        has = [(each.account, each.currency, each.amount) for each in house.storage.find(Balance)]
        assert flaws_of(booked, has) == []
        assert await house.runner.dispatch(DispatchRun(subject=old[0].id, attempt=1)) is None

    played(play)


def test_a_repeated_key_is_answered_although_the_run_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(house: House) -> None:
        key = Idempotency(key="k", route="r", body_digest="d", render=lambda run: (200, run.id.encode()))
        run, _ = await house.runner.submit_once(ACCOUNT, "python", "1", ("",), key)
        assert run is not None
        await house.runner.cancel(ACCOUNT, run.id)
        monkeypatch.setattr(house.runner, "_kept", 0)
        assert await house.runner.sweep() == 1
        again, answer = await house.runner.submit_once(ACCOUNT, "python", "1", ("",), key)
        assert (again, answer and answer.body) == (None, run.id.encode())
        assert house.storage.find(Run) == []

    played(play)
