"""Deployments over HTTP: as documented, and with bodies that are not."""

import json
from typing import Any

import httpx
import pytest

from market.machines import DeadlinePassed
from market.services import Service
from node.actions.budget import FUNDS
from node.api.service_present import WORDS
from node.records import Mark
from tests.builders import PROVIDER, REQUESTER
from tests.node.api.fakes import ALICE, OTHER_KEY, World, pods_run, pods_say
from tests.node.api.test_logs import frames

pytestmark = pytest.mark.anyio

NODE = f"prov_{PROVIDER[2:]}"
DOCUMENTED: dict[str, Any] = {
    "nodeId": NODE,
    "templateId": "ollama",
    "customImage": None,
    "name": "my-ollama-server",
    "env": {"OLLAMA_MODELS": "llama2,mistral"},
}
IMAGE: dict[str, Any] = {"customImage": "nginx:1", "ports": [80], "maxPricePerHour": "0.5"}


async def created(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await client.post("/v1/deployments", json={**IMAGE, **changes})
    assert answer.status_code == 201, answer.text
    deployment: dict[str, Any] = answer.json()["deployment"]
    return deployment


def stored(world: World, id: str) -> Service:
    found = world.storage.get(Service, id)
    assert found is not None
    return found


async def test_the_documented_body_makes_the_documented_answer(client: httpx.AsyncClient, world: World) -> None:
    answer = await client.post("/v1/deployments", json=DOCUMENTED)
    assert answer.status_code == 201
    body = answer.json()
    deployment = body["deployment"]
    assert answer.headers["location"] == f"/v1/deployments/{deployment['id']}"
    assert body["estimatedHourlyCost"] == 0.036
    assert {
        name: deployment[name] for name in ("nodeId", "templateId", "name", "status", "endpoints", "totalCost")
    } == {
        "nodeId": NODE.replace("prov_", "node_"),
        "templateId": "ollama",
        "name": "my-ollama-server",
        "status": "pending",
        "endpoints": [],
        "totalCost": 0,
    }
    assert deployment["id"].startswith("dep_")
    service = stored(world, deployment["id"])
    assert service.constraints.only == (PROVIDER,)
    assert service.workload.env == {"OLLAMA_HOST": "0.0.0.0:11434", "OLLAMA_MODELS": "llama2,mistral"}
    assert [port.port for port in service.workload.ports] == [11434]


async def test_values_of_the_environment_are_never_shown(client: httpx.AsyncClient, world: World) -> None:
    made = await created(client, env={"PASSWORD": "hunter2hunter2"})
    assert made["env"] == {"PASSWORD": "***"}
    await pods_run(world, made["id"])
    pod = made["pods"][0]["id"]
    paths = [
        "/deployments",
        f"/deployments/{made['id']}",
        "/pods",
        f"/pods/{pod}",
        "/jobs",
        f"/deployments/{made['id']}/logs",
    ]
    for path in paths:
        answer = await client.get(f"/v1{path}")
        assert answer.status_code == 200
        assert "hunter2" not in answer.text
    for verb in ("stop", "start", "restart"):
        assert "hunter2" not in (await client.post(f"/v1/deployments/{made['id']}/{verb}")).text


async def test_a_masked_value_that_comes_back_stays_what_it_is(client: httpx.AsyncClient, world: World) -> None:
    made = await created(client, env={"PASSWORD": "hunter2", "MODE": "a"})
    answer = await client.put(f"/v1/deployments/{made['id']}", json={"env": {"PASSWORD": "***", "NEW": "***"}})
    assert answer.status_code == 200
    assert stored(world, made["id"]).workload.env == {"PASSWORD": "hunter2", "NEW": "***"}


async def test_a_running_deployment_shows_its_endpoint_and_when_it_started(
    client: httpx.AsyncClient, world: World
) -> None:
    made = await created(client, ports=[{"port": 53, "protocol": "tcp"}, {"port": 8080}, {"port": 9090}])
    await pods_run(world, made["id"])
    deployment = (await client.get(f"/v1/deployments/{made['id']}")).json()["deployment"]
    assert deployment["status"] == "running"
    assert deployment["endpoints"] == [
        {"type": "http", "url": f"http://{made['id']}.localhost:8081", "internalPort": 8080},
        {"type": "http", "url": f"http://9090-{made['id']}.localhost:8081", "internalPort": 9090},
    ]
    assert deployment["startedAt"].startswith("2025-06-15T")
    assert (deployment["readyReplicas"], deployment["pods"][0]["provider"]) == (1, NODE)


async def test_without_a_price_the_cap_is_twice_what_the_cheapest_asks(client: httpx.AsyncClient, world: World) -> None:
    priced = await created(client, maxPricePerHour=None, replicas=2)
    assert priced["maxPricePerHour"] == "0.072"
    world.placing.rate = 0
    assert (await created(client, maxPricePerHour=None))["maxPricePerHour"] == "1.0"


async def test_the_estimate_never_exceeds_the_caps(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/deployments", json={**IMAGE, "maxPricePerHour": 0.01, "replicas": 3})
    assert answer.json()["estimatedHourlyCost"] == 0.03


async def test_stop_start_and_delete_say_the_documented_words(client: httpx.AsyncClient, world: World) -> None:
    id = (await created(client))["id"]
    await pods_run(world, id)
    stopping = await client.post(f"/v1/deployments/{id}/stop")
    assert (stopping.status_code, stopping.json()["deployment"]["status"]) == (200, "stopping")
    await pods_run(world, id, "cancelled")
    assert (await client.get(f"/v1/deployments/{id}")).json()["deployment"]["status"] == "stopped"
    assert (await client.post(f"/v1/deployments/{id}/start")).json()["deployment"]["status"] == "starting"
    answer = await client.delete(f"/v1/deployments/{id}")
    assert (answer.status_code, answer.json()) == (
        200,
        {"success": True, "message": "Deployment deleted", "id": id},
    )
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/start"), ("GET", "/logs")):
        assert (await client.request(method, f"/v1/deployments/{id}{path}")).status_code == 404
    assert (await client.get("/v1/deployments")).json()["deployments"] == []


async def test_lists_have_pages_and_filters(client: httpx.AsyncClient, world: World) -> None:
    ids = [(await created(client, name=f"n{number}"))["id"] for number in range(3)]
    await pods_run(world, ids[0])
    page = (await client.get("/v1/deployments?page=2&limit=2")).json()
    assert len(page["deployments"]) == 1
    assert {name: page["pagination"][name] for name in ("page", "limit", "total", "totalPages")} == {
        "page": 2,
        "limit": 2,
        "total": 3,
        "totalPages": 2,
    }
    running = (await client.get("/v1/deployments?status=running")).json()["deployments"]
    assert [deployment["id"] for deployment in running] == [ids[0]]
    assert len((await client.get("/v1/deployments?status=deploying,running")).json()["deployments"]) == 3
    answer = await client.get("/v1/deployments?status=happy")
    assert (answer.status_code, answer.json()["error"]["details"]["expected"]) == (400, sorted(WORDS))


async def test_a_page_of_deployments_reads_no_others(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [(await created(client, name=f"n{number}"))["id"] for number in range(5)]
    read: list[str] = []
    find = world.services.hosting._storage.find

    def noted(noun: Any, **where: Any) -> list[Any]:
        found = find(noun, **where)
        read.extend(each.id for each in found if noun is Service)
        return found

    monkeypatch.setattr(world.services.hosting._storage, "find", noted)
    seen, cursor = list[str](), ""
    while len(seen) < 5:
        page = (
            await client.get("/v1/deployments", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        ).json()
        seen += [deployment["id"] for deployment in page["deployments"]]
        cursor = page["pagination"].get("nextCursor")
        assert page["pagination"]["total"] == 5
    assert (seen, cursor) == (sorted(ids, reverse=True), None)
    assert len(read) == 3 + 3 + 1


async def test_a_foreign_deployment_is_not_found(client: httpx.AsyncClient) -> None:
    id = (await created(client))["id"]
    other = {"X-API-Key": OTHER_KEY}
    assert (await client.get(f"/v1/deployments/{id}", headers=other)).status_code == 404
    assert (await client.delete(f"/v1/deployments/{id}", headers=other)).status_code == 404
    assert (await client.get("/v1/deployments", headers=other)).json()["deployments"] == []


async def test_a_repeat_under_one_key_creates_nothing_new(client: httpx.AsyncClient, world: World) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = await client.post("/v1/deployments", json=IMAGE, headers=headers)
    again = await client.post("/v1/deployments", json=IMAGE, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    other = await client.post("/v1/deployments", json={**IMAGE, "name": "b"}, headers=headers)
    assert (other.status_code, world.storage.count(Service)) == (422, 1)


async def test_scaling_and_changing_keep_the_rest(client: httpx.AsyncClient, world: World) -> None:
    made = await created(client, env={"A": "1"}, command=["serve"])
    id = made["id"]
    scaled = await client.post(f"/v1/deployments/{id}/scale", json={"replicas": 3})
    assert (scaled.json()["deployment"]["replicas"], len(scaled.json()["deployment"]["pods"])) == (3, 3)
    changed = await client.patch(f"/v1/deployments/{id}", json={"name": "web", "replicas": 2, "customImage": "nginx:2"})
    deployment = changed.json()["deployment"]
    assert (deployment["name"], deployment["image"], deployment["replicas"]) == ("web", "nginx:2", 2)
    assert (deployment["command"], deployment["maxPricePerHour"]) == (["serve"], "0.5")
    assert stored(world, id).workload.env == {"A": "1"}
    other = await client.patch(f"/v1/deployments/{id}", json={"templateId": "redis", "env": {"B": "2"}})
    deployment = other.json()["deployment"]
    assert (deployment["templateId"], deployment["image"]) == ("redis", "redis:7-alpine")


async def test_the_wallet_must_cover_the_caps_of_all_pods(client: httpx.AsyncClient, world: World) -> None:
    await world.storage.write(lambda tx: tx.put(Mark(id=FUNDS, value="1000000")))
    refused = await client.post("/v1/deployments", json={**IMAGE, "replicas": 3})
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "INSUFFICIENT_FUNDS")
    assert world.storage.count(Service) == 0
    id = (await created(client, replicas=2))["id"]
    assert (await client.post(f"/v1/deployments/{id}/scale", json={"replicas": 3})).status_code == 402
    assert stored(world, id).replicas == 2
    assert (await client.post(f"/v1/deployments/{id}/stop")).status_code == 200
    assert (await client.post("/v1/deployments", json=IMAGE)).status_code == 201
    assert (await client.post(f"/v1/deployments/{id}/start")).status_code == 402


async def test_a_deployment_answers_304_while_nothing_changes(client: httpx.AsyncClient, world: World) -> None:
    id = (await created(client))["id"]
    tag = (await client.get(f"/v1/deployments/{id}")).headers["etag"]
    assert (await client.get(f"/v1/deployments/{id}", headers={"If-None-Match": tag})).status_code == 304
    await pods_run(world, id, "placed")
    assert (await client.get(f"/v1/deployments/{id}", headers={"If-None-Match": tag})).status_code == 200


async def test_the_output_of_all_pods_is_one_list_by_time(client: httpx.AsyncClient, world: World) -> None:
    id = (await created(client, replicas=2))["id"]
    assert (await client.get(f"/v1/deployments/{id}/logs")).json() == {"logs": []}
    await pods_run(world, id)
    await pods_say(world, id, "one", "WARN two")
    logs = (await client.get(f"/v1/deployments/{id}/logs")).json()["logs"]
    assert [record["message"] for record in logs] == ["one", "one", "WARN two", "WARN two"]
    assert set(logs[0]) == {"timestamp", "stream", "level", "message"}
    tail = (await client.get(f"/v1/deployments/{id}/logs?tail=1&level=warn")).json()["logs"]
    assert [record["message"] for record in tail] == ["WARN two"]


async def test_a_followed_deployment_streams_its_lines_until_it_is_deleted(
    client: httpx.AsyncClient, world: World
) -> None:
    id = (await created(client))["id"]
    await pods_run(world, id)
    await pods_say(world, id, "one", "two")
    lines = world.services.output.follow(ALICE, id)
    assert [(await anext(lines)).text, (await anext(lines)).text] == ["one", "two"]
    await client.delete(f"/v1/deployments/{id}")
    assert (await client.get(f"/v1/deployments/{id}/logs?follow=true")).status_code == 404


async def test_a_reconnect_goes_on_with_the_millisecond_of_the_last_line(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = (await created(client))["id"]
    await pods_run(world, id)
    await pods_say(world, id, "one", "two", "three")
    follow = type(world.services.output).follow

    async def until_deleted(self: Any, account: Any, service: str, pod: str = "", *places: Any) -> Any:
        lines = follow(self, account, service, pod, *places)
        async for line in lines:
            yield line
            if line.text == "three":
                await world.hosting.delete(account, service)

    monkeypatch.setattr(type(world.services.output), "follow", until_deleted)
    answer = await client.get(f"/v1/deployments/{id}/logs?follow=true", headers={"Last-Event-ID": "1750000001000"})
    sent = frames(answer.text)
    assert [json.loads(frame["data"]).get("message") for frame in sent] == ["two", "three", None]
    assert sent[-1]["event"] == "end"


async def test_who_follows_with_a_tail_begins_with_the_last_lines_and_misses_none(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = (await created(client))["id"]
    await pods_run(world, id)
    said = ("one", "two", "three")
    await pods_say(world, id, *said)
    follow = type(world.services.output).follow

    async def goes_on(self: Any, account: Any, service: str, *places: Any) -> Any:
        await pods_say(world, id, *said, "four")
        async for line in follow(self, account, service, *places):
            yield line
            if line.text == "four":
                await world.hosting.delete(account, service)

    monkeypatch.setattr(type(world.services.output), "follow", goes_on)
    sent = frames((await client.get(f"/v1/deployments/{id}/logs?follow=true&tail=1")).text)
    assert [json.loads(frame["data"]).get("message") for frame in sent] == ["three", "four", None]


async def test_an_error_names_its_cause(client: httpx.AsyncClient, world: World) -> None:
    id = (await created(client))["id"]
    for _ in range(3):
        await pods_run(world, id, "failed", code="IMAGE_NOT_FOUND", message="no such image: nginx:1")
        world.clock.time = stored(world, id).deadline
        await world.engine.handle("Service", id, DeadlinePassed())
    deployment = (await client.get(f"/v1/deployments/{id}")).json()["deployment"]
    assert (deployment["status"], deployment["error"]["code"]) == ("error", "IMAGE_NOT_FOUND")
    assert deployment["pods"][0]["restarts"] == 3


BAD: list[tuple[dict[str, Any], str]] = [
    ({"templateId": "nothing", "customImage": None}, "templateId"),
    ({"templateId": "redis"}, "templateId"),
    ({"customImage": None}, "templateId"),
    ({"customImage": "no such image!"}, "customImage"),
    ({"customImage": ""}, "customImage"),
    ({"nodeId": "node_abc123"}, "nodeId"),
    ({"nodeId": "prov_" + "00" * 20}, "nodeId"),
    ({"ports": [0]}, "ports[0]"),
    ({"ports": [65_536]}, "ports[0]"),
    ({"ports": [80, 80]}, "ports"),
    ({"ports": list(range(1, 18))}, "ports"),
    ({"ports": [{"port": 80, "protocol": "udp"}]}, "ports[0].protocol"),
    ({"replicas": 0}, "replicas"),
    ({"replicas": 65}, "replicas"),
    ({"replicas": "2"}, "replicas"),
    ({"env": {"A": "a\0b"}}, "env.A"),
    ({"env": {"A\0": "b"}}, "env"),
    ({"env": {"A=B": "b"}}, "env"),
    ({"env": {"A": "x" * 32_769}}, "env[...]"),
    ({"env": {f"A{n}": "x" * 30_000 for n in range(10)}}, "env"),
    ({"command": ["a\0"]}, "command"),
    ({"name": "a\0b"}, "name"),
    ({"name": ""}, "name"),
    ({"colour": "red"}, "colour"),
    ({"resources": {"cpu": 0}}, "resources.cpu"),
    ({"resources": {"memory": "1Ki"}}, "resources.memory"),
    ({"maxPricePerHour": 0}, "maxPricePerHour"),
    ({"maxPricePerHour": "1e9"}, "maxPricePerHour"),
    ({"maxPricePerHour": -1}, "maxPricePerHour"),
    ({"probe": {"kind": "exec"}}, "probe.command"),
    ({"probe": {"kind": "http"}, "ports": []}, "probe.port"),
    ({"probe": {"kind": "http", "path": "/a\0"}}, "probe.path"),
    ({"volumes": [{"name": "d", "path": "/proc", "size": "1Gi"}]}, "volumes[0].path"),
    ({"volumes": [{"name": "d", "path": "/a/../proc", "size": "1Gi"}]}, "volumes[0].path"),
    ({"volumes": [{"name": "d", "path": "/a\0", "size": "1Gi"}]}, "volumes[0].path"),
    ({"volumes": [{"name": "d", "path": "/a", "size": "1Ki"}]}, "volumes.size"),
    ({"volumes": [{"name": n, "path": "/a", "size": "1Gi"} for n in "xy"]}, "volumes"),
    ({"egress": "all"}, "egress"),
    ({"egress": {"policy": "list"}}, "egress.hosts"),
    ({"egress": {"policy": "web", "hosts": ["a.example"]}}, "egress.hosts"),
    ({"egress": {"policy": "list", "hosts": ["localhost"]}}, "egress.hosts[0]"),
]


async def test_the_disk_holds_the_volumes_and_is_paid(client: httpx.AsyncClient, world: World) -> None:
    volumes = [{"name": name, "path": f"/{name}", "size": "2Gi"} for name in "xy"]
    first = await created(client, volumes=volumes)
    more = await created(client, volumes=volumes, resources={"disk": "9Gi"})
    disks = [stored(world, one["id"]).workload.resources.disk for one in (first, more)]
    assert disks == [4 * 2**30, 9 * 2**30]


@pytest.mark.parametrize(("changes", "field"), BAD, ids=repr)
async def test_a_body_that_does_not_fit_is_refused_by_its_field_and_leaves_nothing(
    client: httpx.AsyncClient, world: World, changes: dict[str, Any], field: str
) -> None:
    answer = await client.post("/v1/deployments", json={**IMAGE, **changes})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["details"]["field"]) == (400, "INVALID_PARAMETERS", field)
    assert error["message"]
    assert world.storage.count(Service) == 0


@pytest.mark.parametrize(
    "changes",
    [{"replicas": 0}, {"ports": [0]}, {"env": {"A": "\0"}}, {"templateId": "no"}, {"nodeId": NODE}, {"name": "\0"}],
    ids=repr,
)
async def test_a_change_that_does_not_fit_changes_nothing(
    client: httpx.AsyncClient, world: World, changes: dict[str, Any]
) -> None:
    id = (await created(client))["id"]
    before = stored(world, id)
    assert (await client.patch(f"/v1/deployments/{id}", json=changes)).status_code == 400
    assert stored(world, id) == before
    assert (await client.post(f"/v1/deployments/{id}/scale", json={"replicas": 0})).status_code == 400


@pytest.mark.parametrize("id", ["dep_x", "x", "dep_\0", "%00", "..%2f", "a" * 3000])
async def test_an_id_that_does_not_exist_is_not_found(client: httpx.AsyncClient, id: str) -> None:
    path = id.replace("\0", "%00")
    assert (await client.get(f"/v1/deployments/{path}")).status_code == 404


async def test_offers_are_explained_for_one_more_pod(client: httpx.AsyncClient, world: World) -> None:
    id = (await created(client))["id"]
    answer = await client.get(f"/v1/deployments/{id}/explain")
    assert (answer.status_code, answer.json()["matching"]) == (200, 1)
    assert world.placing.asked[-1].workload.timeout == 3600
    assert (await client.get("/v1/deployments/none/explain")).status_code == 404


async def test_snake_case_is_read_too(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/v1/deployments",
        json={"custom_image": "nginx", "max_price_per_hour": 1, "probe": {"kind": "tcp", "port": 1, "start_period": 5}},
    )
    assert answer.json()["deployment"]["probe"]["startPeriod"] == 5


async def test_an_account_has_a_quota(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.actions.services.MAX_SERVICES", 1)
    await created(client)
    answer = await client.post("/v1/deployments", json=IMAGE)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "QUOTA_EXCEEDED")


async def test_a_chosen_node_may_be_named_by_its_address(client: httpx.AsyncClient, world: World) -> None:
    for node in (REQUESTER, f"node_{REQUESTER[2:]}"):
        made = await created(client, nodeId=node)
        assert stored(world, made["id"]).constraints.only == (REQUESTER,)


async def test_a_node_that_is_listed_is_the_one_that_a_deployment_shows(client: httpx.AsyncClient) -> None:
    nodes = [node["id"] for node in (await client.get("/v1/nodes")).json()["providers"]]
    made = [(await created(client, nodeId=node))["nodeId"] for node in nodes]
    assert made == nodes
