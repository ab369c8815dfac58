"""Code and templates by the one route of jobs: a run is a job of the kind "code" wherever jobs are looked at."""

from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from market.builds import BuildOrder
from market.dialogue import RunEnd
from market.ledger import MONEY
from market.runs import Run, RunState
from tests.builders import NOW, PROVIDER
from tests.node.api.fakes import ALICE, OTHER_KEY, World, a_job

pytestmark = pytest.mark.anyio
ID = "ab" * 12
CODE = {"code": "print(input())", "language": "python", "input": "hey"}
ENDED = Run(
    id=ID,
    account=ALICE.id,
    language="python",
    code="print(1)",
    price=1000,
    currency=MONEY,
    state=RunState.SUCCEEDED,
    lease="lea_000001",
    provider=PROVIDER,
    results=(RunEnd(stdout="a\nb\n", stderr="careful\n", exit_code=0, milliseconds=7),),
    created_at=NOW,
    started_at=NOW + 5,
    finished_at=NOW + 12,
)


async def test_code_is_posted_like_any_job_and_is_a_run(client: httpx.AsyncClient, world: World) -> None:
    posted = await client.post("/v1/jobs", json=CODE)
    job = posted.json()
    assert (posted.status_code, posted.headers["location"]) == (201, f"/v1/jobs/{ID}")
    assert (job["kind"], job["language"], job["status"], job["image"]) == ("code", "python", "queued", "")
    assert world.runner.runs[ID].inputs == ("hey",)
    result = (await client.get(f"/api/v1/runner/{ID}/result")).json()
    assert result["data"]["status"] == "queued"


async def test_an_idempotency_key_posts_code_once(client: httpx.AsyncClient, world: World) -> None:
    headers = {"Idempotency-Key": "once"}
    first, again = [await client.post("/v1/jobs", json=CODE, headers=headers) for _ in range(2)]
    assert (first.json(), again.headers["idempotent-replayed"]) == (again.json(), "true")


async def test_a_run_is_shown_with_what_it_cost_and_how_it_ended(client: httpx.AsyncClient, world: World) -> None:
    world.runner.put(ENDED)
    job = (await client.get(f"/v1/jobs/{ID}?wait=1")).json()
    assert (job["status"], job["progress"], job["exitCode"], job["executionTimeMs"]) == ("success", 100, 0, 7)
    assert (job["cost"], job["paid"], job["maxPrice"]) == ("0.001", "0.001", "0.001")
    assert job["provider"] == f"prov_{PROVIDER[2:]}"
    assert (await client.get(f"/v1/jobs/{ID}/results")).json() == {
        "id": ID,
        "status": "success",
        "exitCode": 0,
        "files": [],
    }
    assert (await client.get(f"/v1/jobs/{ID}/bids")).json()["bids"] == []
    assert (await client.get(f"/v1/jobs/{ID}/explain")).status_code == 409


async def test_a_run_that_failed_says_why_and_costs_nothing(client: httpx.AsyncClient, world: World) -> None:
    world.runner.put(replace(ENDED, state=RunState.FAILED, error="TLE", message="3 s are over"))
    job = (await client.get(f"/v1/jobs/{ID}")).json()
    assert (job["cost"], job["error"]) == ("0.0", {"code": "TLE", "message": "3 s are over"})


async def test_what_a_run_wrote_are_its_logs(client: httpx.AsyncClient, world: World) -> None:
    world.runner.put(ENDED)
    logs = (await client.get(f"/v1/jobs/{ID}/logs")).json()["logs"]
    assert [(line["stream"], line["message"]) for line in logs] == [
        ("stdout", "a"),
        ("stdout", "b"),
        ("stderr", "careful"),
    ]
    followed = (await client.get(f"/v1/jobs/{ID}/logs?follow=true&stream=stdout", headers={"Last-Event-ID": "0"})).text
    assert [line for line in followed.splitlines() if line.startswith(("id", "event"))] == [
        "id: 1",
        "event: log",
        "event: end",
    ]
    cut = (await client.get(f"/v1/jobs/{ID}/logs?follow=true&tail=1")).text
    assert [line for line in cut.splitlines() if line.startswith("id")] == ["id: 2"]
    events = (await client.get(f"/v1/jobs/{ID}/events", headers={"Last-Event-ID": "1"})).text
    assert "event: RunEnded" in events
    assert "event: Created" not in events
    assert '"exitCode":0' in events


async def test_runs_are_listed_as_a_kind_of_their_own(client: httpx.AsyncClient, world: World) -> None:
    for number in range(3):
        state = RunState.QUEUED if number == 2 else RunState.SUCCEEDED
        world.runner.put(replace(ENDED, id=f"{number:024x}", created_at=NOW + number, state=state))
    first = (await client.get("/v1/jobs?kind=code&limit=2")).json()
    assert [job["id"][-1] for job in first["jobs"]] == ["2", "1"]
    cursor = first["pagination"]["nextCursor"]
    second = (await client.get(f"/v1/jobs?kind=code&limit=2&cursor={cursor}")).json()
    assert ([job["id"][-1] for job in second["jobs"]], second["pagination"]["hasMore"]) == (["0"], False)
    ended = (await client.get("/v1/jobs?kind=code&status=success")).json()
    assert ended["pagination"]["total"] == 2
    assert (await client.get("/v1/jobs?kind=code&status=resting")).status_code == 400
    assert (await client.get("/v1/jobs?kind=pods")).status_code == 400


async def shown(client: httpx.AsyncClient, query: str) -> list[tuple[str, str]]:
    jobs = (await client.get(f"/v1/jobs?{query}")).json()["jobs"]
    return [(job["id"], job["status"]) for job in jobs]


