"""The loop at the gate: what it finds is told once, and an engine that is away is asked again soon."""

import asyncio
from types import SimpleNamespace

import pytest
import structlog

from market.errors import Unavailable
from node.actions.gate import Gate
from node.loops import gating
from node.ports import Finding

BELOW = Finding(check="runc-version", status="failed", message="too old")


class FakeInspector:
    """Answers with one list of findings after another; None is an engine that is away."""

    def __init__(self, *answers: tuple[Finding, ...] | None) -> None:
        self.answers = list(answers)

    async def inspect(self) -> tuple[Finding, ...]:
        found = self.answers.pop(0) if self.answers else None
        if found is None:
            raise Unavailable("the engine does not answer")
        return found


def told(
    monkeypatch: pytest.MonkeyPatch, *answers: tuple[Finding, ...] | None, accepted: tuple[str, ...] = ()
) -> list[str]:
    """What the loop logs."""
    monkeypatch.setattr(gating, "EVERY", 0.0)
    monkeypatch.setattr(gating, "SHUT", 0.0)
    monkeypatch.setattr(gating, "AGAIN", 0.0)
    inspector = FakeInspector(*answers)

    async def play() -> None:
        loop = asyncio.create_task(gating.run(Gate(inspector, accepted)))
        while inspector.answers:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        loop.cancel()

    with structlog.testing.capture_logs() as logs:
        asyncio.run(play())
    return [entry["event"] for entry in logs]


def test_what_is_found_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, (BELOW,), (BELOW,), (BELOW,)) == ["nothing is sold"]


def test_a_change_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, (), (BELOW,), ()) == ["fit to sell", "nothing is sold", "fit to sell"]


def test_a_gate_that_is_shut_is_looked_at_again_long_before_one_that_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 4:
            raise asyncio.CancelledError

    monkeypatch.setattr(gating, "asyncio", SimpleNamespace(sleep=sleep))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(gating.run(Gate(FakeInspector(None, (BELOW,), (BELOW,), ()))))
    assert pauses == [gating.AGAIN, gating.AGAIN, 2 * gating.AGAIN, gating.EVERY]


def test_an_accepted_risk_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, (BELOW,), accepted=("runc-version",)) == ["sold below the floor"]


def test_an_engine_that_is_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, None, None, ()) == ["nothing is sold", "fit to sell"]
