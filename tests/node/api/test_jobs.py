"""POST /v1/jobs and what is told of a job."""

from typing import Any

import httpx
import pytest

from market.job_events import Reason
from market.jobs import JobState
from market.leases import LeaseState
from market.units import Amount, Rate
from node.api.present import format_rate, paid_so_far
from tests.builders import NOW, PROVIDER, a_lease
from tests.node.api.fakes import KEY, OTHER_KEY, World, a_done_job, a_job, an_explanation

pytestmark = pytest.mark.anyio

DOCUMENTED: dict[str, Any] = {
    "image": "python:3.11-slim",
    "command": ["python", "-c", "print('Hello')"],
    "resources": {"cpu": 2, "memory": "4Gi", "gpu": 0},
    "maxPrice": "1.0",
    "timeout": "1h",
}


async def test_the_documented_body_posts_a_job(client: httpx.AsyncClient, world: World) -> None:
    answer = await client.post("/v1/jobs", json=DOCUMENTED)
    assert answer.status_code == 201
    assert answer.json()["status"] == "pending"
    assert answer.json()["createdAt"] == "2025-06-15T15:06:40.000Z"
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    [new] = world.jobs.submitted
    assert (new.cap, new.workload.timeout, new.workload.resources.memory) == (1_000_000, 3600, 4 * 2**30)
    assert new.workload.resources.cpu == 2000


async def test_every_field_reaches_the_action(client: httpx.AsyncClient, world: World) -> None:
    body = DOCUMENTED | {
        "env": {"snake_name": "v"},
        "resources": {"cpu": "0.5", "memory": 2**30, "disk": "1Gi", "gpu": {"count": 2, "model": "a", "vram": "8Gi"}},
        "inputs": [
            {"path": "/input/a.txt", "text": "hi"},
            {"path": "b", "content": "aGk="},
            {"path": "c/d", "digest": "ab" * 32},
        ],
        "outputs": ["/output/x", "y"],
        "region": "eu",
        "isolation": "hardened",
        "minReputation": 500,
        "bidWindow": 0,
        "orderTtl": "10s",
    }
    assert (await client.post("/v1/jobs", json=body)).status_code == 201
    [new] = world.jobs.submitted
    assert new.workload.env == {"snake_name": "v"}
    assert new.workload.outputs == ("x", "y")
    assert [(file.path, file.content, file.digest) for file in new.files] == [
        ("a.txt", b"hi", ""),
        ("b", b"hi", ""),
        ("c/d", None, "ab" * 32),
    ]
    resources = new.workload.resources
    assert (resources.cpu, resources.gpus, resources.gpu_model, resources.vram) == (500, 2, "a", 8 * 2**30)
    assert (new.constraints.region, new.constraints.min_reputation) == ("eu", 500)
    assert (new.bid_window, new.order_ttl) == (0, 10_000)


