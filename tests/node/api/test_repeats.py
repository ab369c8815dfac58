"""A repeat under an Idempotency-Key is answered, whatever became meanwhile of what its body names."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import httpx
import pytest

from node.actions.keys import NewKey
from tests.node.api.fakes import ALICE, OTHER_KEY, World

pytestmark = pytest.mark.anyio

PROGRAM: Final = "https://storage.example/my-agent"
CODE: Final = {"code": "print(1)", "language": "python"}
NODE: Final = {"nodeId": "node_" + "22" * 20, "customImage": "nginx:1"}
AGENT: Final = {"name": "a", "runtime": "rust", "binary_url": PROGRAM}
KEY: Final = {"Idempotency-Key": "once:1"}


def no_offers(world: World) -> None:
    world.market.offers.clear()


def no_programs(world: World) -> None:
    binaries: Any = world.services.binaries
    binaries.known.clear()


def no_languages(world: World) -> None:
    world.runner.offered = {}


@pytest.mark.parametrize(
    ("path", "body", "lose", "then"),
    [
        ("/v1/deployments", NODE, no_offers, 400),
        ("/v1/agents", AGENT, no_programs, 400),
        ("/v1/jobs", CODE, no_languages, 503),
        ("/api/v1/runner/submit", CODE, no_languages, 503),
    ],
    ids=["the offer is gone", "the program is gone", "the language is gone", "the language is gone there too"],
)
async def test_a_repeat_is_answered_though_a_new_request_would_be_refused(
    client: httpx.AsyncClient, world: World, path: str, body: Any, lose: Callable[[World], None], then: int
) -> None:
    if body is NODE:
        body = {**body, "nodeId": (await client.get("/v1/nodes")).json()["providers"][0]["id"]}
    first = await client.post(path, json=body, headers=KEY)
    assert first.is_success, first.text
    lose(world)
    again = await client.post(path, json=body, headers=KEY)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert (await client.post(path, json=body)).status_code == then


async def test_a_build_is_told_again_though_its_project_was_deleted(client: httpx.AsyncClient, world: World) -> None:
    project = (await client.post("/v1/projects", json={"repo_url": "https://github.com/you/app"})).json()["id"]
    first = await client.post("/v1/jobs", json={"project_id": project}, headers=KEY)
    await client.delete(f"/v1/projects/{project}")
    again = await client.post("/v1/jobs", json={"project_id": project}, headers=KEY)
    assert (first.status_code, again.status_code, again.content) == (201, 201, first.content)
    assert len(world.jobs.submitted) == 1


async def test_another_body_under_the_key_is_refused_before_it_is_looked_at(client: httpx.AsyncClient) -> None:
    await client.post("/v1/jobs", json=CODE, headers=KEY)
    answer = await client.post("/v1/jobs", json={"nothing": "we know"}, headers=KEY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "IDEMPOTENCY_MISMATCH")


async def test_a_stored_answer_is_for_its_account_alone_and_not_for_keys_that_may_not_ask(
    client: httpx.AsyncClient, world: World
) -> None:
    first = await client.post("/v1/agents", json=AGENT, headers=KEY)
    _, reader = await world.people.keys.create_for(ALICE, NewKey(name="r", scopes=("read",)))
    refused = await client.post("/v1/agents", json=AGENT, headers={**KEY, "X-API-Key": reader})
    other = await client.post("/v1/agents", json=AGENT, headers={**KEY, "X-API-Key": OTHER_KEY})
    assert (refused.status_code, other.status_code) == (403, 201)
    assert other.json()["id"] != first.json()["id"]


@pytest.mark.parametrize("what", ["start", "restart", "scale"])
@pytest.mark.parametrize("kind", ["deployments", "agents"])
async def test_power_is_used_once_under_a_key(client: httpx.AsyncClient, world: World, kind: str, what: str) -> None:
    made = (await client.post(f"/v1/{kind}", json=AGENT if kind == "agents" else {"customImage": "nginx:1"})).json()
    id = made.get("deployment", made)["id"]
    path, body = f"/v1/{kind}/{id}/{what}", {"replicas": 2} if what == "scale" else None
    first = await client.post(path, json=body, headers=KEY)
    version = world.hosting.get(ALICE, id).version
    again = await client.post(path, json=body, headers=KEY)
    assert (again.status_code, again.content, again.headers["idempotent-replayed"]) == (200, first.content, "true")
    assert world.hosting.get(ALICE, id).version == version, "it was told nothing"
    await client.post(path, json=body)
    assert world.hosting.get(ALICE, id).version > version
    if what == "scale":
        assert (await client.post(path, json={"replicas": 3}, headers=KEY)).status_code == 422


async def test_a_key_is_another_one_at_another_address(client: httpx.AsyncClient, world: World) -> None:
    ids = [
        (await client.post("/v1/deployments", json={"customImage": "a"})).json()["deployment"]["id"] for _ in range(2)
    ]
    for id in ids:
        answer = await client.post(f"/v1/deployments/{id}/restart", headers=KEY)
        assert "idempotent-replayed" not in answer.headers
        assert world.hosting.get(ALICE, id).generation == 2


async def test_a_pod_is_started_once_under_a_key(client: httpx.AsyncClient, world: World) -> None:
    id = (await client.post("/v1/deployments", json={"customImage": "a"})).json()["deployment"]["id"]
    [pod] = (await client.get("/v1/pods")).json()["pods"]
    await client.post(f"/v1/pods/{pod['id']}/stop")
    first = await client.post(f"/v1/pods/{pod['id']}/start", headers=KEY)
    await client.post(f"/v1/pods/{pod['id']}/stop")
    again = await client.post(f"/v1/pods/{pod['id']}/start", headers=KEY)
    assert (again.status_code, again.content) == (200, first.content)
    assert world.hosting.get(ALICE, id).pods[0].is_stopped


async def test_deposits_are_taken_back_once_under_a_key(root: httpx.AsyncClient, world: World) -> None:
    asked, gate, refund = list[int](), asyncio.Event(), world.wallets.refund

    async def slowly() -> Any:
        asked.append(1)
        await gate.wait()
        return await refund()

    world.wallets.refund = slowly  # type: ignore[method-assign]
    first = asyncio.create_task(root.post("/v1/wallet/refund", headers=KEY))
    async with asyncio.timeout(5):
        while not asked:
            await asyncio.sleep(0)
        early = await root.post("/v1/wallet/refund", headers=KEY)
    assert (early.status_code, early.json()["error"]["code"], early.headers["retry-after"]) == (409, "CONFLICT", "1")
    gate.set()
    again = await root.post("/v1/wallet/refund", headers=KEY) if (await first).is_success else early
    assert (again.status_code, again.content, len(asked)) == (201, (await first).content, 1)
    await root.post("/v1/wallet/refund")
    assert len(asked) == 2
