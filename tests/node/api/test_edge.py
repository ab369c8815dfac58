"""What holds for every route: keys, envelopes, ids, limits, HEAD, sizes."""

import asyncio
import hashlib
from typing import Any

import httpx
import pytest

from node.actions.keys import NewKey
from node.api import edge
from node.api.bodies import read_body
from node.api.edge import SIGN_IN_LIMIT
from node.api.submissions import SubmitJob
from node.ports import GpuUse, Window
from tests.node.api.fakes import ALICE, KEY, OTHER_KEY, World, a_done_job

pytestmark = pytest.mark.anyio

JOB = {"image": "busybox", "maxPrice": "1"}


def caller(world: World, **headers: str) -> httpx.AsyncClient:
    """A client that sends these headers and no others."""
    transport = httpx.ASGITransport(app=world.app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://node", headers=headers)


@pytest.mark.parametrize(
    "headers",
    [{"X-API-Key": KEY}, {"x-api-KEY": KEY}, {"Authorization": f"Bearer {KEY}"}, {"Authorization": f"bearer {KEY}"}],
)
async def test_a_key_is_taken_from_either_header(world: World, headers: dict[str, str]) -> None:
    assert (await caller(world, **headers).get("/v1/jobs")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": "ng_live_wrong"},
        {"X-API-Key": ""},
        {"Authorization": "Basic abc"},
        {"Authorization": "Bearer"},
        {"X-API-Key": KEY, "Authorization": f"Bearer {OTHER_KEY}"},
    ],
)
async def test_no_key_a_wrong_key_and_two_keys_are_a_401(world: World, headers: dict[str, str]) -> None:
    for method, path in (("GET", "/v1/jobs"), ("POST", "/v1/jobs"), ("GET", "/metrics"), ("PUT", "/v1/files")):
        answer = await caller(world, **headers).request(method, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED")
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_wrong_key_is_refused_before_the_body_is_read(world: World) -> None:
    answer = await caller(world, **{"X-API-Key": "no"}).post("/v1/jobs", content=b"{")
    assert answer.status_code == 401


async def test_every_refusal_has_the_whole_envelope(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/jobs/job_none", headers={"X-Request-Id": "my-id-1"})
    problem = answer.json()
    assert problem == {
        "type": "urn:neugrid:error:not-found",
        "title": "Not Found",
        "status": 404,
        "detail": "no such job",
        "instance": "/v1/jobs/job_none",
        "requestId": "my-id-1",
        "error": {"code": "NOT_FOUND", "message": "no such job", "details": {"id": "job_none"}},
    }
    assert answer.headers["x-request-id"] == "my-id-1"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v2/nothing", 404, "NOT_FOUND"),
        ("GET", "/", 404, "NOT_FOUND"),
        ("GET", "/v1/jobs/a/b/c", 404, "NOT_FOUND"),
        ("DELETE", "/v1/jobs", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/v1/providers", 405, "METHOD_NOT_ALLOWED"),
    ],
)
async def test_what_has_no_route_gets_the_envelope_too(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["requestId"] == answer.headers["x-request-id"]


async def test_a_405_names_what_is_allowed(client: httpx.AsyncClient) -> None:
    assert "GET" in (await client.delete("/v1/jobs")).headers["allow"]


async def test_a_request_id_of_strange_characters_is_replaced(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/version", headers={"X-Request-Id": "a b\tc"})
    assert answer.headers["x-request-id"].startswith("req_")


async def test_a_surprise_is_a_500_that_shows_nothing(world: World) -> None:
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError("secret detail")

    world.jobs.get = fail  # type: ignore[method-assign]
    answer = await caller(world, **{"X-API-Key": KEY}).get("/v1/jobs/job_x")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "INTERNAL_ERROR")
    assert "secret" not in answer.text


async def test_head_answers_like_get_without_a_body(client: httpx.AsyncClient, world: World) -> None:
    world.jobs.put(a_done_job())
    got = await client.get("/v1/jobs/job_0000000000000001")
    head = await client.head("/v1/jobs/job_0000000000000001")
    assert (head.status_code, head.content) == (200, b"")
    assert (head.headers["etag"], head.headers["content-length"]) == (
        got.headers["etag"],
        got.headers["content-length"],
    )


async def test_head_of_a_stream_ends(client: httpx.AsyncClient, world: World) -> None:
    world.jobs.put(a_done_job())
    world.jobs.never_ends = True
    assert (await client.head("/v1/jobs/job_0000000000000001/logs?follow=true")).status_code == 200


async def test_options_needs_no_key(world: World) -> None:
    answer = await caller(world).options("/v1/jobs")
    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")


async def test_a_body_that_is_announced_too_large_is_not_read() -> None:
    world = World(body_limit=100)
    answer = await caller(world, **{"X-API-Key": KEY}).post("/v1/jobs", content=b"x" * 101)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")


async def test_a_large_body_is_refused_in_the_envelope_of_the_keys_platform() -> None:
    world = World(body_limit=100)
    _, key = await world.people.keys.create_for(ALICE, NewKey(name="run", profile="neorun"))
    for sent, flat in ((key, True), (KEY, False), ("ng_live_wrong", False)):
        answer = await caller(world, **{"X-API-Key": sent}).post("/v1/jobs", content=b"x" * 101)
        assert (answer.status_code, isinstance(answer.json()["error"], str)) == (413, flat)


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/jobs"), ("PUT", "/v1/files")])
async def test_a_body_that_grows_too_large_is_cut(method: str, path: str) -> None:
    async def chunks() -> Any:
        for _ in range(20):
            yield b"[" * 10

    client = caller(World(body_limit=100), **{"X-API-Key": KEY, "Content-Type": "application/json"})
    answer = await client.request(method, path, content=chunks())
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("is_announced", [True, False])
async def test_who_signs_in_sends_little(world: World, is_announced: bool) -> None:
    body = b'{"device_code": "x"}' + b" " * SIGN_IN_LIMIT

    async def chunks() -> Any:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    sent = body if is_announced else chunks()
    client = caller(world, **{"Content-Type": "application/json"})
    answer = await client.post("/v1/auth/device/token", content=sent)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")
    assert (await client.post("/v1/auth/device/token", content=body[:SIGN_IN_LIMIT])).json()["error"] == "expired_token"
    assert (await client.post("/v1/jobs", content=body)).status_code == 401


async def test_a_body_that_drips_is_not_waited_for_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "SLOWEST", 10**6)
    world, sent = World(body_within=0.3), list[bytes]()

    async def drops() -> Any:
        while True:
            sent.append(b" ")
            yield b" "
            await asyncio.sleep(0.05)  # the client's own slowness is what is tested

    client = caller(world, **{"X-API-Key": KEY, "Content-Type": "application/json"})
    async with asyncio.timeout(10):
        for method, path in (("POST", "/v1/jobs"), ("PUT", "/v1/files")):
            sent.clear()
            answer = await client.request(method, path, content=drops())
            assert (answer.status_code, answer.json()["error"]["code"]) == (408, "REQUEST_TIMEOUT")
            assert sent, "each piece came in time"


async def test_an_upload_is_stored_under_its_digest(client: httpx.AsyncClient, world: World) -> None:
    answer = await client.put("/v1/files", content=b"hello")
    assert (answer.status_code, answer.json()) == (201, {"digest": hashlib.sha256(b"hello").hexdigest(), "size": 5})
    assert world.files.stored == [b"hello"]


async def test_uploads_have_a_limit_of_their_own() -> None:
    client = caller(World(limits={"free": {"upload": (Window(1, 3600),)}}), **{"X-API-Key": KEY})
    answers = [await client.put("/v1/files", content=b"hello") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 429]
    assert (await client.get("/v1/jobs")).status_code == 200


async def test_an_account_without_room_is_told_so_before_it_sends_anything(
    client: httpx.AsyncClient, world: World
) -> None:
    world.files.is_full = True
    answer = await client.put("/v1/files", content=b"hello")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "QUOTA_EXCEEDED")
    assert world.files.stored == []


