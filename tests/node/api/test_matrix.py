"""Who may what, for every route there is: generated from the routes, so that a new one is covered without a word here.

Alice owns one of everything. Each operation is asked by nobody, with keys that are none, with keys of every single
scope, by Bob and by Alice; nothing is granted that its guard does not say.
"""

import asyncio
import contextlib
import re
from collections.abc import Iterator
from typing import Any, Final

import httpx
import msgspec
import pytest
from litestar.exceptions import WebSocketDisconnect
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler
from litestar.testing import TestClient

from market.runs import Run
from node.actions.access import ADMIN, ROLES, SCOPES
from node.actions.console_doors import FrameKind
from node.actions.keys import NewKey
from node.api import consoles
from node.api.app import ROUTES, RUNNER_ROUTES, SOCKETS
from node.api.auth import Access, Open
from node.api.limits import ACTIONS
from node.api.system import show_metrics
from node.records import Invoice, Payout
from tests.builders import NOW, REQUESTER
from tests.node.api.fakes import ALICE, BOB, KEY, OTHER_KEY, ROOT, World, a_done_job

pytestmark = pytest.mark.anyio
WHOSE: Final = {
    "job_id": "job_0000000000000001",
    "run_id": "ab" * 12,
    "provider_id": f"prov_{REQUESTER[2:]}",
    "node_id": f"prov_{REQUESTER[2:]}",
    "template_id": "redis",
    "user_id": ALICE.id,
    "invoice_id": "inv_1",
    "withdrawal_id": "pay_1",
    "name": "api",
    "path": "out.txt",
    "target_id": "job_0000000000000001",
    "user_code": "BCDF-GHJK",
    "ask_id": "ask_000001",
}
PUBLIC: Final = ("provider_id", "node_id", "template_id", "name", "ask_id")
"""Ids that are everybody's, or the node's."""
BODIES: Final = {"scale_deployment": b'{"replicas": 2}', "scale_agent": b'{"replicas": 2}'}
"""The bodies of operations that need more than an empty one; whether others fit is asked after who asks."""
QUERIES: Final = {"read_files": {"path": "/data"}, "write_files": {"path": "/data"}}
STREAMS: Final = ("/v1/events", "/v1/jobs/{job_id}/events")
"""They do not end by themselves; who may follow them is decided before they begin."""


class Operation:
    """One route with one method, and what its guard says."""

    def __init__(self, prefix: str, handler: HTTPRouteHandler, path: str) -> None:
        self.template = re.sub(r"{(\w+):\w+}", r"{\1}", f"{prefix}{path}")
        self.method = next(iter(handler.http_methods - {"OPTIONS"}))
        self.name = handler.handler_name
        self.guards = [guard for guard in handler.guards or () if isinstance(guard, Access | Open)]
        self.count = len(handler.guards or ())

    @property
    def scope(self) -> str:
        [guard] = self.guards
        return guard.scope

    @property
    def ids(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.template)


def operations() -> Iterator[Operation]:
    for prefix, handlers in (("/v1", ROUTES), ("/api/v1/runner", RUNNER_ROUTES), ("", [show_metrics])):
        for handler in handlers:
            assert isinstance(handler, HTTPRouteHandler)
            for path in handler.paths:
                yield Operation(prefix, handler, path)


ALL: Final = list(operations())
OWNED: Final = [each for each in ALL if set(each.ids) - {*PUBLIC, "user_code"} and each.scope != ADMIN]
"""A code that a device shows is for whoever sees it; what is for administrators is refused before it is looked for."""


@pytest.fixture
async def things(world: World, client: httpx.AsyncClient) -> dict[str, str]:
    """The ids of what Alice has."""
    world.jobs.put(a_done_job())
    world.runner.put(Run(id=WHOSE["run_id"], account=ALICE.id, language="python", code="1", created_at=NOW))
    body = {"templateId": "redis", "maxPricePerHour": "0.05"}
    deployment = (await client.post("/v1/deployments", json=body)).json()["deployment"]["id"]
    agent = {"name": "a", "image": "busybox", "runtime": "python", "config": {"cpu": "1.0", "memory": "1Gi"}}
    made = {
        "deployment_id": deployment,
        "agent_id": (await client.post("/v1/agents", json=agent)).json()["id"],
        "project_id": (await client.post("/v1/projects", json={"repo_url": "https://git.example/a.git"})).json()["id"],
        "webhook_id": (await client.post("/v1/webhooks", json={"url": "https://hooks.example/"})).json()["id"],
        "digest": (await client.put("/v1/files", content=b"words")).json()["digest"],
        "key_id": (await client.post("/v1/keys", json={"name": "a"})).json()["id"],
        "pod_id": (await client.get("/v1/pods")).json()["pods"][0]["id"],
    }
    made["delivery_id"] = (await client.post(f"/v1/webhooks/{made['webhook_id']}/test")).json()["id"]
    world.storage.put(Payout(id="pay_1", account=ALICE.id, to=REQUESTER, amount=1, created_at=NOW))  # type: ignore[arg-type]
    world.storage.put(
        Invoice(
            id="inv_1",
            account=ALICE.id,
            period="2025-01",
            amount=1,  # type: ignore[arg-type]
            seconds=1,
            storage=0,
            runs=0,
            credits=0,
            due_at=NOW,
            created_at=NOW,
        )
    )
    return {**WHOSE, **made}


