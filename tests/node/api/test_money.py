"""Providers, prices, wallet and keys."""

import dataclasses
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from market.ledger import CHAIN, Transfer, between, paid_account, user_account
from market.summaries import MarketPrices
from node.actions.billing import month_of
from node.actions.ledger import post
from node.actions.treasury import Treasury
from node.ports import Window
from node.records import ApiKey, Payout, Traffic
from tests.builders import NOW, PROVIDER, REQUESTER, an_offer
from tests.node.api.fakes import ALICE, BOB, KEY, OTHER_KEY, World

pytestmark = pytest.mark.anyio


async def test_providers_come_with_hardware_and_prices_per_hour(client: httpx.AsyncClient) -> None:
    found = (await client.get("/v1/providers?gpu=true")).json()
    [provider] = found["providers"]
    assert (provider["id"], provider["address"]) == (f"prov_{REQUESTER[2:]}", REQUESTER)
    assert provider["resources"]["gpu"] == {"count": 4, "model": "nvidia-a100", "vram": "80Gi"}
    assert provider["prices"] == {"cpu": 0.036, "memory": 0.0036, "disk": 0.00036, "gpu": 1.8}
    assert found["pagination"] == {"limit": 20, "total": 1, "hasMore": False}


async def test_providers_page_by_cursor(client: httpx.AsyncClient) -> None:
    first = (await client.get("/v1/providers?limit=1")).json()
    second = (
        await client.get("/v1/providers", params={"limit": 1, "cursor": first["pagination"]["nextCursor"]})
    ).json()
    assert [first["providers"][0]["reputation"], second["providers"][0]["reputation"]] == [900, 400]
    assert second["pagination"]["hasMore"] is False


@pytest.mark.parametrize(
    "id", [f"prov_{PROVIDER[2:]}", f"node_{PROVIDER[2:]}", PROVIDER, PROVIDER.upper().replace("X", "x")]
)
async def test_a_provider_is_found_by_either_id(client: httpx.AsyncClient, id: str) -> None:
    assert (await client.get(f"/v1/providers/{id}")).json()["reputation"] == 400


@pytest.mark.parametrize("id", ["prov_12", "nobody", "prov_" + "0" * 40])
async def test_an_unknown_provider_is_a_404(client: httpx.AsyncClient, id: str) -> None:
    assert (await client.get(f"/v1/providers/{id}")).status_code == 404


async def test_the_price_table_is_the_documented_one(client: httpx.AsyncClient) -> None:
    table = (await client.get("/v1/market/prices")).json()
    assert table["cpu"] == {"min": 0.036, "avg": 0.036, "max": 0.036}
    assert table["gpu"] == {"nvidia-a100": {"min": 1.8, "avg": 1.8, "max": 1.8}}


async def test_prices_of_an_empty_market_are_null(client: httpx.AsyncClient, world: World) -> None:
    world.market.prices = lambda: MarketPrices(cpu=None, memory=None, gpu={})  # type: ignore[method-assign]
    assert (await client.get("/v1/market/prices")).json()["cpu"] == {"min": None, "avg": None, "max": None}


async def test_statistics_are_in_camel_case(client: httpx.AsyncClient) -> None:
    stats = (await client.get("/v1/market/stats")).json()
    assert (stats["offers"], stats["providers"], stats["total"]["gpus"]) == (2, 2, {"nvidia-a100": 4})


async def test_names_of_regions_stay_what_they_are(client: httpx.AsyncClient, world: World) -> None:
    world.market.offers = [(an_offer(region="eu_west_1"), 400)]
    assert (await client.get("/v1/market/stats")).json()["regions"] == {"eu_west_1": 1}


async def test_the_balance_is_in_tokens(root: httpx.AsyncClient) -> None:
    balance = (await root.get("/v1/wallet/balance")).json()
    assert (balance["balance"], balance["native"], balance["currency"]) == ("12.5", str(10**18), "TUSD")


