"""What happens to an account: as one stream that is resumed without a gap, and as a WebSocket with channels."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from litestar.exceptions import WebSocketDisconnect
from litestar.testing import TestClient

from market.job_events import CancelAsked
from market.jobs import post_job
from node.ports import Window
from tests.node.api.fakes import ALICE, BOB, KEY, OTHER_KEY, World, a_job

pytestmark = pytest.mark.anyio


def make(world: World, id: str, account: str = ALICE.id) -> None:
    async def work() -> None:
        await world.engine.transact(lambda changes: changes.create(*post_job(a_job(id=id, account=account))))

    asyncio.run(work())


async def read(world: World, path: str, count: int, **headers: str) -> list[dict[str, Any]]:
    """The first events of a stream; the application's own close ends it."""
    frames: list[dict[str, Any]] = []
    async for happened in world.services.news.follow(ALICE, int(headers.get("after", "0"))):
        frames.append({"id": happened.seq, "event": happened.event})
        if len(frames) == count:
            break
    return frames


async def test_what_happens_is_followed_in_order_and_again_from_any_place(world: World) -> None:
    for id in ("job_1", "job_2"):
        await world.engine.transact(lambda changes, id=id: changes.create(*post_job(a_job(id=id))))
    await world.engine.handle("Job", "job_1", CancelAsked())
    told = await read(world, "/v1/events", 3)
    assert [frame["event"] for frame in told] == ["job.created", "job.created", "job.cancelled"]
    again = await read(world, "/v1/events", 1, after=str(told[1]["id"]))
    assert again == told[2:]


async def test_who_follows_is_woken_by_what_happens(world: World) -> None:
    following = asyncio.create_task(read(world, "/v1/events", 1))
    await asyncio.sleep(0)
    await world.engine.transact(lambda changes: changes.create(*post_job(a_job(id="job_1"))))
    async with asyncio.timeout(10):
        assert [frame["event"] for frame in await following] == ["job.created"]


async def test_the_stream_is_that_of_the_documented_form(client: httpx.AsyncClient, world: World) -> None:
    await world.engine.transact(lambda changes: changes.create(*post_job(a_job(id="job_1"))))
    world.services.news.follow = _ends(world.services.news.follow)  # type: ignore[method-assign]
    text = (await client.get("/v1/events", headers={"Last-Event-ID": "0"})).text
    lines = [line for line in text.splitlines() if line.startswith(("id:", "event:", "data:"))]
    assert lines[:2] == ["id: 1", "event: job.created"]
    body = json.loads(lines[2].removeprefix("data: "))
    assert (body["event"], body["data"]["job_id"]) == ("job.created", "job_1")


def _ends(follow: Any) -> Any:
    """The same without what is yet to come."""

    async def once(account: Any, after: int) -> Any:
        async for happened in follow(account, after):
            yield happened
            return

    return once


@pytest.fixture
def own() -> World:
    """A world with an application of its own, which lives in the loop of the test's client alone."""
    return World(port=1)


def talk(world: World, key: str = KEY) -> Any:
    return TestClient(world.app.app).websocket_connect("/v1/ws", headers={"X-API-Key": key})


def test_a_socket_tells_what_was_subscribed_to(own: World) -> None:
    make(own, "job_1")
    make(own, "job_9", BOB.id)
    with talk(own) as socket:
        socket.send_json({"subscribe": ["deployments"], "after": 0})
        assert socket.receive_json() == {"subscribed": ["deployments"]}
        socket.send_json({"subscribe": ["jobs", "market"], "after": 0})
        said = [socket.receive_json() for _ in range(3)]
    assert said[0] == {"subscribed": ["jobs", "market"]}
    told = {message["event"]: message for message in said[1:]}
    assert told["job.created"]["data"]["job_id"] == "job_1"
    assert told["market.prices"]["data"]["currency"] == "TUSD"


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"subscribe": ["money"]}', '{"subscribe": "jobs"}', '{"subscribe": [], "x": 1}', "[" * 9000],
)
def test_a_socket_refuses_what_is_no_subscription_and_goes_on(own: World, text: str) -> None:
    with talk(own) as socket:
        socket.send_text(text)
        assert socket.receive_json()["error"]["code"] == "INVALID_PARAMETERS"
        socket.send_json({"subscribe": ["jobs"]})
        assert socket.receive_json() == {"subscribed": ["jobs"]}


def test_a_socket_is_for_who_is_known(own: World) -> None:
    with pytest.raises(WebSocketDisconnect), talk(own, "ng_live_wrong"):
        pass


def test_a_browser_brings_its_key_in_the_address(own: World) -> None:
    with TestClient(own.app.app).websocket_connect(f"/v1/ws?token={KEY}") as socket:
        socket.send_json({"subscribe": ["jobs"]})
        assert socket.receive_json() == {"subscribed": ["jobs"]}


def test_an_account_has_so_many_sockets_open_and_no_more() -> None:
    own = World(port=1, streams_per_account=1)
    with TestClient(own.app.app) as client:

        def socket(path: str = "/v1/ws", key: str = KEY) -> Any:
            return client.websocket_connect(path, headers={"X-API-Key": key})

        with socket() as first:
            assert _is_served(first)
            with socket() as second:
                assert second.receive_json(timeout=5)["error"]["details"] == {
                    "action": "streams",
                    "limit": 1,
                    "retry_after": 5,
                }
                assert _closed_with(second) == 1008
            with socket("/v1/jobs/job_1/exec?command=sh") as console:
                assert b"RATE_LIMITED" in console.receive_bytes(timeout=5)
            with socket(key=OTHER_KEY) as another:
                assert _is_served(another)
        for _ in range(1000):  # the application hears of the end a little later
            with socket() as third:
                if _is_served(third):
                    return
        pytest.fail("the place of a socket that ended stays taken")


def _is_served(socket: Any) -> bool:
    socket.send_json({"subscribe": ["jobs"]})
    return bool(socket.receive_json() == {"subscribed": ["jobs"]})


def _closed_with(socket: Any) -> int:
    with pytest.raises(WebSocketDisconnect) as ended:
        socket.receive_json(timeout=5)
    return ended.value.code


def test_who_asks_too_often_over_a_socket_is_told_and_cut() -> None:
    own = World({"free": {"general": (Window(3, 60),)}}, port=1)
    with talk(own) as socket:  # counts as the first
        assert [_is_served(socket) for _ in range(2)] == [True, True]
        socket.send_json({"subscribe": ["jobs"]})
        assert socket.receive_json()["error"]["code"] == "RATE_LIMITED"
        assert _closed_with(socket) == 1008