async def test_the_call_above_the_limit_is_a_429_until_the_window_moves() -> None:
    world = World(limits={"free": {"general": (Window(2, 60),)}})
    client = caller(world, **{"X-API-Key": KEY})
    first = await client.get("/v1/jobs")
    assert (first.headers["x-ratelimit-limit"], first.headers["x-ratelimit-remaining"]) == ("2", "1")
    assert first.headers["ratelimit-policy"] == '"general";q=2;w=60'
    await client.get("/v1/jobs")
    refused = await client.get("/v1/jobs")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "RATE_LIMITED")
    assert (refused.headers["retry-after"], refused.headers["x-ratelimit-remaining"]) == ("60", "0")
    assert (await caller(world, **{"X-API-Key": OTHER_KEY}).get("/v1/jobs")).status_code == 200
    world.clock.time += 60_001
    assert (await client.get("/v1/jobs")).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "ng_live_wrong"}])
async def test_nobody_is_counted_by_the_network_that_he_has_all_addresses_of(headers: dict[str, str]) -> None:
    world = World(limits={"anonymous": {"general": (Window(2, 60),)}})

    async def status(address: str) -> int:
        transport = httpx.ASGITransport(app=world.app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://node", headers=headers) as client:
            return (await client.get("/v1/version")).status_code

    let_in = 401 if headers else 200
    assert [await status(f"2001:db8:1:2::{number}") for number in (1, 2, 3)] == [let_in, let_in, 429]
    assert await status("2001:db8:1:3::1") == let_in
    assert [await status(f"{way}198.51.100.7") for way in ("", "::ffff:", "")] == [let_in, let_in, 429]
    assert await status("::ffff:198.51.100.8") == let_in


async def test_a_job_counts_as_what_its_body_makes_it() -> None:
    rules = {"general": (Window(6, 60),), "deploy": (Window(1, 3600),), "code-submit": (Window(2, 60),)}
    client = caller(World(limits={"free": rules}), **{"X-API-Key": KEY})
    code, image = {"code": "1", "language": "python"}, {"image": "busybox", "maxPrice": "1.0"}
    answers = [await client.post("/v1/jobs", json=body) for body in (code, code, code, image, image)]
    assert [answer.status_code for answer in answers] == [201, 201, 429, 201, 429]
    told = [answer.headers.get_list("ratelimit-policy") for answer in answers]
    sent, deployed = ['"code-submit";q=2;w=60'], ['"deploy";q=1;w=3600']
    assert told == [sent, sent, sent, deployed, deployed]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["1", "0", "0", "0", "0"]
    last = await client.post("/v1/jobs", json={"image": 1})
    assert (last.status_code, last.headers["ratelimit-policy"]) == (400, '"general";q=6;w=60')


async def test_query_names_are_read_in_either_casing(client: httpx.AsyncClient) -> None:
    for name in ("minReputation", "min_reputation"):
        found = (await client.get(f"/v1/providers?{name}=500")).json()["providers"]
        assert [provider["reputation"] for provider in found] == [900]


async def test_metrics_tell_what_the_gpus_do(root: httpx.AsyncClient, world: World) -> None:
    assert "neugrid_gpu" not in (await root.get("/metrics")).text
    gpu = GpuUse(
        uuid="GPU-1", model="Fake 9000", vram=2**34, vram_used=2**30, utilisation=37, temperature=61, power=99_500
    )
    world.health.gpus_in_use = (gpu,)
    text = (await root.get("/metrics")).text
    world.health.gpus_in_use = ()
    for figure in ("utilisation_ratio", "temperature_celsius", "power_watts"):
        assert f'neugrid_gpu_{figure}{{model="Fake 9000",uuid="GPU-1"}}' in text
    assert 'neugrid_gpu_power_watts{model="Fake 9000",uuid="GPU-1"} 99.5' in text


async def test_metrics_count_by_template(root: httpx.AsyncClient, world: World) -> None:
    world.jobs.put(a_done_job())
    await root.get("/v1/jobs/job_0000000000000001")
    text = (await root.get("/metrics")).text
    assert 'route="/v1/jobs/{job_id}"' in text
    assert 'neugrid_market{what="offers"} 2.0' in text
    assert "job_0000000000000001" not in text


def test_bodies_are_decoded_without_a_media_type_too() -> None:
    assert read_body(b'{"image": "a", "maxPrice": 1}', "", SubmitJob).image == "a"


async def test_health_is_short_without_a_key_and_full_with_one(world: World) -> None:
    short = (await caller(world).get("/v1/health")).json()
    full = (await caller(world, **{"X-API-Key": KEY}).get("/v1/health")).json()
    assert "docker" not in short
    assert full["docker"] == {"available": True}
    assert (await caller(world, **{"X-API-Key": "no"}).get("/v1/health")).status_code == 401


async def test_readiness_is_a_status_code(world: World) -> None:
    assert (await caller(world).get("/v1/ready")).status_code == 200
    world.health.status = "degraded"
    assert (await caller(world).get("/v1/ready")).status_code == 503


async def test_long_answers_are_compressed_and_streams_are_not(client: httpx.AsyncClient, world: World) -> None:
    for number in range(5):
        world.jobs.put(a_done_job(id=f"job_000000000000000{number}"))
    assert (await client.get("/v1/jobs")).headers["content-encoding"] == "gzip"
    plain = await client.get("/v1/jobs", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    logs = await client.get("/v1/jobs/job_0000000000000001/logs?follow=true")
    assert (logs.headers["content-type"], "content-encoding" in logs.headers) == (
        "text/event-stream; charset=utf-8",
        False,
    )


async def test_only_named_origins_may_call_from_a_browser() -> None:
    world = World(origins=("https://app.example.org",))
    for origin, allowed in (("https://app.example.org", "https://app.example.org"), ("https://evil.example", None)):
        answer = await caller(world, **{"X-API-Key": KEY, "Origin": origin}).get("/v1/version")
        assert (answer.status_code, answer.headers.get("access-control-allow-origin")) == (200, allowed)
        shown = answer.headers.get("access-control-expose-headers", "").split(", ")
        assert {"X-RateLimit-Reset", "RateLimit", "RateLimit-Policy", "Retry-After"} <= set(shown) or not allowed
    plain = await caller(World(), **{"X-API-Key": KEY, "Origin": "https://evil.example"}).get("/v1/version")
    assert "access-control-allow-origin" not in plain.headers


async def test_a_refused_large_body_is_readable_where_every_other_answer_is() -> None:
    world = World(body_limit=100, origins=("https://app.example.org", "https://*.example.net"))
    for origin in ("https://app.example.org", "https://a.example.net"):
        client = caller(world, **{"X-API-Key": KEY, "Origin": origin})
        refused = await client.post("/v1/jobs", content=b"x" * 101)
        other = await client.post("/v1/nothing")
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (413, origin)
        assert of_origins(refused) == of_origins(other)
    for of, origin in ((world, "https://evil.example"), (World(body_limit=100), "https://app.example.org")):
        client = caller(of, **{"X-API-Key": KEY, "Origin": origin})
        refused = await client.post("/v1/jobs", content=b"x" * 101)
        assert (refused.status_code, of_origins(refused)) == (413, {})


def of_origins(answer: httpx.Response) -> dict[str, str]:
    """The headers that say who may read the answer."""
    return {
        name: value for name, value in answer.headers.items() if name.startswith("access-control-") or name == "vary"
    }


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"maxPrice": -1}, "maxPrice", "maxPrice must be a number >= 0.0, got -1"),
        ({"minReputation": 2000}, "minReputation", "minReputation must be an integer <= 1000, got 2000"),
        ({"command": "ls"}, "command", "command must be a list or null, got 'ls'"),
        ({"resources": {"gpu": -1}}, "resources.gpu", "resources.gpu must be an integer >= 0, got -1"),
        ({"env": {"TOKEN": 5}}, "env[...]", "env[...] must be text, got '***'"),
    ],
)
async def test_what_does_not_fit_is_said_in_words(
    client: httpx.AsyncClient, body: dict[str, Any], field: str, said: str
) -> None:
    error = (await client.post("/v1/jobs", json={"image": "busybox", "maxPrice": 1, **body})).json()["error"]
    assert (error["details"]["field"], error["message"]) == (field, said)


async def test_a_query_that_does_not_fit_is_said_in_words(client: httpx.AsyncClient) -> None:
    error = (await client.get("/v1/jobs?limit=0")).json()["error"]
    assert error["message"] == "limit must be an integer >= 1, got '0'"
    assert error["details"] == {"field": "limit", "value": "0", "expected": "an integer >= 1"}


@pytest.mark.parametrize("path", ["/v1/jobs?limit=5&limit=5", "/v1/jobs?page=false&page=1", "/v1/version?a=1&a=2"])
async def test_a_parameter_that_comes_twice_is_refused(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_PARAMETERS")
    assert "one value" in answer.text