async def test_earnings_add_up(client: httpx.AsyncClient) -> None:
    found = (await client.get("/v1/wallet/earnings")).json()
    assert float(found["total"]) == pytest.approx(
        sum(float(found[part]) for part in ("unclaimed", "withdrawable", "withdrawn", "fees"))
    )


async def test_a_withdrawal_goes_where_it_is_told(root: httpx.AsyncClient) -> None:
    to = "0x" + "Ab" * 20
    made = await root.post("/v1/wallet/withdraw", json={"to": to}, headers={"Idempotency-Key": "w1"})
    assert (made.status_code, made.json()["to"], made.json()["amount"]) == (201, to.lower(), "5.0")
    found = await root.get(made.headers["location"])
    assert found.json() == made.json()
    foreign = await root.get(made.headers["location"], headers={"X-API-Key": OTHER_KEY})
    assert foreign.status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"to": "0x12"}, "to"),
        ({"to": "me"}, "to"),
        ({"to": "0x" + "0" * 40}, "to"),
        ({"amount": "much"}, "amount"),
        ({"amount": -1}, "amount"),
        ({"all": True}, "all"),
    ],
)
async def test_a_withdrawal_that_can_not_be_read_is_refused(
    client: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    answer = await client.post("/v1/wallet/withdraw", json=body)
    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, field)


async def test_more_than_was_earned_is_a_402(root: httpx.AsyncClient) -> None:
    assert (await root.post("/v1/wallet/withdraw", json={"amount": "999"})).status_code == 402


async def test_transactions_and_refunds_are_told(root: httpx.AsyncClient) -> None:
    [sent] = (await root.get("/v1/wallet/transactions")).json()["transactions"]
    assert sent == {"hash": "0x01", "nonce": 0, "gasUsed": 21_000}
    refund = (await root.post("/v1/wallet/refund")).json()
    assert (refund["refunds"][0]["amount"], refund["refunds"][0]["problem"]) == ("1.5", None)


async def test_a_key_is_shown_once(client: httpx.AsyncClient, world: World) -> None:
    made = await client.post("/v1/keys", json={"name": "ci", "expires_in": "90d"})
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    assert made.json()["key"].startswith("ng_live_")
    [listed] = [key for key in (await client.get("/v1/keys")).json()["keys"] if key["name"] == "ci"]
    assert "key" not in listed
    assert (await client.delete(f"/v1/keys/{listed['id']}")).json()["success"] is True
    assert (await client.delete(f"/v1/keys/{listed['id']}")).status_code == 404


@pytest.mark.parametrize(("text", "seconds"), [("1y", 31_536_000), (None, 0), ("never", 0), ("60s", 60)])
async def test_a_key_lives_as_long_as_it_is_told(
    client: httpx.AsyncClient, world: World, text: str | None, seconds: int
) -> None:
    made = (await client.post("/v1/keys", json={"name": "a", "expiresIn": text})).json()
    key = world.storage.get(ApiKey, made["id"])
    assert key is not None
    assert key.expires_at == (NOW + seconds * 1000 if seconds else 0)


@pytest.mark.parametrize("text", ["0s", "99y", "soon", "xy"])
async def test_a_life_that_can_not_be_read_is_refused(client: httpx.AsyncClient, text: str) -> None:
    answer = await client.post("/v1/keys", json={"name": "a", "expiresIn": text})
    assert answer.json()["error"]["details"]["field"] == "expiresIn"


async def test_a_user_sees_what_he_may_spend_and_where_to_send_more(client: httpx.AsyncClient) -> None:
    found = (await client.get("/v1/wallet/balance")).json()
    assert (found["balance"], found["held"], found["credits"], found["depositAddress"]) == (
        "1000000.0",
        "0.0",
        0,
        PROVIDER,
    )
    assert (await client.get("/v1/wallet/earnings")).json()["total"] == "0.0"
    [line] = (await client.get("/v1/wallet/transactions")).json()["transactions"]
    assert (line["kind"], line["amount"], line["currency"]) == ("deposit", "1000000.0", "TUSD")