async def test_snake_case_is_read_too_and_names_of_variables_stay(client: httpx.AsyncClient, world: World) -> None:
    body = {"image": "busybox", "max_price": 0.5, "min_reputation": 3, "env": {"max_price": "x"}}
    assert (await client.post("/v1/jobs", json=body)).status_code == 201
    [new] = world.jobs.submitted
    assert (new.cap, new.constraints.min_reputation, new.workload.env) == (500_000, 3, {"max_price": "x"})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"resources": {"memory": "4Gx"}}, "resources.memory"),
        ({"resources": {"memory": "1Ki"}}, "resources.memory"),
        ({"resources": {"memory": -1}}, "resources.memory"),
        ({"resources": {"memory": 10**30}}, "resources.memory"),
        ({"resources": {"memory": "999999999999Pi"}}, "resources.memory"),
        ({"resources": {"disk": "1e9"}}, "resources.disk"),
        ({"resources": {"cpu": 0}}, "resources.cpu"),
        ({"resources": {"cpu": -2}}, "resources.cpu"),
        ({"resources": {"cpu": 1e300}}, "resources.cpu"),
        ({"resources": {"cpu": "many"}}, "resources.cpu"),
        ({"resources": {"cpu": True}}, "resources.cpu"),
        ({"resources": {"gpu": -1}}, "resources.gpu"),
        ({"resources": {"gpu": 10**9}}, "resources.gpu"),
        ({"resources": {"gpu": {"count": 1, "vram": "8Q"}}}, "resources.gpu.vram"),
        ({"resources": {"ram": "4Gi"}}, "resources.ram"),
        ({"maxPrice": "abc"}, "maxPrice"),
        ({"maxPrice": "-1"}, "maxPrice"),
        ({"maxPrice": "0"}, "maxPrice"),
        ({"maxPrice": "1e9"}, "maxPrice"),
        ({"maxPrice": "1e999999"}, "maxPrice"),
        ({"maxPrice": "Infinity"}, "maxPrice"),
        ({"maxPrice": "0.0000001"}, "maxPrice"),
        ({"maxPrice": 10**40}, "maxPrice"),
        ({"maxPrice": None}, "maxPrice"),
        ({"timeout": "soon"}, "timeout"),
        ({"timeout": "0s"}, "timeout"),
        ({"timeout": "31d"}, "timeout"),
        ({"timeout": -5}, "timeout"),
        ({"orderTtl": "400d"}, "orderTtl"),
        ({"bidWindow": 10**7}, "bidWindow"),
        ({"bidWindow": "1s"}, "bidWindow"),
        ({"command": []}, "command"),
        ({"command": "echo hello"}, "command"),
        ({"command": [1]}, "command[0]"),
        ({"command": ["a\0b"]}, "command"),
        ({"image": ""}, "image"),
        ({"image": "has space"}, "image"),
        ({"image": "x" * 600}, "image"),
        ({"env": {"A=B": "c"}}, "env"),
        ({"env": {"A": 1}}, "env[...]"),
        ({"minReputation": 1001}, "minReputation"),
        ({"inputs": [{"path": "../x", "text": ""}]}, "inputs[0].path"),
        ({"inputs": [{"path": "/etc/passwd", "text": ""}]}, "inputs[0].path"),
        ({"inputs": [{"path": "a"}]}, "inputs[0]"),
        ({"inputs": [{"path": "a", "text": "", "content": ""}]}, "inputs[0]"),
        ({"inputs": [{"path": "a", "content": "!!"}]}, "inputs[0].content"),
        ({"inputs": [{"path": "a", "digest": "zz"}]}, "inputs[0].digest"),
        ({"inputs": [{"path": "a", "text": ""}, {"path": "./a", "text": ""}]}, "inputs"),
        ({"outputs": ["/output/../x"]}, "outputs[0]"),
        ({"outputs": ["/"]}, "outputs[0]"),
        ({"colour": "red"}, "colour"),
        ({"maxPrice": "1", "max_price": "1"}, "maxPrice"),
    ],
)
async def test_a_field_that_does_not_fit_is_named(
    client: httpx.AsyncClient, world: World, change: dict[str, Any], field: str
) -> None:
    answer = await client.post("/v1/jobs", json=DOCUMENTED | change)
    problem = answer.json()
    assert answer.status_code == 400, problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["error"]["code"] == "INVALID_PARAMETERS"
    assert problem["error"]["details"]["field"] == field
    assert not world.jobs.submitted


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 200_000, b'{"image": "a", "maxPrice": 1e999}', b"{}"],
)
async def test_a_body_that_is_no_job_is_a_400(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == "INVALID_PARAMETERS"


async def test_the_value_that_did_not_fit_is_shown(client: httpx.AsyncClient) -> None:
    for resources, value in (({"cpu": -1}, -1), ({"memory": 7}, 7), ({"memory": "7"}, "7")):
        answer = await client.post("/v1/jobs", json=DOCUMENTED | {"resources": resources})
        assert answer.json()["error"]["details"]["value"] == value


async def test_no_body_is_one_without_fields(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/auth/device")).status_code == 200
    refusal = (await client.post("/v1/keys")).json()["error"]
    assert (refusal["code"], refusal["details"]["field"]) == ("INVALID_PARAMETERS", "name")


async def test_another_media_type_is_a_415(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/v1/jobs", content=b"a=b", headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_a_wallet_without_funds_is_a_402(client: httpx.AsyncClient, world: World) -> None:
    world.jobs.funds = 5
    answer = await client.post("/v1/jobs", json=DOCUMENTED)
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "INSUFFICIENT_FUNDS")
    assert answer.json()["error"]["details"] == {"needed": 1_000_000, "available": 5}


async def test_the_same_idempotency_key_answers_the_same_bytes(client: httpx.AsyncClient, world: World) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = await client.post("/v1/jobs", json=DOCUMENTED, headers=headers)
    second = await client.post("/v1/jobs", json=DOCUMENTED, headers=headers)
    assert (second.status_code, second.content) == (201, first.content)
    assert second.headers["idempotent-replayed"] == "true"
    assert len(world.jobs.submitted) == 1


async def test_the_same_key_with_another_body_is_a_422(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k-1"}
    await client.post("/v1/jobs", json=DOCUMENTED, headers=headers)
    answer = await client.post("/v1/jobs", json=DOCUMENTED | {"timeout": "2h"}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "IDEMPOTENCY_MISMATCH")


@pytest.mark.parametrize("key", ["a b", "x" * 256, "\u00e9"])
async def test_an_idempotency_key_must_be_plain(client: httpx.AsyncClient, key: str) -> None:
    answer = await client.post("/v1/jobs", json=DOCUMENTED, headers={"Idempotency-Key": key.encode("latin-1")})
    assert answer.json()["error"]["details"]["field"] == "Idempotency-Key"


async def test_a_done_job_tells_its_whole_story(client: httpx.AsyncClient, world: World) -> None:
    world.jobs.put(a_done_job())
    settled = a_lease("requester", state=LeaseState.SETTLED, paid=Amount(10), paid_at=NOW + 3100)
    world.jobs.leases["lea_000001"] = settled
    job = (await client.get("/v1/jobs/job_0000000000000001")).json()
    assert (job["status"], job["progress"], job["exitCode"]) == ("success", 100, 0)
    assert job["provider"] == f"prov_{PROVIDER[2:]}"
    assert (job["queueTimeMs"], job["executionTimeMs"]) == (1000, 2000)
    assert (job["pricePerSecond"], job["cost"], job["paid"]) == ("0.000005", "0.00001", "0.00001")
    assert job["timings"] == {
        "submitted": NOW,
        "agreed": NOW + 50,
        "started": NOW + 1000,
        "finished": NOW + 3000,
        "paid": NOW + 3100,
    }
    assert [(step["name"], step["status"]) for step in job["steps"]] == [
        ("place", "done"),
        ("prepare", "done"),
        ("run", "done"),
        ("pay", "done"),
    ]


async def test_a_failed_job_says_why_and_which_offers_refused(client: httpx.AsyncClient, world: World) -> None:
    reason = Reason(provider=PROVIDER, codes=("price",), rate=Rate(10**9))
    failed = a_job(
        state=JobState.FAILED, code="PRICE_BELOW_OFFERS", message="none", finished_at=NOW + 9, reasons=(reason,)
    )
    world.jobs.put(failed)
    job = (await client.get(f"/v1/jobs/{failed.id}")).json()
    assert job["error"] == {"code": "PRICE_BELOW_OFFERS", "message": "none"}
    assert job["reasons"] == [{"provider": f"prov_{PROVIDER[2:]}", "codes": ["price"], "pricePerSecond": "0.000001"}]
    assert [step["status"] for step in job["steps"]] == ["failed", "skipped", "skipped", "skipped"]


async def test_a_resting_job_is_pending_and_a_placed_one_is_queued(client: httpx.AsyncClient, world: World) -> None:
    world.jobs.put(a_job(state=JobState.RESTING))
    assert (await client.get("/v1/jobs/job_0000000000000001")).json()["status"] == "pending"
    world.jobs.put(a_job(state=JobState.PLACED, provider=PROVIDER, lease="lea_000001"))
    assert (await client.get("/v1/jobs/job_0000000000000001")).json()["status"] == "queued"


async def test_an_unchanged_job_is_a_304(client: httpx.AsyncClient, world: World) -> None:
    world.jobs.put(a_done_job())
    tag = (await client.get("/v1/jobs/job_0000000000000001")).headers["etag"]
    again = await client.get("/v1/jobs/job_0000000000000001", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    world.jobs.put(a_done_job(version=5))
    changed = await client.get("/v1/jobs/job_0000000000000001", headers={"If-None-Match": tag})
    assert changed.status_code == 200


async def test_wait_is_handed_on_and_bounded(client: httpx.AsyncClient, world: World) -> None:
    world.jobs.put(a_done_job())
    assert (await client.get("/v1/jobs/job_0000000000000001?wait=30")).status_code == 200
    assert world.jobs.waited == [30]
    answer = await client.get("/v1/jobs/job_0000000000000001?wait=3600")
    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, "wait")


async def test_a_foreign_job_is_answered_like_a_missing_one(client: httpx.AsyncClient, world: World) -> None:
    world.jobs.put(a_done_job())
    bob = {"X-API-Key": OTHER_KEY}
    for path in ("", "/logs", "/results", "/results/x", "/events", "/explain"):
        foreign = await client.get(f"/v1/jobs/job_0000000000000001{path}", headers=bob)
        missing = await client.get(f"/v1/jobs/job_0000000000000009{path}", headers={"X-API-Key": KEY})
        assert foreign.status_code == missing.status_code == 404
        assert foreign.json()["error"]["message"] == missing.json()["error"]["message"]


async def test_cancelling_ends_a_job_once(client: httpx.AsyncClient, world: World) -> None:
    world.jobs.put(a_job())
    assert (await client.post("/v1/jobs/job_0000000000000001/cancel")).json()["status"] == "cancelled"
    again = await client.post("/v1/jobs/job_0000000000000001/cancel")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "CONFLICT")


async def test_pages_follow_each_other_without_loss(client: httpx.AsyncClient, world: World) -> None:
    for number in range(7):
        world.jobs.put(a_job(id=f"job_{number:016d}", created_at=NOW + number // 2))
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await client.get("/v1/jobs", params={"limit": 3} | ({"cursor": cursor} if cursor else {}))).json()
        seen += [job["id"] for job in page["jobs"]]
        if not page["pagination"]["hasMore"]:
            break
        cursor = page["pagination"]["nextCursor"]
    assert seen == sorted(world.jobs.all, reverse=True)


async def test_offset_and_page_are_understood(client: httpx.AsyncClient, world: World) -> None:
    for number in range(5):
        world.jobs.put(a_job(id=f"job_{number:016d}", created_at=NOW + number))
    by_page = (await client.get("/v1/jobs?page=2&limit=2")).json()
    by_offset = (await client.get("/v1/jobs?offset=2&limit=2")).json()
    assert [job["id"] for job in by_page["jobs"]] == [job["id"] for job in by_offset["jobs"]]
    pagination = by_page["pagination"]
    assert (pagination["page"], pagination["totalPages"], pagination["total"]) == (2, 3, 5)


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=x", "page=0", "offset=-1", "cursor=!!", "page=1&offset=2", "status=asleep"],
)
async def test_a_list_refuses_what_it_can_not_read(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"/v1/jobs?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["field"] in ("limit", "page", "offset", "cursor", "status")


async def test_a_status_filter_takes_either_spelling(client: httpx.AsyncClient, world: World) -> None:
    world.jobs.put(a_job(id="job_a", state=JobState.RESTING))
    world.jobs.put(a_job(id="job_b"))
    world.jobs.put(a_done_job(id="job_c"))
    ids = lambda answer: {job["id"] for job in answer.json()["jobs"]}  # noqa: E731
    assert ids(await client.get("/v1/jobs?status=pending")) == {"job_a", "job_b"}
    assert ids(await client.get("/v1/jobs?status=resting")) == {"job_a"}
    assert ids(await client.get("/v1/jobs?status=succeeded,resting")) == {"job_a", "job_c"}


async def test_an_explanation_speaks_in_tokens(client: httpx.AsyncClient, world: World) -> None:
    world.jobs.put(a_job())
    world.jobs.explanation = an_explanation()
    found = (await client.get("/v1/jobs/job_0000000000000001/explain")).json()
    assert found["failing"] == {"price": 1}
    assert found["relaxations"] == [
        {"constraint": "price", "asked": "0.0000005", "needed": "0.000001", "matches": 1, "change": 100.0}
    ]


def test_a_rate_is_exact_to_its_last_digit() -> None:
    assert format_rate(1) == "0.000000000000001"
    assert format_rate(10**15) == "1.0"
    assert format_rate(0) == "0.0"


def test_a_job_between_attempts_shows_what_was_paid() -> None:
    assert paid_so_far(a_job(spent=Amount(7)), None) == 7