def address(operation: Operation, ids: dict[str, str]) -> str:
    return operation.template.format(**_own(operation, ids))


async def ask(client: httpx.AsyncClient, operation: Operation, path: str, key: str) -> httpx.Response:
    """One request, with what it takes to get to the question whose it is."""
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    content = BODIES.get(operation.name, b"{}") if operation.method in ("POST", "PUT", "PATCH") else None
    return await client.request(
        operation.method, path, headers=headers, content=content, params=QUERIES.get(operation.name)
    )


async def key_of(world: World, who: Any, *scopes: str) -> str:
    _, secret = await world.people.keys.create_for(who, NewKey(name="matrix", scopes=scopes))
    return secret


def test_every_route_has_one_guard_of_ours_and_a_limit() -> None:
    for each in ALL:
        assert (len(each.guards), each.count) == (1, 1), each.name
        assert each.scope in (*SCOPES, ""), each.name
        assert {each.guards[0].action, *each.guards[0].later} <= set(ACTIONS), each.name


def test_nothing_is_changed_with_the_scope_to_read() -> None:
    reads = {each.name for each in ALL if each.method != "GET" and each.scope == "read"}
    assert reads <= {"sign_out", "explain_deployment"}, "the one ends its own session, the other only asks"
    looks = [each for each in ALL if each.method == "GET" and each.scope not in ("read", "account", "admin", "")]
    assert {(each.name, each.scope) for each in looks} == {("read_files", "compute")}, "it looks inside of what runs"


def test_what_everybody_may_is_a_short_list() -> None:
    assert {each.name for each in ALL if each.scope == ""} == {
        "give_token",
        "give_nonce",
        "sign_in_with_wallet",
        "start_device",
        "collect_device_token",
        "show_health",
        "show_readiness",
        "show_version",
    }


async def test_nobody_and_wrong_keys_are_let_in_nowhere(client: httpx.AsyncClient, things: dict[str, str]) -> None:
    for each in ALL:
        if each.scope:
            for key in ("", "ng_live_wrong", KEY[:-1] + "x", "a.b.c"):
                answer = await ask(client, each, address(each, things), key)
                assert answer.status_code == 401, (each.name, key, answer.text)


async def test_a_key_of_another_scope_is_refused_everywhere(world: World, client: httpx.AsyncClient) -> None:
    refused = 0
    for scope in SCOPES:
        key = await key_of(world, ROOT, scope)
        for each in ALL:
            if each.scope and each.scope != scope:
                answer = await ask(client, each, address(each, {**WHOSE, **_any(each)}), key)
                assert answer.status_code == 403, (each.name, scope, answer.text)
                refused += 1
    assert refused > 300


async def test_what_is_for_administrators_is_refused_to_everybody_else(client: httpx.AsyncClient) -> None:
    reserved = [each for each in ALL if each.scope not in (*ROLES["developer"], "")]
    assert {"list_users", "create_user", "give_credits", "refund", "show_metrics"} <= {each.name for each in reserved}
    for each in reserved:
        answer = await ask(client, each, address(each, {**WHOSE, **_any(each)}), KEY)
        assert answer.status_code == 403, (each.name, answer.text)


@pytest.mark.parametrize("operation", OWNED, ids=lambda each: each.name)
async def test_what_is_anothers_is_answered_like_what_is_not_there(
    client: httpx.AsyncClient, things: dict[str, str], operation: Operation
) -> None:
    foreign = await _told(client, operation, things)
    missing = await _told(client, operation, {name: _absent(value) for name, value in things.items()})
    assert foreign == missing
    assert foreign[0] == 404, foreign


