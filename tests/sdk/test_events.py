"""Streams of events: the format, and what happens when connections break."""

import json
from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neugrid_sdk import AsyncClient, Client, NeugridError, NoAnswer, NotFound, Retries, Unavailable
from neugrid_sdk.events import Event, EventReader
from tests.node.api.fakes import KEY, World
from tests.sdk.scripts import DONE, Cutting, Script, refuses, streams, unreachable, with_lines

LOST = httpx.ReadError("connection reset")
END = b'event: end\ndata: {"id":"job_1","status":"success"}\n\n'


def line(number: int, text: str) -> bytes:
    record = {"timestamp": "2026-01-01T00:00:00Z", "stream": "stdout", "level": "info", "message": text}
    return f"id: {number}\nevent: log\ndata: {json.dumps(record)}\n\n".encode()


def followed(script: Script, **settings: Any) -> tuple[list[str], list[float]]:
    """The lines that come, and the pauses between."""
    slept: list[float] = []
    with Client("key", "http://node", transport=script, **settings) as client:
        client._driver.sleep = slept.append
        return [record.message for record in client.jobs.follow("job_1")], slept


STREAM = (
    "\ufeffretry: 1500\r\n\r\n: still here\r\rid: 7\nevent: log\n"
    'data: {"a":\ndata:1}\n\ndata: zwei ✓\r\n\r\nid: 8\n\ndata\n\n'
)


@given(st.lists(st.integers(0, len(STREAM.encode())), max_size=20))
def test_events_do_not_depend_on_how_bytes_are_cut(cuts: list[int]) -> None:
    reader, content = EventReader(), STREAM.encode()
    places = [0, *sorted(cuts), len(content)]
    found = [event for a, b in pairwise(places) for event in reader.feed(content[a:b])]
    assert found == [Event("7", "log", '{"a":\n1}'), Event("7", "message", "zwei ✓"), Event("8", "message", "")]
    assert reader.pause == 1.5


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    EventReader().feed(content)


def test_a_broken_stream_goes_on_behind_the_last_line() -> None:
    script = Script(
        streams(b"retry: 1000\n\n", line(0, "a"), line(1, "b"), then=LOST),
        streams(line(2, "c")[:20], then=LOST),
        streams(line(2, "c"), END),
    )
    lines, slept = followed(script)
    assert lines == ["a", "b", "c"]
    assert script.headers("last-event-id") == ["", "1", "1"]
    assert (len(slept), min(slept) >= 1) == (2, True)


def test_a_stream_of_the_real_api_is_complete_wherever_it_is_cut(url: str, world: World) -> None:
    texts = [f"line {number} ✓" for number in range(40)]
    with_lines(world, *texts)
    cutting = Cutting(30, 700, 2000, 1)
    with Client(KEY, url, transport=cutting) as client:
        client._driver.sleep = lambda seconds: None
        assert [record.message for record in client.jobs.follow(DONE)] == texts
    assert cutting.places == ["", "", "4", "20", "20"]


def test_a_stream_that_just_stops_and_a_node_that_closes_are_resumed() -> None:
    closing = b'event: closing\ndata: {"reason":"the node stops"}\n\n'
    script = Script(streams(line(0, "a"), closing), unreachable, streams(), streams(line(1, "b"), END))
    lines, slept = followed(script)
    assert (lines, len(slept)) == (["a", "b"], 3)


def test_lines_under_one_id_that_come_again_are_left_out() -> None:
    script = Script(
        streams(line(5, "a"), line(9, "x"), line(9, "x"), line(9, "y"), then=LOST),
        streams(line(9, "x"), line(9, "x"), line(9, "y"), line(9, "x"), line(9, "z"), then=LOST),
        streams(line(9, "x"), line(9, "x"), line(9, "y"), line(9, "x"), line(9, "z"), line(11, "x"), END),
    )
    assert followed(script)[0] == ["a", "x", "x", "y", "x", "z", "x"]


def test_a_stream_without_progress_ends_after_some_tries() -> None:
    for trouble, kind in ((unreachable, NoAnswer), (streams(), Unavailable), (refuses(503, "X"), Unavailable)):
        script = Script(trouble)
        with pytest.raises(kind):
            followed(script, retries=Retries(count=3))
        assert len(script.requests) == 4


def test_a_refusal_ends_a_stream() -> None:
    script = Script(streams(line(0, "a"), then=LOST), refuses(404, "NOT_FOUND"))
    with pytest.raises(NotFound):
        followed(script)


def test_an_error_in_the_stream_is_raised_by_its_code() -> None:
    error = b'event: error\ndata: {"code":"NOT_FOUND","message":"gone"}\n\n'
    with pytest.raises(NotFound, match="gone"):
        followed(Script(streams(line(0, "a"), error)))
    with pytest.raises(NeugridError, match="not as expected"):
        followed(Script(streams(b"event: log\ndata: {}\n\n")))


@pytest.mark.anyio
async def test_the_asynchronous_client_does_the_same(url: str, world: World) -> None:
    with_lines(world, "one", "two")
    async with AsyncClient(KEY, url) as client:
        lines = client.jobs.follow(DONE)
        assert (await anext(lines)).message == "one"
        assert [record.message async for record in lines] == ["two"]
        world.jobs.never_ends = True
        endless = client.jobs.follow(DONE)
        assert [(await anext(endless)).message for _ in range(2)] == ["one", "two"]
        await endless.aclose()
