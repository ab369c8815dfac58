"""A repeat under an Idempotency-Key is answered, whatever became meanwhile of what its body names."""

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
