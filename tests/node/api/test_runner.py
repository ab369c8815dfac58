"""Code over HTTP: the documented envelope of the runner, its fields, and what is refused."""

from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from market.dialogue import MAX_CODE, RunEnd
from market.runs import RunState
from tests.builders import NOW
from tests.node.api.fakes import OTHER_KEY, World

pytestmark = pytest.mark.anyio

SUBMIT = "/api/v1/runner/submit"
CODE: dict[str, Any] = {"code": "print('Hello, World!')", "language": "python", "input": ""}


def result_of(id: str) -> str:
    return f"/api/v1/runner/{id}/result"


async def test_the_documented_body_is_answered_in_the_documented_envelope(client: httpx.AsyncClient) -> None:
    answer = await client.post(SUBMIT, json=CODE)
    assert answer.status_code == 200
    assert answer.json() == {"success": True, "data": {"jobId": "ab" * 12, "status": "queued"}}


async def test_a_result_has_every_documented_field(client: httpx.AsyncClient, world: World) -> None:
    id = (await client.post(SUBMIT, json=CODE)).json()["data"]["jobId"]
    run = replace(
        world.runner.runs[id],
        state=RunState.SUCCEEDED,
        results=(RunEnd(stdout="Hello", milliseconds=802),),
        started_at=NOW + 132,
        finished_at=NOW + 934,
    )
    world.runner.put(run)
    answer = (await client.get(result_of(id))).json()
    data = answer.pop("data")
    assert answer == {"code": 200, "success": True, "message": "job result fetched successfully"}
    documented = {
        "jobId": id,
        "status": "success",
        "language": "python",
        "stdout": "Hello",
        "stderr": "",
        "executionTimeMs": 802,
        "queueTimeMs": 132,
        "totalTimeMs": 934,
        "exitCode": 0,
        "sandboxErrorType": None,
        "sandboxErrorMessage": "",
        "queuedAt": "2025-06-15T15:06:40.000Z",
        "startedAt": "2025-06-15T15:06:40.132Z",
        "finishedAt": "2025-06-15T15:06:40.934Z",
    }
    assert {name: data[name] for name in documented} == documented


async def test_a_failure_names_its_type(client: httpx.AsyncClient, world: World) -> None:
    id = (await client.post(SUBMIT, json=CODE)).json()["data"]["jobId"]
    failed = RunEnd(stderr="x", exit_code=137, milliseconds=3000, error="TLE", message="longer than 3 s")
    state = {"state": RunState.FAILED, "error": "TLE", "message": "longer than 3 s", "results": (RunEnd(), failed)}
    world.runner.put(replace(world.runner.runs[id], **state))
    data = (await client.get(result_of(id))).json()["data"]
    assert (data["status"], data["sandboxErrorType"], data["exitCode"]) == ("failed", "TLE", 137)
    assert [run["errorType"] for run in data["runs"]] == [None, "TLE"]


async def test_a_run_in_a_sandbox_is_running(client: httpx.AsyncClient, world: World) -> None:
    id = (await client.post(SUBMIT, json=CODE)).json()["data"]["jobId"]
    world.runner.running.add(id)
    assert (await client.get(result_of(id))).json()["data"]["status"] == "running"


async def test_a_foreign_run_is_answered_like_none(client: httpx.AsyncClient) -> None:
    id = (await client.post(SUBMIT, json=CODE)).json()["data"]["jobId"]
    foreign = await client.get(result_of(id), headers={"X-API-Key": OTHER_KEY})
    missing = await client.get(result_of("cd" * 12))
    assert (foreign.status_code, missing.status_code) == (404, 404)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"code": ""}, "code"),
        ({"code": "x" * (MAX_CODE + 1)}, "code"),
        ({"language": "cobol"}, "language"),
        ({"input": 1}, "input"),
        ({"inputs": []}, "inputs"),
        ({"inputs": ["a"], "input": "b"}, "inputs"),
        ({"timeout": 9}, "timeout"),
    ],
    ids=["empty", "too long", "unknown language", "no text", "no inputs", "both", "unknown field"],
)
async def test_bad_input_names_its_field(client: httpx.AsyncClient, change: dict[str, Any], field: str) -> None:
    answer = await client.post(SUBMIT, json=CODE | change)
    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, field)


async def test_the_languages_that_are_offered_are_listed(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/languages")).json()["languages"] == [{"name": "python", "providers": 2}]