async def test_the_owner_is_let_in_where_the_other_was_not(client: httpx.AsyncClient, things: dict[str, str]) -> None:
    for each in OWNED:
        if each.method == "GET" and each.name != "read_files" and each.template not in STREAMS:
            answer = await ask(client, each, address(each, things), KEY)
            assert answer.status_code in (200, 404), (each.name, answer.text)
            if answer.status_code == 404:
                assert each.name == "download_result", each.name


@pytest.fixture
def own() -> World:
    """A world whose application lives in the loop of the test's client alone; Alice has a job in it."""
    world = World(port=1)
    world.jobs.put(a_done_job())
    return world


@pytest.mark.parametrize("socket", SOCKETS, ids=lambda each: each.handler_name)
def test_a_socket_is_opened_by_the_scope_of_its_guard_alone(own: World, socket: WebsocketRouteHandler) -> None:
    [guard] = socket.guards or ()
    assert isinstance(guard, Access)
    for key in ("", "ng_live_wrong", KEY[:-1] + "x", "a.b.c"):
        with pytest.raises(WebSocketDisconnect):
            connect(own, socket, key).__enter__()
    for scope in SCOPES:
        key = asyncio.run(key_of(own, ROOT, scope))
        refused = contextlib.nullcontext() if scope == guard.scope else pytest.raises(WebSocketDisconnect)
        with refused, connect(own, socket, key):
            pass


def test_a_console_of_anothers_job_is_like_that_of_none(own: World) -> None:
    def last_word(id: str, key: str) -> Any:
        with connect(own, consoles.execute, key, id) as socket:
            said = socket.receive_bytes()
        assert said[0] == FrameKind.DONE
        return msgspec.json.decode(said[1:])

    foreign, missing = (last_word(id, OTHER_KEY) for id in (WHOSE["job_id"], _absent(WHOSE["job_id"])))
    assert (foreign, foreign["code"]) == (missing, "NOT_FOUND")
    assert last_word(WHOSE["job_id"], KEY)["code"] == "CONFLICT", "it has ended"


def connect(world: World, socket: WebsocketRouteHandler, key: str, job: str = WHOSE["job_id"]) -> Any:
    [path] = socket.paths
    address = f"/v1{re.sub(r'{job_id:str}', job, path)}?command=true"
    return TestClient(world.app.app).websocket_connect(address, headers={"X-API-Key": key})


async def test_a_stream_is_for_its_owner(client: httpx.AsyncClient, things: dict[str, str]) -> None:
    path = f"/v1/jobs/{things['job_id']}/events"
    assert (await client.get(path, headers={"X-API-Key": OTHER_KEY})).status_code == 404


async def test_bob_sees_nothing_of_alices_in_any_list(client: httpx.AsyncClient, things: dict[str, str]) -> None:
    own = [value for name, value in things.items() if name not in PUBLIC and name not in ("path", "user_code")]
    for each in ALL:
        if each.method == "GET" and not each.ids and each.scope == "read" and each.template not in STREAMS:
            text = (await ask(client, each, each.template, OTHER_KEY)).text
            assert not [id for id in own if f'"{id}"' in text], each.name
    assert BOB.id in (await ask(client, _named("show_me"), "/v1/auth/me", OTHER_KEY)).text


def _own(operation: Operation, ids: dict[str, str]) -> dict[str, str]:
    """The ids in the path; the runner calls its runs jobs."""
    found = {name: ids[name] for name in operation.ids}
    return {"job_id": ids["run_id"]} if operation.template.startswith("/api/v1/runner/") and found else found


def _named(name: str) -> Operation:
    return next(each for each in ALL if each.name == name)


def _any(operation: Operation) -> dict[str, str]:
    return {name: "x" for name in operation.ids if name not in WHOSE}


def _absent(id: str) -> str:
    """An id of the same form that nobody has."""
    return f"{id[:-1]}{'0' if id[-1] != '0' else '1'}"


async def _told(client: httpx.AsyncClient, operation: Operation, ids: dict[str, str]) -> tuple[int, str]:
    """Status and body of Bob's answer without what must differ: ids and the number of the request."""
    path = address(operation, ids)
    answer = await ask(client, operation, path, OTHER_KEY)
    text = answer.text
    for id in sorted(_own(operation, ids).values(), key=len, reverse=True):
        text = text.replace(id, "<id>")
    body = msgspec.json.decode(text) if text else {}
    body.pop("requestId", None)
    body.pop("instance", None)
    return answer.status_code, str(body)
