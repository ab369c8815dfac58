"""Webhooks over HTTP, as they are documented and beyond."""

import httpx
import pytest

from tests.node.api.fakes import OTHER_KEY

pytestmark = pytest.mark.anyio
DOCUMENTED = {
    "url": "https://hooks.example/webhook",
    "events": ["agent.created", "agent.stopped"],
    "secret": "your-webhook-secret",
}


async def test_a_webhook_is_made_as_documented_and_looked_after(client: httpx.AsyncClient) -> None:
    made = await client.post("/v1/webhooks", json=DOCUMENTED)
    hook = made.json()
    assert (made.status_code, hook["events"], hook["status"]) == (201, DOCUMENTED["events"], "active")
    assert made.headers["cache-control"] == "no-store"
    path = made.headers["location"]
    assert (await client.get(path)).json()["secret"] is None
    assert (await client.get("/v1/webhooks")).json()["total"] == 1
    assert (await client.patch(path, json={"isActive": False})).json()["status"] == "disabled"
    assert (await client.put(path, json={"is_active": True, "events": []})).json()["events"] == []
    assert (await client.post(f"{path}/rotate")).json()["secret"].startswith("whsec_")
    sent = await client.post(f"{path}/test")
    assert (sent.status_code, sent.json()["event"], sent.json()["status"]) == (202, "webhook.test", "pending")
    [delivery] = (await client.get(f"{path}/deliveries")).json()["deliveries"]
    again = await client.post(f"/v1/webhooks/deliveries/{delivery['id']}/retry")
    assert again.status_code == 202
    other = {"X-API-Key": OTHER_KEY}
    for answer in (
        await client.get(path, headers=other),
        await client.delete(path, headers=other),
        await client.post(f"{path}/test", headers=other),
        await client.get(f"{path}/deliveries", headers=other),
        await client.post(f"/v1/webhooks/deliveries/{delivery['id']}/retry", headers=other),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert (await client.delete(path)).json()["success"] is True
    assert (await client.get(path)).status_code == 404


async def test_who_may_not_read_lets_nobody_be_told(client: httpx.AsyncClient) -> None:
    path = (await client.post("/v1/webhooks", json=DOCUMENTED)).headers["location"]
    lesser = {"X-API-Key": (await client.post("/v1/keys", json={"name": "a", "scopes": ["account"]})).json()["key"]}
    for answer in (
        await client.post("/v1/webhooks", json=DOCUMENTED, headers=lesser),
        await client.patch(path, json={"url": "https://hooks.example/mine"}, headers=lesser),
    ):
        assert (answer.status_code, answer.json()["error"]["details"]["scope"]) == (403, "read")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"url": "http://hooks.example/"}, "url"),
        ({"url": "https://10.0.0.1/"}, "url"),
        ({"url": ""}, "url"),
        ({"events": ["agent.exploded"]}, "events"),
        ({"secret": "short"}, "secret"),
        ({"active": True}, "active"),
    ],
)
async def test_what_is_no_webhook_is_refused_by_field(
    client: httpx.AsyncClient, change: dict[str, object], field: str
) -> None:
    answer = await client.post("/v1/webhooks", json={**DOCUMENTED, **change})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
    assert answer.json()["error"]["details"]["field"] == field
    assert "short" not in answer.text
    assert (await client.get("/v1/webhooks")).json()["total"] == 0


async def test_deliveries_come_in_pages_newest_first(client: httpx.AsyncClient) -> None:
    path = (await client.post("/v1/webhooks", json=DOCUMENTED)).headers["location"]
    sent = [(await client.post(f"{path}/test")).json()["id"] for _ in range(5)]
    shown, cursor = list[str](), ""
    while True:
        page = (
            await client.get(f"{path}/deliveries", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        ).json()
        shown += [delivery["id"] for delivery in page["deliveries"]]
        assert (page["total"], page["limit"], page["has_more"]) == (5, 2, len(shown) < 5)
        if not page["has_more"]:
            break
        cursor = page["pagination"]["nextCursor"]
    assert sorted(shown) == sorted(sent)
    assert len(shown) == 5
    last = (await client.get(f"{path}/deliveries", params={"limit": 2, "page": 3})).json()
    assert [delivery["id"] for delivery in last["deliveries"]] == shown[4:]
    assert last["offset"] == 4
    assert (await client.get(f"{path}/deliveries", params={"cursor": "x"})).status_code == 400
