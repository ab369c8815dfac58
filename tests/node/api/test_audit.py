"""The log of who did what over HTTP: every operation that changes something is in it, or there is a reason."""

from typing import Any, Final

import httpx
import msgspec
import pytest

from market.audit import AuditEntry, verify
from market.signing import Signer
from market.siwe import SignInMessage, digest_of_text, write_message
from node.actions.keys import NewKey
from tests.builders import NOW, REQUESTER
from tests.node.api.fakes import ALICE, BOB, KEY, OTHER_KEY, ROOT, World
from tests.node.api.test_matrix import ALL

pytestmark = pytest.mark.anyio
ANN: Final = {"email": "ann@example.org", "password": "correct horse"}
LEAVES: Final = {
    "create_user": "account.made",
    "replace_user": "account.changed",
    "update_user": "account.blocked",
    "delete_user": "account.deleted",
    "create_key": "key.made",
    "revoke_key": "key.revoked",
    "give_token": "session.opened",
    "sign_out": "session.ended",
    "sign_in_with_wallet": "session.opened",
    "link_wallet": "wallet.linked",
    "decide_device": "device.let_in",
    "collect_device_token": "key.made",
    "create_webhook": "webhook.made",
    "replace_webhook": "webhook.changed",
    "update_webhook": "webhook.changed",
    "rotate_webhook": "webhook.rotated",
    "delete_webhook": "webhook.deleted",
    "withdraw": "payout.opened",
    "refund": "wallet.refund_asked",
    "give_credits": "credits.granted",
    "post_ask": "ask.posted",
    "withdraw_ask": "ask.withdrawn",
}
"""What each operation leaves in the log."""
WORK: Final = "what users run: the journal and the ledger have it"
CONTENT: Final = "content of users: no right and no money"
LEAVES_NOTHING: Final = {
    **dict.fromkeys(("submit_job", "cancel_job", "submit_code", "write_files", "store_file"), WORK),
    **{
        f"{verb}_{noun}": WORK for noun in ("deployment", "agent") for verb in ("create", "replace", "update", "delete")
    },
    **{f"{verb}_{noun}": WORK for noun in ("deployment", "agent") for verb in ("start", "stop", "restart", "scale")},
    **{f"{verb}_pod": WORK for verb in ("start", "stop", "delete")},
    **dict.fromkeys(("create_project", "delete_project", "delete_file"), CONTENT),
    "test_webhook": "posts to where the webhook posts anyway",
    "retry_delivery": "posts to where the webhook posts anyway",
    "start_device": "nobody is let in by it; who lets in is written down",
}


def log(world: World) -> list[AuditEntry]:
    return world.storage.find(AuditEntry)


def test_every_operation_that_changes_something_is_in_the_log_or_has_a_reason() -> None:
    changing = {each.name for each in ALL if each.method != "GET"}
    assert changing == {*LEAVES, *LEAVES_NOTHING}
    assert not {*LEAVES} & {*LEAVES_NOTHING}


async def proof(client: httpx.AsyncClient) -> dict[str, str]:
    """What a wallet signs in with."""
    wallet, nonce = Signer(b"w" * 32), (await client.get("/v1/auth/nonce")).json()
    message = SignInMessage(
        domain="localhost:8080",
        address=wallet.address,
        uri="http://localhost:8080/v1/auth/siwe",
        chain=nonce["chain_id"],
        nonce=nonce["nonce"],
        issued_at=NOW,
    )
    text = write_message(message, "Sign in.")
    return {"message": text, "signature": "0x" + wallet.sign(digest_of_text(text)).hex()}


