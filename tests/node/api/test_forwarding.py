"""An API process beside a node: what it hands on arrives as it was sent, and comes back as the node said it."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from market.errors import ConfigError
from node.api import forwarding
from node.api.app import AT_NODE, RATHER_AT_NODE, create_app
from node.api.forwarding import NodeDoor
from node.api.server import bind, serve
from node.config_api import ApiSettings
from node.ports import Window
from tests.node.api.fakes import KEY, World

pytestmark = pytest.mark.anyio
JOB = "job_0000000000000001"
LIMITS = {"anonymous": {"general": (Window(2, 60),)}, "free": {}, "pro": {}, "enterprise": {}}


class Consoles:
    """Files of a job: what was unpacked, and three pieces to pack, of which the last waits for `go`."""

    def __init__(self) -> None:
        self.unpacked: list[bytes] = []
        self.go = asyncio.Event()
        self.closed = asyncio.Event()

    async def unpack(self, account: Any, job: str, path: str, chunks: AsyncIterator[bytes]) -> None:
        async for chunk in chunks:
            self.unpacked.append(chunk)

    async def pack(self, account: Any, job: str, path: str) -> AsyncIterator[bytes]:
        try:
            yield b"one"
            yield b"two"
            await self.go.wait()
            yield b"three"
        finally:
            self.closed.set()


class Pair:
    """A node and an API process beside it, each with a world of its own, and a client of either."""

    def __init__(self, folder: Path) -> None:
        self.node, self.front = World(limits=LIMITS), World()
        self.consoles = Consoles()
        consoles: Any = self.consoles
        self.node.app.app.state.services = replace(self.node.services, consoles=consoles)
        self._door = folder / "api.sock"
        self._way = NodeDoor(self._door)
        self._serving: dict[str, asyncio.Task[None]] = {}

    async def start(self) -> None:
        self.at_node = await self._serve("node", self.node.app, self._door)
        beside = create_app(self.front.services, ApiSettings(), {}, node=self._way)
        self.at_front = await self._serve("front", beside, None)

    async def _serve(self, name: str, app: Any, door: Path | None) -> httpx.AsyncClient:
        bound: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        told = lambda _, port: bound.set_result(port)  # noqa: E731
        self._serving[name] = asyncio.create_task(serve(app, "127.0.0.1", 0, told, door=door))
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{await bound}", headers={"X-API-Key": KEY}, timeout=10)

    async def stop_node(self) -> None:
        await self.at_node.aclose()
        self._serving["node"].cancel()
        await asyncio.wait([self._serving["node"]])

    async def stop(self) -> None:
        await self.at_front.aclose()
        await self._way.close()
        for task in self._serving.values():
            task.cancel()
        await asyncio.wait(self._serving.values())


@pytest.fixture
async def pair(anyio_backend: str) -> AsyncIterator[Pair]:
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(Path(folder))
        await pair.start()
        yield pair
        await pair.stop()


async def test_what_the_node_knows_comes_from_the_node_and_what_is_stored_does_not(pair: Pair) -> None:
    pair.front.market.offers = []
    assert len((await pair.at_front.get("/v1/providers")).json()["providers"]) == 2
    await pair.stop_node()
    assert (await pair.at_front.get("/v1/webhooks")).status_code == 200


async def test_an_answer_is_the_nodes_with_no_header_twice(pair: Pair) -> None:
    asked = {"X-Request-Id": "mine", "Origin": "https://elsewhere.example"}
    mine = await pair.at_front.get("/v1/providers?limit=1", headers=asked)
    nodes = await pair.at_node.get("/v1/providers?limit=1", headers=asked)
    assert mine.content == nodes.content
    assert mine.headers["x-request-id"] == "mine"
    names = [name.lower() for name, _ in mine.headers.raw]
    assert len(names) == len(set(names)), names


def test_only_headers_of_this_very_name_or_family_are_left_out() -> None:
    headers = [(b"TE", b"1"), (b"tenant", b"2"), (b"X-Forwarded-For", b"3"), (b"date", b"4"), (b"dates", b"5")]
    kept = forwarding._without(headers, (b"te", b"date", b"x-forwarded-"))
    assert kept == [(b"tenant", b"2"), (b"dates", b"5")]


async def test_a_credential_is_the_nodes_to_judge(pair: Pair) -> None:
    refused = await pair.at_front.get("/v1/providers", headers={"X-API-Key": "none"})
    assert (refused.status_code, refused.headers["www-authenticate"][:6]) == (401, "Bearer")
    head = await pair.at_front.head("/v1/providers")
    assert (head.status_code, head.content) == (200, b"")


async def test_a_body_is_passed_on_as_it_comes(pair: Pair) -> None:
    async def body() -> AsyncIterator[bytes]:
        for number in range(3):
            yield bytes([number]) * 100_000
            while len(b"".join(pair.consoles.unpacked)) < (number + 1) * 100_000:
                await asyncio.sleep(0)

    answer = await pair.at_front.put(f"/v1/jobs/{JOB}/files?path=/data", content=body())
    assert answer.status_code == 200
    assert b"".join(pair.consoles.unpacked) == b"".join(bytes([number]) * 100_000 for number in range(3))


async def test_an_answer_is_passed_on_as_it_comes_and_ended_with_its_client(pair: Pair) -> None:
    async with pair.at_front.stream("GET", f"/v1/jobs/{JOB}/files?path=/data") as stream:
        chunks = stream.aiter_raw()
        said = b""
        while said != b"onetwo":
            said += await anext(chunks)
        pair.consoles.go.set()
        assert await anext(chunks) == b"three"

    pair.consoles.go.clear()
    pair.consoles.closed.clear()
    async with pair.at_front.stream("GET", f"/v1/jobs/{JOB}/files?path=/data") as stream:
        await anext(stream.aiter_raw())
    async with asyncio.timeout(5):
        await pair.consoles.closed.wait()


async def test_while_the_node_is_away_its_own_routes_are_503_and_the_others_are_answered(pair: Pair) -> None:
    await pair.stop_node()
    away = await pair.at_front.get("/v1/providers")
    assert (away.status_code, away.json()["error"]["code"], away.headers["retry-after"]) == (
        503,
        "SERVICE_UNAVAILABLE",
        "5",
    )
    assert (await pair.at_front.get("/v1/health")).json()["status"] == "ok", "the word of the front's own health"
    assert (await pair.at_front.get("/v1/version")).status_code == 200


async def test_the_node_believes_only_its_own_processes_for_whom_they_ask(pair: Pair) -> None:
    """Anonymous calls are counted by address: a process beside the node tells its client's, whatever that says."""
    del pair.at_front.headers["X-API-Key"]
    said = [{"X-Forwarded-For": f"198.51.100.{number}"} for number in range(3)]
    transport = httpx.AsyncHTTPTransport(uds=pair._way.path)
    async with httpx.AsyncClient(transport=transport, base_url="http://node") as own:
        assert [(await own.get("/v1/health", headers=said[0])).status_code for _ in range(3)] == [200, 200, 429]
        assert (await own.get("/v1/health", headers=said[1])).status_code == 200

    scope_of = {"type": "http", "server": ("127.0.0.1", 80), "client": ("203.0.113.1", 9)}
    found = await _client_named(pair.node.app, {**scope_of, "headers": [(b"x-forwarded-for", b"198.51.100.9")]})
    assert found == "203.0.113.1"


async def _client_named(app: Any, scope: dict[str, Any]) -> str:
    whole = {"method": "GET", "path": "/v1/version", "raw_path": b"/v1/version", "query_string": b"", **scope}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        return None

    await app(whole, receive, send)
    return str(whole["client"][0])


def test_every_route_of_the_node_is_one_of_the_api() -> None:
    app = World().app.app
    known = {handler.fn for route in app.routes for handler in getattr(route, "route_handlers", ())}
    known |= {route.route_handler.fn for route in app.routes if hasattr(route, "route_handler")}
    assert {handler.fn for handler in (*AT_NODE, *RATHER_AT_NODE)} <= known


async def test_several_processes_may_have_one_port_when_all_of_them_share_it() -> None:
    first = bind("127.0.0.1", 0, is_shared=True)
    port = first.getsockname()[1]
    second = bind("127.0.0.1", port, is_shared=True)
    with pytest.raises(ConfigError, match="is in use"):
        bind("127.0.0.1", port)
    first.close()
    second.close()
