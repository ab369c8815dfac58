"""Users over HTTP: administrators look after them, and everybody after himself."""

import httpx
import msgspec
import pytest

from node.records import Account, Happened
from tests.node.api.fakes import ALICE, BOB, ROOT, World

pytestmark = pytest.mark.anyio
ANN = {"email": "ann@example.org", "password": "correct horse", "role": "developer"}


async def test_a_user_is_made_seen_changed_and_deleted(root: httpx.AsyncClient) -> None:
    made = await root.post("/v1/users", json=ANN)
    user = made.json()
    assert (made.status_code, made.headers["location"]) == (201, f"/v1/users/{user['id']}")
    assert (user["email"], user["role"], user["tier"], user["status"]) == (ANN["email"], "developer", "free", "active")
    assert "password" not in made.text
    changed = (await root.put(f"/v1/users/{user['id']}", json={"tier": "pro"})).json()
    assert (changed["tier"], changed["email"]) == ("pro", ANN["email"])
    assert (await root.patch(f"/v1/users/{user['id']}", json={"isBlocked": True})).json()["status"] == "blocked"
    gone = await root.delete(f"/v1/users/{user['id']}")
    assert (gone.json()["success"], gone.json()["id"]) == (True, user["id"])
    assert (await root.get(f"/v1/users/{user['id']}")).status_code == 404


async def test_the_list_has_pages_in_the_documented_shape(root: httpx.AsyncClient) -> None:
    page = (await root.get("/v1/users?limit=2&offset=1")).json()
    assert [len(page["users"]), page["total"], page["limit"], page["offset"], page["has_more"]] == [2, 3, 2, 1, False]


async def test_an_email_is_taken_once(root: httpx.AsyncClient) -> None:
    await root.post("/v1/users", json=ANN)
    again = await root.post("/v1/users", json=ANN)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "conflict")


async def test_users_are_for_administrators_to_list_and_make(client: httpx.AsyncClient) -> None:
    for answer in (await client.get("/v1/users"), await client.post("/v1/users", json=ANN)):
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")


async def test_everybody_sees_and_changes_himself_alone(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"/v1/users/{ALICE.id}")).json()["id"] == ALICE.id
    assert (await client.put(f"/v1/users/{ALICE.id}", json={"name": "Al"})).json()["name"] == "Al"
    for path in (f"/v1/users/{BOB.id}", f"/v1/users/{ROOT.id}", "/v1/users/user_none"):
        answers = [
            await client.get(path),
            await client.put(path, json={"name": "x"}),
            await client.patch(path, json={"name": "x"}),
            await client.delete(path),
        ]
        assert [answer.status_code for answer in answers] == [404] * 4
        assert {answer.json()["error"]["message"] for answer in answers} == {"no such user"}


@pytest.mark.parametrize("change", [{"role": "admin"}, {"tier": "enterprise"}, {"isBlocked": False}])
async def test_nobody_raises_himself(client: httpx.AsyncClient, change: dict[str, object]) -> None:
    answer = await client.put(f"/v1/users/{ALICE.id}", json=change)
    assert (answer.status_code, answer.json()["error"]["details"]["scope"]) == (403, "admin")


@pytest.mark.parametrize("who", ["client", "root"])
async def test_a_lesser_key_opens_no_greater_way_into_its_account(
    who: str, client: httpx.AsyncClient, root: httpx.AsyncClient
) -> None:
    owner = {"client": client, "root": root}[who]
    key = (await owner.post("/v1/keys", json={"name": "a", "scopes": ["read", "account"]})).json()["key"]
    lesser = {"X-API-Key": key}
    id = (await owner.get("/v1/auth/me")).json()["user"]["id"]
    for answer in (
        await owner.put(f"/v1/users/{id}", json={"password": "taken over"}, headers=lesser),
        await owner.patch(f"/v1/users/{id}", json={"email": "eve@example.org"}, headers=lesser),
        await owner.delete(f"/v1/users/{id}", headers=lesser),
        await owner.post("/v1/auth/wallet", json={"message": "m", "signature": "0x"}, headers=lesser),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize("scopes", [["admin"], ["read", "compute", "account", "admin"]])
async def test_a_lesser_key_of_an_administrator_makes_no_users(
    scopes: list[str], root: httpx.AsyncClient, world: World
) -> None:
    made = (await root.post("/v1/keys", json={"name": "a", "scopes": scopes})).json()
    for role in ("admin", "developer"):
        answer = await root.post("/v1/users", json={**ANN, "role": role}, headers={"X-API-Key": made["key"]})
        assert (answer.status_code, answer.json()["error"]["details"]["scope"]) == (403, "all")
    assert not [each for each in world.storage.find(Account) if each.email == ANN["email"]]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**ANN, "email": "ann"}, "email"),
        ({**ANN, "password": "short"}, "password"),
        ({**ANN, "role": "king"}, "role"),
        ({**ANN, "is_admin": True}, "is_admin"),
        ({"email": ANN["email"]}, "password"),
    ],
)
async def test_bad_users_are_refused_by_field(root: httpx.AsyncClient, body: dict[str, object], field: str) -> None:
    error = (await root.post("/v1/users", json=body)).json()["error"]
    assert (error["code"], error["details"]["field"]) == ("invalid_request", field)


async def test_a_user_says_below_what_he_wants_to_be_told(client: httpx.AsyncClient, world: World) -> None:
    assert (await client.get(f"/v1/users/{ALICE.id}")).json()["low_balance"] is None
    changed = await client.patch(f"/v1/users/{ALICE.id}", json={"lowBalance": "2000000.5"})
    assert changed.json()["low_balance"] == 2_000_000.5
    [told] = world.storage.find(Happened, event="billing.low_balance")
    assert msgspec.json.decode(told.body) == {"balance": "1000000.0", "threshold": "2000000.5"}
    for bad in ("much", "-1", 1e300):
        answer = await client.patch(f"/v1/users/{ALICE.id}", json={"low_balance": bad})
        assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, "lowBalance")


async def test_credits_are_given_once_under_one_key(root: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    path = f"/v1/users/{ALICE.id}/credits"
    for key, amount, status in (("a", 50, 200), ("a", 50, 200), ("b", 7, 200), ("a", 51, 422), ("c", 0, 400)):
        answer = await root.post(path, json={"amount": amount}, headers={"Idempotency-Key": key})
        assert answer.status_code == status, answer.text
    assert (await root.post(path, json={"amount": 1})).json() == {"user_id": ALICE.id, "credits": 58}
    assert (await client.get("/v1/wallet/balance")).json()["credits"] == 58
    assert (await root.post("/v1/users/user_none/credits", json={"amount": 1})).status_code == 404