async def test_code_that_was_just_posted_is_among_the_jobs(client: httpx.AsyncClient, world: World) -> None:
    world.jobs.put(a_job(created_at=NOW - 1))
    await client.post("/v1/jobs", json=CODE)
    listed = (await client.get("/v1/jobs")).json()
    assert [job["kind"] for job in listed["jobs"]] == ["code", "image"]
    assert listed["pagination"]["total"] == 2


async def test_pages_of_all_kinds_follow_each_other_without_loss(client: httpx.AsyncClient, world: World) -> None:
    for number in range(4):
        world.jobs.put(a_job(id=f"job_{number:016d}", created_at=NOW + number * 3))
        world.runner.put(replace(ENDED, id=f"{number:024x}", created_at=NOW + number * 2))
    whole = [id for id, _ in await shown(client, "limit=100")]
    assert len(whole) == 8
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await client.get(f"/v1/jobs?limit=3{cursor and f'&cursor={cursor}'}")).json()
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["pagination"].get("nextCursor")
    assert seen == whole
    for offset in range(9):
        assert [id for id, _ in await shown(client, f"limit=2&offset={offset}")] == whole[offset : offset + 2]


async def test_each_kind_is_listed_by_itself(client: httpx.AsyncClient, world: World) -> None:
    world.jobs.put(a_job(id="job_image"))
    world.jobs.put(a_job(id="job_build", build=BuildOrder(project="p")))
    world.runner.put(ENDED)
    found = {kind: await shown(client, f"kind={kind}") for kind in ("image", "build", "code")}
    assert found == {
        "image": [("job_image", "pending")],
        "build": [("job_build", "pending")],
        "code": [(ID, "success")],
    }
    assert await shown(client, "kind=build&status=success") == []


async def test_a_filter_finds_what_is_shown_under_its_word(client: httpx.AsyncClient, world: World) -> None:
    ids = ("a" * 24, "b" * 24, "c" * 24)
    for id, state in zip(ids, (RunState.QUEUED, RunState.QUEUED, RunState.SUCCEEDED), strict=True):
        world.runner.put(replace(ENDED, id=id, state=state))
    world.runner.running.add(ids[1])
    words = dict(zip(ids, ("queued", "running", "success"), strict=True))
    for wanted in ("queued", "running", "success", "pending", "running,success", "queued,running", "failed"):
        expected = [(id, word) for id, word in sorted(words.items(), reverse=True) if word in wanted.split(",")]
        assert await shown(client, f"kind=code&status={wanted}") == expected
        assert await shown(client, f"status={wanted}") == expected


async def test_there_are_no_results_before_a_run_has_ended(client: httpx.AsyncClient, world: World) -> None:
    await client.post("/v1/jobs", json=CODE)
    early = await client.get(f"/v1/jobs/{ID}/results")
    assert (early.status_code, early.json()["error"]["code"]) == (409, "CONFLICT")


async def test_a_run_is_cancelled_once(client: httpx.AsyncClient) -> None:
    await client.post("/v1/jobs", json=CODE)
    assert (await client.post(f"/v1/jobs/{ID}/cancel")).json()["status"] == "cancelled"
    assert (await client.post(f"/v1/jobs/{ID}/cancel")).status_code == 409


@pytest.mark.parametrize("path", ["", "/logs", "/logs?follow=true", "/events", "/results", "/bids", "/explain"])
async def test_anothers_run_is_not_there(client: httpx.AsyncClient, world: World, path: str) -> None:
    world.runner.put(ENDED)
    assert (await client.get(f"/v1/jobs/{ID}{path}", headers={"X-API-Key": OTHER_KEY})).status_code == 404
    assert (await client.post(f"/v1/jobs/{ID}/cancel", headers={"X-API-Key": OTHER_KEY})).status_code == 404


async def test_a_job_of_a_template_is_its_workload_with_the_bodys_wishes(
    client: httpx.AsyncClient, world: World
) -> None:
    body = {"template": "python", "command": ["python", "-V"], "env": {"A": "b"}, "maxPrice": "1", "timeout": "1m"}
    assert (await client.post("/v1/jobs", json=body)).status_code == 201
    workload = world.jobs.submitted[-1].workload
    assert (workload.image, workload.command) == ("python:3.11-slim", ("python", "-V"))
    assert workload.env == {"PYTHONUNBUFFERED": "1", "A": "b"}
    assert (workload.kind, workload.ports, workload.volumes, workload.probe) == ("batch", (), (), None)
    assert workload.resources.cpu == 1000
    own = {**body, "resources": {"cpu": 2}}
    await client.post("/v1/jobs", json=own)
    assert world.jobs.submitted[-1].workload.resources.cpu == 2000


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "image"),
        ({"image": "busybox", "code": "1", "maxPrice": 1}, "image"),
        ({"template": "python", "projectId": "x"}, "image"),
        ({"template": "nothing", "maxPrice": 1}, "template"),
        ({"template": "python"}, "maxPrice"),
        ({"code": "1"}, "language"),
        ({"code": "1", "language": "cobol"}, "language"),
        ({**CODE, "maxPrice": "1"}, "maxPrice"),
        ({**CODE, "env": {"A": "b"}}, "env"),
        ({"image": "busybox", "maxPrice": 1, "language": "python"}, "language"),
        ({"image": "busybox", "maxPrice": 1, "gpuConfig": {}}, "gpuConfig"),
        ({"projectId": "x", "input": "y"}, "input"),
    ],
)
async def test_what_does_not_go_together_is_named(client: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    refused = await client.post("/v1/jobs", json=body)
    assert (refused.status_code, refused.json()["error"]["details"]["field"]) == (400, field)
