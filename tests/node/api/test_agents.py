"""Agents and pods over HTTP: other names for the same services, with other casings, words and errors."""

import json
from typing import Any

import httpx
import pytest

from market.services import Service
from node.records import Happened
from tests.node.api.fakes import OTHER_KEY, World, pods_run, pods_say

pytestmark = pytest.mark.anyio

DOCUMENTED: dict[str, Any] = {
    "name": "my-agent",
    "runtime": "rust",
    "image": "registry.example/my-agent:1",
    "config": {"cpu": "1.0", "memory": "1Gi", "replicas": 3},
    "environment": {"LOG_LEVEL": "info"},
}


async def created(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await client.post("/v1/agents", json={**DOCUMENTED, **changes})
    assert answer.status_code == 201, answer.text
    agent: dict[str, Any] = answer.json()
    return agent


async def test_the_documented_body_makes_an_agent(client: httpx.AsyncClient, world: World) -> None:
    agent = await created(client)
    assert agent["id"].startswith("agt_")
    assert (agent["name"], agent["status"], agent["replicas"]) == ("my-agent", "deploying", 3)
    assert agent["config"] == {"cpu": "1.0", "memory": "1Gi", "replicas": 3}
    assert agent["environment"] == {"LOG_LEVEL": "***"}
    assert agent["created_at"] == "2025-06-15T15:06:40.000Z"
    await pods_run(world, agent["id"])
    shown = (await client.get(f"/v1/agents/{agent['id']}")).json()
    assert (shown["status"], shown["endpoints"]) == ("running", [])


async def test_an_agent_is_a_deployment_but_not_the_other_way_round(client: httpx.AsyncClient) -> None:
    agent = await created(client)
    assert (await client.get(f"/v1/deployments/{agent['id']}")).status_code == 200
    made = await client.post("/v1/deployments", json={"templateId": "redis"})
    id = made.json()["deployment"]["id"]
    answer = await client.get(f"/v1/agents/{id}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert len((await client.get("/v1/agents")).json()["agents"]) == 1
    assert len((await client.get("/v1/deployments")).json()["deployments"]) == 2


async def test_lists_have_totals_sorts_and_chosen_fields(client: httpx.AsyncClient, world: World) -> None:
    for name in ("b", "a", "c"):
        world.clock.time += 1000
        agent = await created(client, name=name, region="us" if name == "c" else "eu", config={"replicas": 1})
    page = (await client.get("/v1/agents?limit=2&offset=2&sort=name:asc")).json()
    assert ([agent["name"] for agent in page["agents"]], page["total"], page["limit"]) == (["c"], 3, 2)
    assert (page["offset"], page["has_more"]) == (2, False)
    assert (await client.get("/v1/agents?limit=1")).json()["has_more"] is True
    assert (await client.get("/v1/agents")).json()["limit"] == 100
    newest = (await client.get("/v1/agents?fields=id,name&region=us")).json()["agents"]
    assert newest == [{"id": agent["id"], "name": "c"}]
    assert (await client.get("/v1/agents?status=running")).json()["agents"] == []
    assert len((await client.get("/v1/agents?status=deploying")).json()["agents"]) == 3


@pytest.mark.parametrize(
    ("query", "field"), [("sort=secret", "sort"), ("fields=secret", "fields"), ("status=x", "status")]
)
async def test_a_query_that_does_not_fit_is_named(client: httpx.AsyncClient, query: str, field: str) -> None:
    answer = await client.get(f"/v1/agents?{query}")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["details"]["field"]) == (400, "invalid_request", field)
    assert error["details"]["reason"] == error["message"]


async def test_a_partial_put_keeps_the_rest(client: httpx.AsyncClient, world: World) -> None:
    id = (await created(client))["id"]
    answer = await client.put(f"/v1/agents/{id}", json={"config": {"replicas": 5}})
    assert (answer.status_code, answer.json()["replicas"], answer.json()["config"]["memory"]) == (200, 5, "1Gi")
    answer = await client.patch(f"/v1/agents/{id}", json={"config": {"memory": "2Gi"}, "image": "other:2"})
    found = world.storage.get(Service, id)
    assert found is not None
    assert (answer.json()["config"], answer.json()["image"]) == (
        {"cpu": "1.0", "memory": "2Gi", "replicas": 5},
        "other:2",
    )
    assert (found.workload.env, found.generation) == ({"LOG_LEVEL": "info"}, 2)


async def test_a_program_is_fetched_and_run_under_its_runtime(client: httpx.AsyncClient, world: World) -> None:
    url = "https://storage.example/my-agent"
    agent = await created(client, binary_url=url, image=None)
    found = world.storage.get(Service, agent["id"])
    assert found is not None
    assert (found.workload.image, found.workload.command) == ("debian:stable-slim", ("/input/agent",))
    assert [(file.path, file.size) for file in found.workload.inputs] == [("agent", 9)]
    other = await client.put(f"/v1/agents/{agent['id']}", json={"binary_url": url, "runtime": "python"})
    assert (other.status_code, other.json()["image"], other.json()["runtime"]) == (200, "python:3.11-slim", "python")
    after = (await client.put(f"/v1/agents/{agent['id']}", json={"image": "own:1"})).json()
    found = world.storage.get(Service, agent["id"])
    assert found is not None
    assert (after["image"], found.workload.inputs, found.workload.command) == ("own:1", (), ())
    bad = await client.put(f"/v1/agents/{agent['id']}", json={"binary_url": "http://10.0.0.1/x"})
    assert (bad.status_code, bad.json()["error"]["details"]["field"]) == (400, "binary_url")


async def test_power_scale_and_delete(client: httpx.AsyncClient, world: World) -> None:
    id = (await created(client))["id"]
    await pods_run(world, id)
    assert (await client.post(f"/v1/agents/{id}/scale", json={"replicas": 1})).json()["replicas"] == 1
    assert (await client.post(f"/v1/agents/{id}/restart")).status_code == 200
    assert (await client.post(f"/v1/agents/{id}/stop")).json()["status"] == "stopping"
    assert (await client.post(f"/v1/agents/{id}/start")).json()["status"] == "deploying"
    answer = await client.delete(f"/v1/agents/{id}")
    assert (answer.status_code, answer.json()["message"]) == (200, "Agent deleted successfully")
    assert (await client.get(f"/v1/agents/{id}")).status_code == 404


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"binary_url": "http://169.254.169.254/", "image": None}, "binary_url"),
        ({"binary_url": "https://storage.example/my-agent"}, "image"),
        ({"binary_url": "https://storage.example/my-agent", "image": None, "runtime": "cobol"}, "runtime"),
        ({"binary_url": "https://storage.example/my-agent", "image": None, "runtime": None}, "runtime"),
        ({"image": None}, "image"),
        ({"image": "no image!"}, "image"),
        ({"max_price_per_hour": 0}, "maxPricePerHour"),
        ({"config": {"replicas": 0}}, "config.replicas"),
        ({"config": {"cpu": "much"}}, "config.cpu"),
        ({"environment": {"A": "\0"}}, "environment.A"),
        ({"runtime": "C\0"}, "runtime"),
        ({"name": None}, "name"),
        ({"unknown": 1}, "unknown"),
    ],
    ids=repr,
)
async def test_a_body_that_does_not_fit_is_refused_in_lower_case(
    client: httpx.AsyncClient, world: World, changes: dict[str, Any], field: str
) -> None:
    answer = await client.post("/v1/agents", json={**DOCUMENTED, **changes})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["details"]["field"]) == (400, "invalid_request", field)
    assert world.storage.count(Service) == 0