async def test_every_movement_of_a_balance_can_be_reached(client: httpx.AsyncClient, world: World) -> None:
    for number in range(150):
        world.clock.time += number % 2
        postings = between(CHAIN, user_account(ALICE.id), 1)
        post(world.storage, Transfer(id=f"d{number}", kind="deposit", subject="", postings=postings), world.clock.time)
    seen: list[str] = []
    query = ""
    while query is not None:
        page = (await client.get(f"/v1/wallet/transactions?{query}")).json()
        seen += [line["id"] for line in page["transactions"]]
        cursor = page["pagination"].get("nextCursor")
        query = cursor and f"cursor={cursor}"
    assert (len(seen), len(set(seen)), page["pagination"]["total"]) == (151, 151, 151)
    by_offset = (await client.get("/v1/wallet/transactions?offset=149")).json()["transactions"]
    assert [line["id"] for line in by_offset] == seen[149:]


async def test_a_user_is_paid_out_to_his_own_wallet_alone(client: httpx.AsyncClient, world: World) -> None:
    refused = await client.post("/v1/wallet/withdraw", json={"amount": "1"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "CONFLICT")
    world.storage.put(replace(ALICE, wallet=REQUESTER))
    world.people.callers.forget(ALICE.id)
    key = {"Idempotency-Key": "w1"}
    for _ in range(2):
        made = await client.post("/v1/wallet/withdraw", json={"amount": "2.5"}, headers=key)
        assert (made.status_code, made.json()["status"], made.json()["to"]) == (201, "confirmed", REQUESTER)
    for other_body in ({"amount": "3"}, {}, {"amount": "2.5", "to": REQUESTER}):
        other_request = await client.post("/v1/wallet/withdraw", json=other_body, headers=key)
        assert (other_request.status_code, other_request.json()["error"]["code"]) == (422, "IDEMPOTENCY_MISMATCH")
    assert (await client.get(made.headers["location"])).json()["amount"] == "2.5"
    assert (await client.get("/v1/wallet/balance")).json()["balance"] == "999997.5"
    other = {"X-API-Key": OTHER_KEY}
    assert (await client.get(made.headers["location"], headers=other)).status_code == 404
    elsewhere = await client.post("/v1/wallet/withdraw", json={"to": PROVIDER})
    assert elsewhere.status_code == 409
    assert (await client.post("/v1/wallet/withdraw", json={"amount": "9999999"})).status_code == 402


async def test_withdrawals_have_windows_of_their_own() -> None:
    world = World(limits={"free": {"withdraw": (Window(1, 3600),)}})
    world.storage.put(replace(ALICE, wallet=REQUESTER))
    transport = httpx.ASGITransport(app=world.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://node", headers={"X-API-Key": KEY}) as client:
        answers = [await client.post("/v1/wallet/withdraw", json={"amount": "1"}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 429]
        assert (await client.get("/v1/wallet/withdraw")).json()["pagination"]["total"] == 1


async def test_less_than_the_node_pays_out_is_a_400(client: httpx.AsyncClient, world: World) -> None:
    world.storage.put(replace(ALICE, wallet=REQUESTER))
    treasury = Treasury(world.engine, world.chain, world.happenings, 10**6)
    world.app.app.state.services = dataclasses.replace(world.services, treasury=treasury)
    answer = await client.post("/v1/wallet/withdraw", json={"amount": "0.999999"})
    assert (answer.status_code, answer.json()["error"]["details"]["expected"]) == (400, ">= 1.0")


def payouts_of(world: World, account: str, count: int) -> None:
    """So many payouts, each in another state than the one before."""
    for number in range(count):
        state = ("pending", "confirmed", "failed")[number % 3]
        fields: dict[str, Any] = {"to": REQUESTER, "amount": 1_000_000 + number, "created_at": NOW + number}
        world.storage.put(Payout(id=f"pay_{account}_{number}", account=account, state=state, **fields))


async def test_payouts_are_listed_newest_first_with_how_they_stand(client: httpx.AsyncClient, world: World) -> None:
    payouts_of(world, ALICE.id, 5)
    payouts_of(world, BOB.id, 2)
    found = (await client.get("/v1/wallet/withdraw")).json()
    assert [each["id"] for each in found["withdrawals"]] == [f"pay_{ALICE.id}_{number}" for number in (4, 3, 2, 1, 0)]
    assert [each["status"] for each in found["withdrawals"][:3]] == ["confirmed", "pending", "failed"]
    assert found["pagination"] == {"limit": 20, "total": 5, "hasMore": False}
    newest = found["withdrawals"][0]
    assert (await client.get(f"/v1/wallet/withdraw/{newest['id']}")).json() == newest
    others = (await client.get("/v1/wallet/withdraw", headers={"X-API-Key": OTHER_KEY})).json()
    assert [each["id"] for each in others["withdrawals"]] == [f"pay_{BOB.id}_1", f"pay_{BOB.id}_0"]


async def test_payouts_page_in_each_of_the_ways(client: httpx.AsyncClient, world: World) -> None:
    payouts_of(world, ALICE.id, 5)
    seen, asked = [], {"limit": "2"}
    while asked:
        page = (await client.get("/v1/wallet/withdraw", params=asked)).json()
        seen += [each["id"] for each in page["withdrawals"]]
        following = page["pagination"].get("nextCursor")
        asked = {"limit": "2", "cursor": following} if following else {}
    assert seen == [f"pay_{ALICE.id}_{number}" for number in (4, 3, 2, 1, 0)]
    for query, ids in (("limit=2&offset=3", seen[3:5]), ("limit=2&page=2", seen[2:4]), ("offset=9", [])):
        page = (await client.get(f"/v1/wallet/withdraw?{query}")).json()
        assert ([each["id"] for each in page["withdrawals"]], page["pagination"]["total"]) == (ids, 5)
    assert (await client.get("/v1/wallet/withdraw?cursor=nonsense")).status_code == 400


async def test_administrators_see_what_they_withdrew_of_the_nodes_earnings(
    root: httpx.AsyncClient, world: World
) -> None:
    payouts_of(world, ALICE.id, 1)
    made = (await root.post("/v1/wallet/withdraw", headers={"Idempotency-Key": "w1"})).json()
    assert (await root.get("/v1/wallet/withdraw")).json()["withdrawals"] == [made]


async def test_usage_and_invoices_are_in_the_documented_shape(client: httpx.AsyncClient, world: World) -> None:
    bought = Transfer(
        id="job_1:5",
        kind="job",
        subject="job_1",
        postings=between(user_account(ALICE.id), paid_account(ALICE.id), 2_500_000),
    )
    post(world.storage, bought, NOW, 7200, 730 * 3600)
    world.storage.put(Traffic(id=f"{ALICE.id}/{month_of(NOW)}", account=ALICE.id, period=month_of(NOW), size=3 * 2**29))
    usage = (await client.get("/v1/billing/usage?period=current")).json()
    assert usage["usage"] == {
        "compute_hours": 2.0,
        "storage_gb": 1.0,
        "network_gb": 1.5,
        "runs": 0,
        "credits": 0,
    }
    assert usage["cost"] == {"compute": 2.5, "storage": 0.0, "network": 0.0, "total": 2.5}
    assert (await client.get("/v1/billing/invoices")).json()["invoices"] == []
    world.clock.time += 40 * 86_400_000
    await world.services.billing.close_months()
    await world.services.billing.close_months()
    [invoice] = (await client.get("/v1/billing/invoices")).json()["invoices"]
    assert (invoice["period"], invoice["amount"], invoice["status"]) == (usage["period"], 2.5, "paid")
    assert invoice["id"].startswith("inv_")
    assert invoice["usage"] == usage["usage"]
    assert (await client.get(f"/v1/billing/invoices/{invoice['id']}")).json() == invoice
    other = {"X-API-Key": OTHER_KEY}
    assert (await client.get(f"/v1/billing/invoices/{invoice['id']}", headers=other)).status_code == 404
    last = (await client.get("/v1/billing/usage?period=last_month")).json()
    assert (last["period"], last["cost"]["total"]) == (usage["period"], 2.5)


@pytest.mark.parametrize(
    "period", ["2026", "2026-13", "yesterday", "2026-00", "0000-01", "2026-1x", "2026-1", "\uff19\uff19\uff19\uff19-01"]
)
async def test_a_period_that_is_none_is_refused(client: httpx.AsyncClient, period: str) -> None:
    answer = await client.get("/v1/billing/usage", params={"period": period})
    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, "period")


async def test_nodes_are_the_providers_under_another_name(client: httpx.AsyncClient) -> None:
    providers = (await client.get("/v1/providers?gpu=true")).json()
    [provider] = providers["providers"]
    id, node = provider["id"], f"node_{provider['address'][2:]}"
    assert (await client.get("/v1/nodes?gpu=true")).json()["providers"] == [{**provider, "id": node}]
    by_either = [(await client.get(f"/v1/nodes/{name}")).json() for name in (id, node)]
    assert by_either == [(await client.get(f"/v1/providers/{id}")).json() | {"id": node}] * 2
    offers = (await client.get(f"/v1/providers/{id}/offers")).json()["offers"]
    assert offers == (await client.get(f"/v1/providers/{id}")).json()["offers"]
    assert (await client.get("/v1/nodes/prov_none")).status_code == 404


async def test_the_book_shows_asks_and_blinded_demands(client: httpx.AsyncClient, world: World) -> None:
    book = (await client.get("/v1/market/orders")).json()
    assert len(book["asks"]) == 2
    assert book["asks"][0]["offer"]["prices"]["cpu"] <= book["asks"][1]["offer"]["prices"]["cpu"]
    [order] = book["orders"]
    assert order["resources"]["cpu"] == 1.0
    assert not {"image", "command", "specDigest", "peer"} & order.keys()
    assert len((await client.get("/v1/market/orders?limit=1")).json()["asks"]) == 1


HAND = {"prices": {"cpu": "0.05", "memory": 0.01, "gpu": "2"}, "expiresIn": "8h"}


async def test_an_ask_by_hand_is_shown_replaced_and_taken_back(root: httpx.AsyncClient) -> None:
    posted = await root.post("/v1/market/asks", json=HAND)
    ask = posted.json()
    assert posted.status_code == 201
    assert ask["prices"] == {"cpu": 0.05, "memory": 0.01, "disk": 0.0, "gpu": 2.0}
    assert (await root.get("/v1/market/asks")).json()["asks"] == [ask]
    later = (await root.post("/v1/market/asks", json={"prices": {"cpu": 1, "memory": 1}})).json()
    assert later["expiresAt"] is None
    assert (await root.delete(f"/v1/market/asks/{ask['id']}")).status_code == 404
    assert (await root.delete(f"/v1/market/asks/{later['id']}")).status_code == 200
    assert (await root.get("/v1/market/asks")).json()["asks"] == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"prices": {"cpu": "0.000001", "memory": 0}}, "prices.cpu"),
        ({"prices": {"cpu": "1e3", "memory": 0}}, "prices.cpu"),
        ({"prices": {"cpu": 1, "memory": 10**7}}, "prices.memory"),
        ({"prices": {"cpu": 1}}, "prices.memory"),
        ({"expiresIn": "0s"}, "expiresIn"),
        ({"expiresIn": "400d"}, "expiresIn"),
    ],
)
async def test_an_ask_that_can_not_be_is_refused(root: httpx.AsyncClient, change: dict[str, Any], field: str) -> None:
    refused = await root.post("/v1/market/asks", json={**HAND, **change})
    assert (refused.status_code, refused.json()["error"]["details"]["field"]) == (400, field)
    assert (await root.get("/v1/market/asks")).json()["asks"] == []
