"""Signing in over HTTP: the documented token, and the ways beside it."""

import re
from typing import Any

import httpx
import pytest

from market.signing import Signer
from market.siwe import SignInMessage, digest_of_text, write_message
from node.ports import Window
from tests.node.api.fakes import ALICE, KEY, World

pytestmark = pytest.mark.anyio
ANN = {"email": "ann@example.org", "password": "correct horse"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "X-API-Key": ""}


@pytest.fixture
async def anon(world: World, anyio_backend: str) -> Any:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=world.app), base_url="http://node") as anon:
        yield anon


async def test_email_and_password_become_a_token_as_documented(
    root: httpx.AsyncClient, anon: httpx.AsyncClient
) -> None:
    await root.post("/v1/users", json={**ANN, "role": "developer"})
    answer = await anon.post("/v1/auth/token", json=ANN)
    body = answer.json()
    assert (answer.status_code, body["token_type"], body["expires_in"]) == (200, "Bearer", 3600)
    assert answer.headers["cache-control"] == "no-store"
    me = (await anon.get("/v1/auth/me", headers=bearer(body["access_token"]))).json()
    assert (me["user"]["email"], me["scopes"]) == (ANN["email"], ["read", "compute", "money", "account"])
    renewed = (
        await anon.post("/v1/auth/token", json={"grant_type": "refresh_token", "refresh_token": body["refresh_token"]})
    ).json()
    out = await anon.post("/v1/auth/logout", headers=bearer(renewed["access_token"]))
    assert out.json()["success"] is True
    assert (await anon.get("/v1/auth/me", headers=bearer(renewed["access_token"]))).status_code == 401


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"email": "ann@example.org", "password": "wrong"}, 401, None),
        ({"email": "ann@example.org"}, 400, "password"),
        ({"password": "x"}, 400, "email"),
        ({"grant_type": "refresh_token"}, 400, "refresh_token"),
        ({"grant_type": "implicit"}, 400, "grant_type"),
        ({"grant_type": "siwe", "signature": "0x"}, 400, "message"),
        ({"grant_type": "siwe", "message": "x"}, 400, "signature"),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, 401, None),
        ({**ANN, "otp": "1"}, 400, "otp"),
    ],
)
async def test_what_is_no_sign_in_is_refused_in_the_documented_envelope(
    anon: httpx.AsyncClient, body: dict[str, str], status: int, field: str | None
) -> None:
    answer = await anon.post("/v1/auth/token", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, "invalid_request" if status == 400 else "unauthorized")
    assert error["details"].get("field") == field


@pytest.mark.parametrize(
    ("path", "more"), [("/v1/auth/siwe", {}), ("/v1/auth/token", {"grant_type": "siwe"})], ids=["siwe", "a grant"]
)
async def test_a_wallet_signs_in(world: World, anon: httpx.AsyncClient, path: str, more: dict[str, str]) -> None:
    wallet = Signer(b"w" * 32)
    nonce = (await anon.get("/v1/auth/nonce")).json()
    message = SignInMessage(
        domain="localhost",
        address=wallet.address,
        uri="http://localhost/",
        chain=nonce["chain_id"],
        nonce=nonce["nonce"],
        issued_at=world.clock.now(),
    )
    text = write_message(message)
    body = {"message": text, "signature": wallet.sign(digest_of_text(text)).hex(), **more}
    token = (await anon.post(path, json=body)).json()["access_token"]
    assert (await anon.get("/v1/auth/me", headers=bearer(token))).json()["user"]["wallet"] == wallet.address
    assert (await anon.post(path, json=body)).status_code == 401


async def test_a_device_is_let_in(client: httpx.AsyncClient, anon: httpx.AsyncClient) -> None:
    started = (await anon.post("/v1/auth/device", json={"client_name": "laptop", "scope": "account read"})).json()
    assert started["verification_uri_complete"].endswith(f"/device?user_code={started['user_code']}")
    code = {"device_code": started["device_code"]}
    waiting = await anon.post("/v1/auth/device/token", json=code)
    assert (waiting.status_code, waiting.json()["error"]) == (400, "authorization_pending")
    shown = (await client.get(f"/v1/auth/device/{started['user_code']}")).json()
    assert (shown["client_name"], shown["address"], shown["scopes"]) == ("laptop", "127.0.0.1", ["read", "account"])
    decided = await client.post("/v1/auth/device/decision", json={"user_code": started["user_code"], "approve": True})
    assert decided.json()["message"] == "Device let in"
    token = (await anon.post("/v1/auth/device/token", json=code)).json()["access_token"]
    me = (await anon.get("/v1/auth/me", headers=bearer(token))).json()
    assert me["user"]["id"] == ALICE.id


async def test_a_device_may_ask_in_the_words_and_the_form_of_rfc_8628(
    client: httpx.AsyncClient, anon: httpx.AsyncClient
) -> None:
    asked = {"client_id": "some-cli", "client_name": "laptop", "scope": "", "audience": "unknown here"}
    started = (await anon.post("/v1/auth/device", data=asked)).json()
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "client_id": "some-cli"}
    code = {**form, "device_code": started["device_code"]}
    waiting = await anon.post("/v1/auth/device/token", data=code)
    assert (waiting.status_code, waiting.json()["error"]) == (400, "authorization_pending")
    shown = (await client.get(f"/v1/auth/device/{started['user_code']}")).json()
    assert shown["client_name"] == "laptop"
    await client.post("/v1/auth/device/decision", json={"user_code": started["user_code"], "approve": True})
    token = (await anon.post("/v1/auth/device/token", json=code)).json()
    assert (token["token_type"], token["expires_in"]) == ("Bearer", 90 * 86_400)
    assert (await anon.get("/v1/auth/me", headers=bearer(token["access_token"]))).status_code == 200


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"client_name=" + b"x" * 65, "client_name"),
        (b"scope=everything", "scope"),
        (b"scope=read&scope=money", "scope"),
        (b"client_name=%ff", "body"),
        (b"&".join(b"a=%d" % n for n in range(40)), "body"),
    ],
)
async def test_a_form_is_held_to_the_same_bounds(anon: httpx.AsyncClient, content: bytes, field: str) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await anon.post("/v1/auth/device", content=content, headers=headers)
    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, field)


