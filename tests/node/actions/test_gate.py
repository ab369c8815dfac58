"""May this machine be sold: failures shut the gate, names of the operator open it, and offers tell."""

import asyncio
from pathlib import Path

import pytest

from market.errors import Refused, Unavailable
from node.actions.gate import Gate, weighed
from node.ports import Finding
from tests.node.actions.stage import Stage, staged


def a_finding(check: str, status: str = "failed") -> Finding:
    return Finding(check=check, status=status, message="so")


class FakeInspector:
    def __init__(self, *findings: Finding) -> None:
        self.findings = findings
        self.is_away = False

    async def inspect(self) -> tuple[Finding, ...]:
        if self.is_away:
            raise Unavailable("the engine does not answer")
        return self.findings


def looked(*findings: Finding, accepted: tuple[str, ...] = ()) -> Gate:
    gate = Gate(FakeInspector(*findings), accepted)
    asyncio.run(gate.look())
    return gate


def test_nothing_is_sold_before_the_first_look() -> None:
    assert not Gate(FakeInspector()).is_open


def test_a_failure_shuts_the_gate_and_says_why() -> None:
    gate = looked(a_finding("runc-version"), a_finding("clock", "warning"), a_finding("disk", "ok"))
    assert not gate.is_open
    assert gate.reasons == ("runc-version: so",)
    assert gate.risks == ()


def test_a_failure_that_was_accepted_by_name_opens_it_and_is_a_risk() -> None:
    gate = looked(a_finding("runc-version"), a_finding("clock", "ok"), accepted=("runc-version", "clock"))
    assert gate.is_open
    assert gate.risks == ("runc-version",), "what is sound is no risk, whatever was accepted"


@pytest.mark.parametrize("check", ["engine", "hardened", "limits", "isolation", "cgroups", "gvisor"])
def test_what_is_no_risk_by_name_can_not_be_accepted(check: str) -> None:
    gate = looked(a_finding(check), accepted=(check,))
    assert not gate.is_open
    assert gate.risks == ()


def test_an_engine_that_goes_away_changes_nothing_that_is_known() -> None:
    inspector = FakeInspector(a_finding("runc-version"))
    gate = Gate(inspector)
    asyncio.run(gate.look())
    inspector.is_away = True
    assert not asyncio.run(gate.look())
    assert gate.reasons == ("runc-version: so",)


def test_what_was_never_looked_over_says_why() -> None:
    inspector = FakeInspector()
    gate = Gate(inspector)
    assert gate.reasons == ("inspection: not done yet",)
    inspector.is_away = True
    assert not asyncio.run(gate.look())
    assert gate.reasons == ("inspection: the engine does not answer",)
    inspector.is_away = False
    assert asyncio.run(gate.look())
    assert gate.is_open


def test_a_machine_that_sinks_below_the_floor_is_sold_no_more() -> None:
    inspector = FakeInspector()
    gate = Gate(inspector)
    asyncio.run(gate.look())
    assert gate.is_open
    inspector.findings = (a_finding("disk"),)
    asyncio.run(gate.look())
    assert not gate.is_open


def test_the_operator_sees_an_accepted_failure_as_a_warning_that_offers_tell() -> None:
    shown = weighed([a_finding("runc-version"), a_finding("engine")], ("runc-version", "engine"))
    assert [(item.check, item.status) for item in shown] == [("runc-version", "warning"), ("engine", "failed")]
    assert "every offer" in shown[0].message


def test_every_offer_names_what_is_sold_below_the_floor(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        selling = stage.seller.selling
        assert selling is not None
        gate = Gate(FakeInspector(a_finding("runc-version")), ("runc-version",))
        await gate.look()
        selling.gate = gate
        assert [offer.risks for offer in selling.offers(1)] == [("runc-version",)]
        selling.is_open = False
        assert selling.offers(2) == []
        with pytest.raises(Refused, match="nothing is sold"):
            selling._check_terms(None, stage.terms())  # type: ignore[arg-type]

    staged(tmp_path, play)
