"""What a key has opened ends when the key does: streams, sockets, and a command inside of a job."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest
from litestar.exceptions import WebSocketDisconnect
from litestar.testing import TestClient

from market.jobs import post_job
from node.actions.console_doors import FrameKind
from node.actions.keys import NewKey
from node.records import Entry
from tests.builders import NOW
from tests.node.api.fakes import ALICE, World, a_job

pytestmark = pytest.mark.anyio
SOON = 5


async def a_key(world: World) -> tuple[str, str]:
    """The id and the secret of another key of Alice's."""
    key, secret = await world.people.keys.create_for(ALICE, NewKey(name="second"))
    return key.id, secret


@pytest.mark.parametrize("path", ["/v1/events", "/v1/jobs/job_1/logs?follow=true", "/v1/jobs/job_1/events"])
async def test_a_stream_ends_and_tells_nothing_more(world: World, client: httpx.AsyncClient, path: str) -> None:
    world.jobs.put(a_job(id="job_1"))
    world.jobs.never_ends = True
    world.jobs.events = silence  # type: ignore[method-assign]
    id, secret = await a_key(world)
    async with asyncio.timeout(SOON):
        following = asyncio.create_task(client.get(path, headers={"X-API-Key": secret}))
        others = asyncio.create_task(client.get(path))
        await until_open(world, 2)
        await world.people.keys.revoke(ALICE, id)
        world.people.watch.look()
        await world.engine.transact(lambda changes: changes.create(*post_job(a_job(id="job_2"))))
        ended = await following
    assert (ended.status_code, ended.text) == (200, "retry: 1000\n\n")
    assert (await client.get("/v1/auth/me", headers={"X-API-Key": secret})).status_code == 401
    assert not others.done(), "another key opened it"
    others.cancel()
    await asyncio.gather(others, return_exceptions=True)


async def silence(account: Any, id: str, after: int = 0) -> AsyncIterator[Entry]:
    """The journal of what goes on without a word."""
    await asyncio.Event().wait()
    yield Entry(seq=1, noun="Job", subject=id, at=NOW, event="Never", body=b"{}")


async def until_open(world: World, count: int) -> None:
    while len(world.people.watch._open) < count:
        await asyncio.sleep(0)


@pytest.fixture
def own() -> World:
    """A world whose application lives in the loop of the test's client alone, and looks often."""
    world = World(port=1)
    world.people.watch.every = 0.01
    return world


def test_a_socket_is_closed_and_says_why(own: World) -> None:
    id, secret = asyncio.run(a_key(own))
    with TestClient(own.app.app).websocket_connect("/v1/ws", headers={"X-API-Key": secret}) as socket:
        socket.send_json({"subscribe": ["jobs"]})
        assert socket.receive_json() == {"subscribed": ["jobs"]}
        asyncio.run(own.people.keys.revoke(ALICE, id))
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json(timeout=SOON)
    assert closed.value.code == 4401


class Shell:
    """A command that says nothing, and whether it was let go."""

    def __init__(self) -> None:
        self.is_over = False

    @asynccontextmanager
    async def executing(self, *wanted: Any, **size: Any) -> AsyncIterator["Shell"]:
        try:
            yield self
        finally:
            self.is_over = True

    async def next(self) -> None:
        await asyncio.Event().wait()

    async def say(self, kind: FrameKind, body: bytes) -> None:
        pass


def test_a_command_ends_with_the_key_that_began_it(own: World) -> None:
    shell: Any = Shell()
    own.app.app.state.services = dataclasses.replace(own.services, consoles=shell)
    id, secret = asyncio.run(a_key(own))
    address = "/v1/jobs/job_1/exec?command=sh"
    with TestClient(own.app.app).websocket_connect(address, headers={"X-API-Key": secret}) as socket:
        socket.send_bytes(b"\x00ls\n")
        assert not shell.is_over
        asyncio.run(own.people.keys.revoke(ALICE, id))
        last = socket.receive_bytes(timeout=SOON)
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_bytes(timeout=SOON)
    assert (last[0], msgspec.json.decode(last[1:])["code"]) == (FrameKind.DONE, "UNAUTHORIZED")
    assert (closed.value.code, shell.is_over) == (4401, True)