async def test_a_form_is_taken_where_it_is_said_and_nowhere_else(anon: httpx.AsyncClient) -> None:
    assert (await anon.post("/v1/auth/token", data=ANN)).status_code == 415
    assert (await anon.post("/v1/auth/device", content=b"x", headers={"Content-Type": "text/plain"})).status_code == 415
    document = (await anon.get("/docs/openapi.json")).json()
    formed = [
        operation["operationId"]
        for path in document["paths"].values()
        for operation in path.values()
        if "application/x-www-form-urlencoded" in operation.get("requestBody", {}).get("content", {})
    ]
    assert formed == ["startDevice", "collectDeviceToken"]


async def test_a_key_of_whatever_scope_ends_itself_and_no_other(client: httpx.AsyncClient) -> None:
    key = (await client.post("/v1/keys", json={"name": "a", "scopes": ["read"]})).json()
    out = await client.post("/v1/auth/logout", headers={"X-API-Key": key["key"]})
    assert (out.status_code, out.json()["id"]) == (200, key["id"])
    assert (await client.get("/v1/auth/me", headers={"X-API-Key": key["key"]})).status_code == 401
    assert (await client.get("/v1/auth/me")).status_code == 200


async def test_the_page_for_devices_can_be_neither_framed_nor_added_to(anon: httpx.AsyncClient) -> None:
    page = await anon.get("/device?user_code=BCDF-GHJK")
    policy = page.headers["content-security-policy"]
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["cache-control"] == "no-store"
    assert "BCDF" not in page.text
    assert not re.search(r"(src|href|action)=|https?:|innerHTML|localStorage|cookie", page.text)


async def test_a_lesser_key_lets_no_device_in(client: httpx.AsyncClient, anon: httpx.AsyncClient) -> None:
    key = (await client.post("/v1/keys", json={"name": "a", "scopes": ["read", "account"]})).json()["key"]
    started = (await anon.post("/v1/auth/device", json={})).json()
    answer = await anon.post(
        "/v1/auth/device/decision",
        json={"user_code": started["user_code"], "approve": True},
        headers={"X-API-Key": key},
    )
    assert answer.status_code == 403


async def test_who_guesses_is_told_to_wait() -> None:
    rules = {"anonymous": {"general": (Window(100, 60),), "auth": (Window(3, 60),)}, "free": {}}
    world = World(limits=rules)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=world.app), base_url="http://node") as anon:
        answers = [(await anon.post("/v1/auth/token", json={**ANN, "password": str(n)})) for n in range(4)]
        assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
        assert answers[-1].headers["retry-after"] == "60"
        assert answers[-1].json()["error"]["code"] == "rate_limit_exceeded"
        assert (await anon.get("/v1/version")).status_code == 200


async def test_codes_of_devices_are_guessed_slowly_and_asked_for_as_often_as_a_device_must() -> None:
    rules = {"general": (Window(100, 60),), "auth": (Window(3, 60),)}
    world = World(limits={"anonymous": rules, "free": rules})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=world.app), base_url="http://node") as client:
        key, code = {"X-API-Key": KEY}, {"user_code": "BBBB-BBBB", "approve": True}
        looks = [await client.get(f"/v1/auth/device/BBBB-BBB{letter}", headers=key) for letter in "BCD"]
        decided = await client.post("/v1/auth/device/decision", headers=key, json=code)
        linked = await client.post("/v1/auth/wallet", headers=key, json={"message": "x", "signature": "x"})
        asked = [await client.post("/v1/auth/device/token", json={"device_code": "x"}) for _ in range(12)]
    assert [answer.status_code for answer in (*looks, decided, linked)] == [404, 404, 404, 429, 429]
    assert {answer.json()["error"] for answer in asked} == {"expired_token"}


async def test_who_guesses_keys_is_told_to_wait() -> None:
    world = World(limits={"anonymous": {"general": (Window(3, 60),)}, "free": {}})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=world.app), base_url="http://node") as anon:
        guesses = [await anon.get("/v1/jobs", headers={"X-API-Key": f"{KEY}{n}"}) for n in range(4)]
        assert [answer.status_code for answer in guesses] == [401, 401, 401, 429]
        assert (await anon.get("/v1/jobs", headers={"X-API-Key": KEY})).status_code == 200


async def test_the_errors_of_a_keys_platform_are_told_on_open_routes_too(
    client: httpx.AsyncClient, anon: httpx.AsyncClient
) -> None:
    key = (await client.post("/v1/keys", json={"name": "a", "profile": "neorun"})).json()["key"]
    for method, path in (("POST", "/v1/auth/token"), ("GET", "/v1/jobs/job_none")):
        answer = await anon.request(method, path, headers={"X-API-Key": key}, json={} if method == "POST" else None)
        assert isinstance(answer.json()["error"], str), answer.text