class Acting:
    """Does each of the operations once, and collects what new entries each of them left."""

    def __init__(self, world: World, client: httpx.AsyncClient, root: httpx.AsyncClient) -> None:
        self.world, self.client, self.root = world, client, root
        self.left: dict[str, list[AuditEntry]] = {}

    async def do(self, name: str, client: httpx.AsyncClient, path: str, **sent: Any) -> Any:
        before, operation = len(log(self.world)), next(each for each in ALL if each.name == name)
        headers = {"X-Request-Id": f"req-{name}", **sent.pop("headers", {})}
        answer = await client.request(operation.method, path, headers=headers, **sent)
        assert answer.status_code < 300, (name, answer.text)
        self.left[name] = log(self.world)[before:]
        return answer.json()

    async def users(self) -> None:
        user = (await self.do("create_user", self.root, "/v1/users", json=ANN))["id"]
        await self.do("replace_user", self.root, f"/v1/users/{user}", json={"tier": "pro"})
        tokens = await self.do("give_token", self.client, "/v1/auth/token", json=ANN, headers={"X-API-Key": ""})
        bearer = {"X-API-Key": "", "Authorization": f"Bearer {tokens['access_token']}"}
        await self.do("link_wallet", self.client, "/v1/auth/wallet", json=await proof(self.client), headers=bearer)
        await self.do("sign_out", self.client, "/v1/auth/logout", headers=bearer)
        signed = await proof(self.client)
        await self.do("sign_in_with_wallet", self.client, "/v1/auth/siwe", json=signed, headers={"X-API-Key": ""})
        await self.do("give_credits", self.root, f"/v1/users/{user}/credits", json={"amount": 5})
        await self.do("update_user", self.root, f"/v1/users/{user}", json={"isBlocked": True})
        await self.do("delete_user", self.root, f"/v1/users/{user}")

    async def keys(self) -> None:
        key = (await self.do("create_key", self.client, "/v1/keys", json={"name": "k"}))["id"]
        await self.do("revoke_key", self.client, f"/v1/keys/{key}")
        device = (await self.client.post("/v1/auth/device", json={})).json()
        decision = {"userCode": device["user_code"], "approve": True}
        await self.do("decide_device", self.client, "/v1/auth/device/decision", json=decision)
        code = {"deviceCode": device["device_code"]}
        await self.do("collect_device_token", self.client, "/v1/auth/device/token", json=code)

    async def webhooks(self) -> None:
        url = "https://hooks.example/secret"
        hook = (await self.do("create_webhook", self.client, "/v1/webhooks", json={"url": url}))["id"]
        path = f"/v1/webhooks/{hook}"
        await self.do("replace_webhook", self.client, path, json={"events": ["job.*"]})
        await self.do("update_webhook", self.client, path, json={"isActive": False})
        await self.do("rotate_webhook", self.client, f"{path}/rotate")
        await self.do("delete_webhook", self.client, path)

    async def money(self) -> None:
        self.world.storage.put(msgspec.structs.replace(ALICE, wallet=REQUESTER))
        self.world.people.callers.forget(ALICE.id)
        await self.do("withdraw", self.client, "/v1/wallet/withdraw", json={"amount": "1"})
        prices = {"prices": {"cpu": "1", "memory": "1"}}
        ask = (await self.do("post_ask", self.root, "/v1/market/asks", json=prices))["id"]
        await self.do("withdraw_ask", self.root, f"/v1/market/asks/{ask}")


async def test_each_of_them_leaves_what_the_table_says_under_its_caller_and_request(
    world: World, client: httpx.AsyncClient, root: httpx.AsyncClient
) -> None:
    acting = Acting(world, client, root)
    for part in (acting.users, acting.keys, acting.webhooks, acting.money):
        await part()
    assert acting.left.keys() == LEAVES.keys() - {"refund"}, "its actions are no real ones here: see test_wallets"
    for name, entries in acting.left.items():
        assert LEAVES[name] in {entry.deed.action for entry in entries}, name
        assert {entry.actor.request for entry in entries} == {f"req-{name}"}
        assert {entry.actor.address for entry in entries} == {"127.0.0.1"}
    who = {name: entries[0].actor.account for name, entries in acting.left.items()}
    assert {who[name] for name in ("create_user", "update_user")} == {ROOT.id}
    assert {who[name] for name in ("create_key", "withdraw", "rotate_webhook")} == {ALICE.id}
    assert {who[name] for name in ("give_token", "sign_in_with_wallet")} == {""}
    assert acting.left["create_key"][0].actor.credential == f"key_{ALICE.name}"
    assert verify(log(world)).flaw == ""
    assert "secret" not in str(log(world))


