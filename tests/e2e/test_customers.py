"""A user of a node, from wallet to wallet: signs in, deposits on the chain, runs a job, sees its price, and leaves."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from contracts.client import Calls
from contracts.deploy import fund_wallets, load_deployment, passing_wallet
from contracts.devnet.accounts import SECRETS
from contracts.rpc import Rpc
from market.signing import Signer
from market.siwe import SignInMessage, digest_of_text, write_message
from market.units import Amount, parse_address, parse_amount
from node.adapters.clock import SystemClock
from tests.e2e.conftest import Market

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(400)]
SECRET = b"wallet of a user".ljust(32, b".")
WALLET = Signer(SECRET)
EMAIL, PASSWORD = "ann@example.org", "correct horse battery"


@pytest.fixture
def user(market: Market) -> Iterator[httpx.Client]:
    """Ann, who was let in by the operator and has linked her wallet."""
    contact = market.cluster.contact("requester")
    with httpx.Client(base_url=contact.url, timeout=70) as client:
        operator = {"X-API-Key": contact.key}
        made = client.post("/v1/users", json={"email": EMAIL, "password": PASSWORD}, headers=operator).json()
        token = client.post("/v1/auth/token", json={"email": EMAIL, "password": PASSWORD}).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        linked = client.post("/v1/auth/wallet", json=signed(client))
        assert (linked.status_code, linked.json()["wallet"]) == (200, WALLET.address), linked.text
        yield client
        gone = client.delete(f"/v1/users/{made['id']}")
        assert gone.status_code == 200, gone.text


def signed(client: httpx.Client) -> dict[str, str]:
    nonce = client.get("/v1/auth/nonce").json()
    text = write_message(
        SignInMessage(
            domain="localhost",
            address=WALLET.address,
            uri="http://localhost/",
            chain=nonce["chain_id"],
            nonce=nonce["nonce"],
            issued_at=SystemClock().now(),
        )
    )
    return {"message": text, "signature": WALLET.sign(digest_of_text(text)).hex()}


def test_a_user_deposits_runs_pays_and_withdraws(market: Market, user: httpx.Client) -> None:
    def balance() -> dict[str, Any]:
        found: dict[str, Any] = user.get("/v1/wallet/balance").json()
        return found

    job = {"image": "busybox", "command": ["true"], "resources": {"cpu": 0.5, "memory": "64Mi"}, "maxPrice": "1"}
    assert user.post("/v1/jobs", json=job).status_code == 402, "nothing is there yet"
    before = balance()
    assert (before["balance"], before["credits"]) == ("0.0", 200)

    pay_in(market, before["depositAddress"], parse_amount("5"))
    market.until(lambda: balance()["balance"] == "5.0", "the deposit")

    posted = user.post("/v1/jobs", json=job)
    assert posted.status_code == 201, posted.text
    assert (balance()["balance"], balance()["held"]) == ("4.0", "1.0")
    done = market.until(lambda: _finished(user, posted.json()["id"]), "the end of the job")
    assert (done["status"], done["error"]) == ("success", None)
    cost = parse_amount(done["cost"])
    assert 0 < cost < parse_amount("1")
    left = balance()
    assert (parse_amount(left["balance"]), left["held"]) == (parse_amount("5") - cost, "0.0")
    usage = user.get("/v1/billing/usage").json()
    assert (round(usage["cost"]["total"] * 10**6), usage["usage"]["compute_hours"] > 0) == (cost, True)
    events = [line["kind"] for line in user.get("/v1/wallet/transactions").json()["transactions"]]
    assert events == ["job", "job", "deposit"]

    taken = user.post("/v1/wallet/withdraw", json={}, headers={"Idempotency-Key": "all"}).json()
    assert (taken["status"], taken["to"], parse_amount(taken["amount"])) == (
        "confirmed",
        WALLET.address,
        parse_amount("5") - cost,
    )
    assert balance()["balance"] == "0.0"
    parts = {part["name"]: part["status"] for part in user.get("/v1/services").json()["services"]}
    assert parts["ledger"] == "healthy"
    entries = user.get("/v1/audit").json()["entries"]
    done_by = {entry["action"]: entry["actor"]["address"] for entry in entries}
    assert [entry["action"] for entry in entries[:2]] == ["payout.confirmed", "payout.opened"]
    assert done_by["payout.opened"] == done_by["session.opened"] == "127.0.0.1"
    assert {"account.made", "credits.granted", "wallet.linked"} <= done_by.keys()


def test_code_is_paid_with_credits_and_only_when_it_succeeds(market: Market, user: httpx.Client) -> None:
    start = user.get("/v1/wallet/balance").json()["credits"]
    for code, cost in (("print(1)", 1), ("raise SystemExit(3)", 0)):
        before = user.get("/v1/wallet/balance").json()["credits"]
        body = {"code": code, "language": "python", "input": ""}
        posted = user.post("/api/v1/runner/submit?wait=60", json=body).json()["data"]
        result = f"/api/v1/runner/{posted['jobId']}/result"
        ended = market.until(lambda at=result: _ended(user, at), "the end of the run", within=150)
        assert ended["status"] == ("success" if cost else "failed")
        assert before - user.get("/v1/wallet/balance").json()["credits"] == cost
    assert start - user.get("/v1/wallet/balance").json()["credits"] == 1


def _finished(user: httpx.Client, id: str) -> dict[str, Any] | None:
    job: dict[str, Any] = user.get(f"/v1/jobs/{id}?wait=60").json()
    return job if job["finishedAt"] else None


def _ended(user: httpx.Client, result: str) -> dict[str, Any] | None:
    run: dict[str, Any] = user.get(result).json()["data"]
    return run if run["status"] in ("success", "failed") else None


def pay_in(market: Market, address: str, amount: Amount) -> None:
    """Give the wallet tokens on the chain, and let it send them to the node."""
    deployment = load_deployment(market.cluster.folder / "network.toml")
    fund_wallets(market.cluster.rpc, deployment, SECRETS[0], {WALLET.address: amount}, [WALLET.address])

    async def send() -> None:
        rpc = Rpc(market.cluster.rpc)
        try:
            async with passing_wallet(rpc, SECRET) as wallet:
                receipt = await wallet.send(Calls(deployment).transfer(parse_address(address), amount), "deposit")
                assert receipt.succeeded
        finally:
            await rpc.close()

    asyncio.run(send())
