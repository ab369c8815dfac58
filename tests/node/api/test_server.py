"""The embedded server on a real socket."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import pytest
from websockets.asyncio.client import connect

from market.errors import ConfigError
from node.api import heads
from node.api.heads import MAX_HEAD
from node.api.places import USUAL, Room
from node.api.server import bind, serve
from node.ports import Window
from tests.node.api.fakes import KEY, World, a_done_job

pytestmark = pytest.mark.anyio


class Running:
    """A server in this loop; `url` is known once it is bound."""

    def __init__(self, world: World, room: Room = USUAL) -> None:
        self.bound: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        served = serve(world.app, "127.0.0.1", 0, lambda _, port: self.bound.set_result(port), room=room)
        self.task = asyncio.create_task(served)

    async def client(self) -> httpx.AsyncClient:
        port = await self.bound
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": KEY}, timeout=10)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


async def test_a_free_port_is_taken_and_told() -> None:
    running = Running(World(port=0))
    async with await running.client() as client:
        answer = await client.get("/v1/version")
    await running.stop()
    assert answer.status_code == 200
    assert "server" not in answer.headers
    assert running.task.cancelled()


@pytest.mark.parametrize(
    ("proxies", "statuses"), [((), [200, 200, 429, 429]), (("127.0.0.0/8",), [200, 200, 200, 200])]
)
async def test_only_named_proxies_are_believed_for_whom_they_ask(proxies: tuple[str, ...], statuses: list[int]) -> None:
    """Anonymous calls are counted by address."""
    running = Running(World({"anonymous": {"general": (Window(2, 60),)}}, port=0), Room(proxies=proxies))
    async with await running.client() as client:
        del client.headers["X-API-Key"]
        said = [{"X-Forwarded-For": f"198.51.100.{number}"} for number in range(4)]
        assert [(await client.get("/v1/version", headers=each)).status_code for each in said] == statuses
    await running.stop()


async def test_stopping_ends_open_streams_within_the_grace() -> None:
    world = World(port=0)
    world.jobs.put(a_done_job())
    world.jobs.never_ends = True
    running = Running(world)
    client = await running.client()
    async with client, client.stream("GET", "/v1/jobs/job_0000000000000001/logs?follow=true") as stream:
        parts = stream.aiter_text()
        await anext(parts)
        async with asyncio.timeout(3):
            await running.stop()
            rest = "".join([part async for part in parts])
    assert "event: closing" in rest
    assert world.jobs.closed_streams == 1


async def test_a_client_that_leaves_a_stream_frees_it() -> None:
    world = World(port=0)
    world.jobs.put(a_done_job())
    world.jobs.never_ends = True
    running = Running(world)
    async with await running.client() as client:
        async with client.stream("GET", "/v1/jobs/job_0000000000000001/logs?follow=true") as stream:
            await anext(stream.aiter_text())
        async with asyncio.timeout(20):
            while not world.jobs.closed_streams:
                await asyncio.sleep(0.01)
    await running.stop()


async def test_after_head_the_connection_serves_on() -> None:
    running = Running(World(port=0))
    async with await running.client() as client:
        answers = [await client.head("/v1/version"), await client.get("/v1/version"), await client.head("/v1/jobs")]
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert int(answers[0].headers["content-length"]) == len(answers[1].content)
        assert not answers[0].content
    await running.stop()


async def test_answers_are_sent_without_waiting_for_acknowledgements() -> None:
    listener = bind("127.0.0.1", 0)
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def heard(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken = writer.get_extra_info("socket")
        accepted.set_result(taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async with await asyncio.start_server(heard, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        assert await accepted
        writer.close()


def test_a_port_in_use_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} on 127.0.0.1 is in use"):
            bind("127.0.0.1", port)


def test_an_address_that_is_not_ours_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"can not listen on 192\.0\.2\.1:80"):
        bind("192.0.2.1", 80)


@pytest.mark.parametrize(
    ("begun", "answer"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"a" * (MAX_HEAD + 300_000), b"431"),
        (b"GET / HTTP/1.1\r\nX: a", b"408"),
        (b"", b"408"),
    ],
    ids=["endless", "slow", "silent"],
)
async def test_a_head_that_does_not_end_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, begun: bytes, answer: bytes
) -> None:
    monkeypatch.setattr(heads, "HEAD_WITHIN", 0.2)
    running = Running(World(port=0))
    reader, writer = await asyncio.open_connection("127.0.0.1", await running.bound)
    writer.write(begun)
    async with asyncio.timeout(5):
        try:
            assert (await reader.read()).startswith(b"HTTP/1.1 " + answer)
        except ConnectionResetError:  # what is still on its way when the server closes resets the connection
            assert answer == b"431"
    writer.close()
    await running.stop()


async def test_a_slow_body_and_a_late_second_request_are_no_slow_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "HEAD_WITHIN", 0.5)
    running = Running(World(port=0))

    async def body() -> AsyncIterator[bytes]:
        for part in (b"hello ", b"world"):
            await asyncio.sleep(0.6)  # the client's own slowness is what is tested
            yield part

    async with await running.client() as client:
        assert (await client.put("/v1/files", content=body())).status_code == 201
        await asyncio.sleep(0.6)
        assert (await client.get("/v1/version")).status_code == 200
    await running.stop()


BEGUN = b"POST %s HTTP/1.1\r\nHost: node\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n\r\n"


async def connected(running: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", await running.bound)


async def test_a_body_that_does_not_come_is_a_408_and_the_connection_is_closed() -> None:
    running = Running(World(port=0, body_within=0.1))
    reader, writer = await connected(running)
    writer.write(BEGUN % b"/v1/auth/device/token" + b"{")
    async with asyncio.timeout(5):
        said = await reader.read()
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in head.lower()
    assert json.loads(body)["error"]["code"] == "request_timeout"
    writer.close()
    await running.stop()


async def test_what_is_left_of_a_body_that_was_answered_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "LINGER", 0.1)
    running = Running(World(port=0))
    reader, writer = await connected(running)
    writer.write(BEGUN % b"/v1/jobs" + b"{")
    async with asyncio.timeout(5):
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 401 ")
        writer.write(b" ")
        with suppress(ConnectionError):  # what comes when the server has closed already resets the connection
            await reader.read()
    writer.close()
    await running.stop()


async def test_empty_lines_between_requests_are_not_waited_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "HEAD_WITHIN", 0.1)
    running = Running(World(port=0))
    reader, writer = await connected(running)
    writer.write(b"GET /v1/version HTTP/1.1\r\nHost: node\r\n\r\n")
    async with asyncio.timeout(3):  # the library itself waits 5 s, when it waits
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\r\n")
        assert b"HTTP/1.1 408 " in await reader.read()
    writer.close()
    await running.stop()


@pytest.mark.parametrize(
    ("room", "answer"), [(Room(each=2), b"429"), (Room(connections=2), b"503"), (Room(2, 9, ("127.0.0.0/8",)), b"503")]
)
async def test_a_connection_without_a_place_is_refused_until_one_is_free(room: Room, answer: bytes) -> None:
    running = Running(World(port=0), room)
    async with asyncio.timeout(5):
        held = [await connected(running) for _ in range(2)]
        for reader, writer in held:
            writer.write(b"GET /v1/version HTTP/1.1\r\nHost: node\r\n\r\n")
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
        reader, writer = await connected(running)
        assert (await reader.read()).startswith(b"HTTP/1.1 " + answer + b" ")
        writer.close()
        held[0][1].close()
        assert await is_served(running)
    held[1][1].close()
    await running.stop()


async def test_proxies_of_ours_have_as_many_connections_as_they_need() -> None:
    running = Running(World(port=0), Room(each=1, proxies=("127.0.0.0/8",)))
    async with await running.client() as one, await running.client() as two:
        assert [(await client.get("/v1/version")).status_code for client in (one, two)] == [200, 200]
    await running.stop()


async def test_a_websocket_holds_its_place_until_it_ends() -> None:
    running = Running(World(port=0), Room(each=1))
    url = f"ws://127.0.0.1:{await running.bound}/v1/ws"
    async with asyncio.timeout(5):
        async with connect(url, additional_headers={"X-API-Key": KEY}):
            reader, writer = await connected(running)
            assert (await reader.read()).startswith(b"HTTP/1.1 429 ")
            writer.close()
        assert await is_served(running)
    await running.stop()


async def is_served(running: Running) -> bool:
    """Whether a new connection is served, as soon as the server has seen the end of another."""
    while True:
        reader, writer = await connected(running)
        writer.write(b"GET /v1/version HTTP/1.1\r\nHost: node\r\n\r\n")
        try:
            said = await reader.read(12)
        except ConnectionResetError:
            said = b""
        writer.close()
        if said == b"HTTP/1.1 200":
            return True