async def test_administrators_read_all_in_pages_and_look_for_something(
    world: World, client: httpx.AsyncClient, root: httpx.AsyncClient
) -> None:
    for name in ("a", "b"):
        await client.post("/v1/keys", json={"name": name})
    await root.post("/v1/users", json=ANN)
    first = (await root.get("/v1/audit?limit=3")).json()
    assert [entry["seq"] for entry in first["entries"]] == [5, 4, 3]
    assert (first["pagination"]["total"], first["pagination"]["hasMore"]) == (5, True)
    cursor = first["pagination"]["nextCursor"]
    rest = (await root.get(f"/v1/audit?limit=3&cursor={cursor}")).json()
    assert ([entry["seq"] for entry in rest["entries"]], rest["pagination"]["hasMore"]) == ([2, 1], False)
    keys = (await root.get(f"/v1/audit?action=key.made&account={ALICE.id}&actor={ALICE.id}&since=1h")).json()
    assert [entry["detail"]["name"] for entry in keys["entries"]] == ["b", "a"]
    entry = keys["entries"][0]
    assert entry["actor"]["address"] == "127.0.0.1"
    assert entry["previous"] == keys["entries"][1]["hash"]
    assert (await root.get("/v1/audit?since=2099-01-01T00:00:00Z")).json()["entries"] == []


async def test_everybody_reads_what_concerns_himself_and_not_how_an_administrator_came(
    client: httpx.AsyncClient, root: httpx.AsyncClient
) -> None:
    await root.patch(f"/v1/users/{ALICE.id}", json={"tier": "pro"})
    await client.post("/v1/keys", json={"name": "a"})
    await client.post("/v1/keys", json={"name": "b"}, headers={"X-API-Key": OTHER_KEY})
    for query in ("", f"?account={BOB.id}"):
        entries = (await client.get(f"/v1/audit{query}")).json()["entries"]
        assert [(entry["action"], entry["account"]) for entry in entries] == [
            ("key.made", ALICE.id),
            ("account.changed", ALICE.id),
        ]
    assert entries[0]["actor"]["credential"] == f"key_{ALICE.name}"
    hidden = {"account": ROOT.id, "credential": None, "address": None, "requestId": None}
    assert entries[1]["actor"] == hidden


async def test_a_key_that_may_only_read_does_not_read_the_log(world: World, client: httpx.AsyncClient) -> None:
    _, key = await world.people.keys.create_for(ALICE, NewKey(name="r", scopes=("read",)))
    assert (await client.get("/v1/audit", headers={"X-API-Key": key})).status_code == 403


async def test_an_administrators_lesser_key_reads_what_concerns_him(world: World, root: httpx.AsyncClient) -> None:
    await root.post("/v1/users", json=ANN)
    _, key = await world.people.keys.create_for(ROOT, NewKey(name="r", scopes=("account",)))
    entries = (await root.get("/v1/audit", headers={"X-API-Key": key})).json()["entries"]
    assert {entry["account"] for entry in entries} == {ROOT.id}


@pytest.mark.parametrize("query", ["since=yesterday", f"action={'x' * 65}", "limit=101", "cursor=x"])
async def test_queries_that_do_not_fit_are_refused(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(f"/v1/audit?{query}")).status_code == 400


async def test_a_wrong_password_is_seen_by_whose_it_is_with_where_it_came_from(
    world: World, client: httpx.AsyncClient, root: httpx.AsyncClient
) -> None:
    user = (await root.post("/v1/users", json=ANN)).json()["id"]
    await client.post("/v1/auth/token", json={**ANN, "password": "wrong"}, headers={"X-API-Key": ""})
    tokens = (await client.post("/v1/auth/token", json=ANN, headers={"X-API-Key": ""})).json()
    bearer = {"X-API-Key": "", "Authorization": f"Bearer {tokens['access_token']}"}
    refused = (await client.get("/v1/audit?action=sign_in.refused", headers=bearer)).json()["entries"]
    assert [(entry["account"], entry["actor"]["address"]) for entry in refused] == [(user, "127.0.0.1")]
    assert KEY not in str(log(world))