async def test_refusals_before_the_route_have_the_same_shape(client: httpx.AsyncClient) -> None:
    nobody = {"X-API-Key": "nobody"}
    assert (await client.get("/v1/agents", headers=nobody)).json()["error"]["code"] == "unauthorized"
    assert (await client.get("/v1/agents/x/y/z")).json()["error"]["code"] == "not_found"
    flat = (await client.get("/v1/pods", headers=nobody)).json()
    assert (flat["code"], flat["status"]) == ("UNAUTHORIZED", 401)
    assert isinstance(flat["error"], str)
    assert (await client.put("/v1/pods/x")).json()["status"] in (404, 405)


async def test_output_is_read_like_that_of_jobs(client: httpx.AsyncClient, world: World) -> None:
    id = (await created(client, config={"replicas": 1}))["id"]
    await pods_run(world, id)
    await pods_say(world, id, "Agent started")
    assert (await client.get(f"/v1/agents/{id}/logs?tail=5&since=3000d&level=info")).json()["logs"] == [
        {"timestamp": "2025-06-15T15:06:40.000Z", "stream": "stdout", "level": "info", "message": "Agent started"}
    ]


# --- pods ---


async def test_what_is_told_of_a_pod_names_it_as_it_is_asked_for(client: httpx.AsyncClient, world: World) -> None:
    agent = await created(client, config={"replicas": 2})
    await pods_run(world, agent["id"])
    told = [happened for happened in world.storage.find(Happened) if happened.event.startswith("pod.")]
    assert [happened.event for happened in told] == ["pod.created"] * 2 + ["pod.started"] * 2
    for happened in told:
        data = json.loads(happened.body)
        pod = (await client.get(f"/v1/pods/{data['pod_id']}")).json()
        assert (pod["id"], pod["name"], pod["deployment_id"]) == (data["pod_id"], data["name"], data["deployment_id"])


async def test_pods_are_listed_stopped_started_and_deleted(client: httpx.AsyncClient, world: World) -> None:
    agent = await created(client, config={"replicas": 2})
    await pods_run(world, agent["id"])
    pods = (await client.get("/v1/pods")).json()["pods"]
    assert [(pod["status"], pod["deployment_id"]) for pod in pods] == [("running", agent["id"])] * 2
    first = pods[0]["id"]
    assert pods[0]["name"].startswith("my-agent-")
    stopped = await client.post(f"/v1/pods/{first}/stop")
    assert (stopped.status_code, stopped.json()["status"]) == (200, "stopping")
    assert len((await client.get("/v1/pods?status=running")).json()["pods"]) == 1
    assert (await client.post(f"/v1/pods/{first}/start")).status_code == 200
    assert (await client.get(f"/v1/pods/{first}/logs")).json() == {"logs": []}
    deleted = await client.delete(f"/v1/pods/{first}")
    assert (deleted.status_code, deleted.json()) == (200, {"success": True, "message": "Pod deleted", "id": first})
    assert (await client.get(f"/v1/agents/{agent['id']}")).json()["replicas"] == 1


async def test_a_foreign_or_missing_pod_is_not_found_in_one_sentence(client: httpx.AsyncClient) -> None:
    await created(client, config={"replicas": 1})
    pod = (await client.get("/v1/pods")).json()["pods"][0]["id"]
    other = {"X-API-Key": OTHER_KEY}
    answers = [
        await client.get(f"/v1/pods/{pod}", headers=other),
        await client.get(f"/v1/pods/{pod}9"),
        await client.post("/v1/pods/x/stop"),
        await client.delete("/v1/pods/pod_%00"),
    ]
    for answer in answers:
        body = answer.json()
        assert (answer.status_code, body["error"], body["code"], body["status"]) == (
            404,
            "no such pod",
            "NOT_FOUND",
            404,
        )
    assert (await client.get("/v1/pods", headers=other)).json()["pods"] == []
