"""What happens to running work when parts of the market die without a word."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from market.units import parse_amount
from tests.e2e.conftest import Market

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(240)]


def test_a_job_of_a_killed_provider_runs_again_at_the_other_once_its_lease_is_over(market: Market) -> None:
    """A lease of thirty seconds, that is, and not at the end of the five minutes that the job may take."""
    job = market.running(market.submit("sh", "-c", "sleep 4; echo done"))
    first = market.provider_of(job)
    market.cluster.kill(first)
    try:
        again = market.until(lambda: _second_run(market, job["id"]), "the second attempt", 120)
        assert market.provider_of(again) != first
        done = market.finished(job)
        assert (done["status"], done["attempt"]) == ("success", 2)
        assert parse_amount(done["cost"]) <= 2 * parse_amount(done["maxPrice"])
    finally:
        market.cluster.start_node(first)
        market.until(lambda: len(market.buyer.providers()) == 2, "the first provider's return")


def test_a_job_survives_the_death_of_its_requester_and_is_paid_once(market: Market) -> None:
    job = market.running(market.submit("sh", "-c", "sleep 5; echo still here"))
    market.cluster.kill("requester")
    market.cluster.start_node("requester")
    done = market.finished(job)
    assert (done["status"], done["attempt"]) == ("success", 1)
    assert [line["message"] for line in market.buyer.logs(job["id"])] == ["still here"]
    market.until(lambda: market.buyer.job(job["id"])["paid"] == done["cost"], "payment")
    assert market.client(market.provider_of(done)).health()["status"] == "ok"


def test_a_running_job_finishes_while_the_chain_is_away_for_thirty_seconds(market: Market) -> None:
    market.finished(market.submit("true"))
    job = market.running(market.submit("sh", "-c", "sleep 32; echo unmoved"))
    market.cluster.kill("devnet")
    try:
        done = market.finished(job)
        assert done["status"] == "success"
    finally:
        market.cluster.start_chain()
    market.until(lambda: market.buyer.job(job["id"])["paid"] == done["cost"], "payment")


@pytest.mark.parametrize("whose", ["requester", "provider"])
def test_a_job_survives_the_death_of_a_network_process(market: Market, whose: str) -> None:
    job = market.running(market.submit("sh", "-c", "sleep 4; echo through"))
    name = market.provider_of(job) if whose == "provider" else "requester"
    victim = _network_process(market.cluster.processes[name].pid)
    os.kill(victim, signal.SIGKILL)
    market.until(lambda: _network_process(market.cluster.processes[name].pid) not in (0, victim), "a new one")
    done = market.finished(job)
    assert (done["status"], done["attempt"]) == ("success", 1)
    assert [line["message"] for line in market.buyer.logs(job["id"])] == ["through"]
    market.until(lambda: market.buyer.job(job["id"])["paid"] == done["cost"], "payment")


def test_every_unit_that_was_deposited_is_paid_burned_or_given_back(market: Market) -> None:
    market.until(lambda: not market.buyer.jobs(status="running"), "quiet")
    deposited = parse_amount(market.buyer.balance()["deposited"])
    names = market.cluster.providers
    withdrawn = sum(_withdrawn(market, name) for name in names)
    fees = sum(parse_amount(market.client(name).earnings()["fees"]) for name in names)
    refunds = market.buyer.refund()
    assert not [item for item in refunds if item.get("problem")], refunds
    refunded = sum(parse_amount(item["amount"]) for item in refunds)
    assert deposited == withdrawn + fees + refunded


def _second_run(market: Market, id: str) -> dict[str, Any] | None:
    job = market.buyer.job(id)
    return job if job["attempt"] == 2 and job["provider"] and job["status"] != "pending" else None


def _withdrawn(market: Market, name: str) -> int:
    client = market.client(name)
    earned = client.earnings()
    if parse_amount(earned["unclaimed"]) + parse_amount(earned["withdrawable"]) > 0:
        client.withdraw()
    return parse_amount(client.earnings()["withdrawn"])


def _network_process(parent: int) -> int:
    """The process id of a node's network process, 0 when there is none now."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
            command = (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z" and b"node.p2p" in command:
            return int(status.parent.name)
    return 0
