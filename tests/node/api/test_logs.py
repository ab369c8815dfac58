"""Output and events of jobs, plain and as streams; result files."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from market.runs import Run
from node.api.journal_view import entry_view
from node.api.present import level_of
from node.api.streams import Closing, Frame, _wire
from node.ports import LogLine
from node.records import Entry
from tests.builders import NOW, a_file, a_lease, a_workload
from tests.node.api.fakes import ALICE, KEY, OTHER_KEY, ROOT_KEY, World, a_done_job, a_job

pytestmark = pytest.mark.anyio

LOGS = "/v1/jobs/job_0000000000000001/logs"


@pytest.fixture
def lines(world: World) -> World:
    """A done job with three lines."""
    world.jobs.put(a_done_job())
    world.jobs.lines = [
        LogLine(NOW, "stdout", "one"),
        LogLine(NOW + 1000, "stderr", "two"),
        LogLine(NOW + 2000, "stdout", "WARNING: three"),
    ]
    world.clock.time = NOW + 3000
    return world


def frames(text: str) -> list[dict[str, str]]:
    """The events of a stream as dicts of their fields."""
    blocks = [block for block in text.split("\n\n") if block and not block.startswith((":", "retry"))]
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]


async def test_lines_are_records(client: httpx.AsyncClient, lines: World) -> None:
    assert (await client.get(LOGS)).json()["logs"][1] == {
        "timestamp": "2025-06-15T15:06:41.000Z",
        "stream": "stderr",
        "level": "error",
        "message": "two",
    }


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("tail=1", ["WARNING: three"]),
        ("stream=stderr", ["two"]),
        ("level=warn", ["two", "WARNING: three"]),
        ("level=error&tail=5", ["two"]),
        ("since=2s", ["two", "WARNING: three"]),
        ("since=2025-06-15T15:06:42Z", ["WARNING: three"]),
        ("since=2025-06-15T17:06:42%2B02:00", ["WARNING: three"]),
    ],
)
async def test_lines_are_filtered(client: httpx.AsyncClient, lines: World, query: str, wanted: list[str]) -> None:
    found = (await client.get(f"{LOGS}?{query}")).json()["logs"]
    assert [record["message"] for record in found] == wanted


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("tail=0", "tail"),
        ("tail=99999999", "tail"),
        ("since=never", "since"),
        ("since=2025-99-99", "since"),
        ("level=loud", "level"),
        ("stream=x", "stream"),
        ("follow=perhaps", "follow"),
    ],
)
async def test_a_filter_that_can_not_be_read_is_named(
    client: httpx.AsyncClient, lines: World, query: str, field: str
) -> None:
    answer = await client.get(f"{LOGS}?{query}")
    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, field)


async def test_following_sends_numbered_lines_and_an_end(client: httpx.AsyncClient, lines: World) -> None:
    answer = await client.get(f"{LOGS}?follow=true")
    assert answer.headers["content-type"].startswith("text/event-stream")
    sent = frames(answer.text)
    assert [frame.get("id") for frame in sent] == ["0", "1", "2", None]
    assert json.loads(sent[0]["data"])["message"] == "one"
    assert json.loads(sent[-1]["data"]) == {"id": "job_0000000000000001", "status": "success", "exitCode": 0}


async def test_who_follows_with_a_tail_begins_with_the_last_lines(client: httpx.AsyncClient, lines: World) -> None:
    async def ids(query: str, **headers: str) -> list[str | None]:
        answer = await client.get(f"{LOGS}?follow=true{query}", headers=headers)
        return [frame.get("id") for frame in frames(answer.text)][:-1]

    assert await ids("&tail=1") == ["2"]
    assert await ids("&tail=2&stream=stdout") == ["0", "2"]
    assert await ids("&tail=1&level=error") == ["1"]
    assert await ids("&tail=9") == ["0", "1", "2"]
    assert await ids("") == ["0", "1", "2"]
    assert await ids("&tail=1", **{"Last-Event-ID": "0"}) == ["1", "2"], "a reconnect misses nothing"


async def test_lines_of_a_build_are_asked_for_by_their_stream(client: httpx.AsyncClient, lines: World) -> None:
    lines.jobs.lines = [*lines.jobs.lines, LogLine(NOW, "build", "Step 1")]
    found = (await client.get(f"{LOGS}?stream=build")).json()["logs"]
    assert [(line["stream"], line["message"]) for line in found] == [("build", "Step 1")]
    assert (await client.get(f"{LOGS}?stream=other")).status_code == 400


async def test_a_list_of_lines_is_compressed_and_a_stream_of_them_is_not(
    client: httpx.AsyncClient, lines: World
) -> None:
    lines.jobs.lines = [LogLine(NOW, "stdout", "word " * 100)] * 20
    listed = await client.get(LOGS)
    assert (listed.headers["content-encoding"], len(listed.json()["logs"])) == ("gzip", 20)
    for path, accept in ((f"{LOGS}?follow=true", "*/*"), (LOGS, "text/event-stream")):
        followed = await client.get(path, headers={"Accept": accept})
        assert ("content-encoding" in followed.headers, followed.text.count("event: log")) == (False, 20)


async def test_a_stream_resumes_behind_the_last_id(client: httpx.AsyncClient, lines: World) -> None:
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "1"}
    assert [frame.get("id") for frame in frames((await client.get(LOGS, headers=headers)).text)] == ["2", None]


@pytest.mark.parametrize("last", [b"x", b"\xb2", b"-1", b"9" * 19])
async def test_a_strange_last_id_is_a_400(client: httpx.AsyncClient, lines: World, last: bytes) -> None:
    headers = {b"Accept": b"text/event-stream", b"Last-Event-ID": last}
    answer = await client.get(LOGS, headers=headers)
    assert answer.status_code == 400


async def test_a_browser_may_carry_the_key_in_the_address_of_a_stream(lines: World) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=lines.app), base_url="http://node") as client:
        stream = await client.get(f"{LOGS}?token={KEY}", headers={"Accept": "text/event-stream"})
        plain = await client.get(f"{LOGS}?token={KEY}")
    assert (stream.status_code, plain.status_code) == (200, 401)


async def test_events_are_the_journal(client: httpx.AsyncClient, world: World) -> None:
    world.jobs.put(a_done_job())
    world.jobs.entries = [
        Entry(seq=n, noun="Job", subject="job_0000000000000001", at=NOW, event="LeaseAgreed", body=b'{"rate":1}')
        for n in (7, 8)
    ]
    sent = frames((await client.get("/v1/jobs/job_0000000000000001/events", headers={"Last-Event-ID": "7"})).text)
    assert [(frame.get("id"), frame["event"]) for frame in sent] == [("8", "LeaseAgreed"), (None, "end")]
    assert json.loads(sent[0]["data"])["body"] == {"rate": 1}


async def test_the_journal_shows_no_secrets(client: httpx.AsyncClient, world: World) -> None:
    secret = a_workload(env={"DB_PASSWORD": "hunter2"}, owner="0xyz", inputs=(a_file(),))
    job = world.jobs.put(msgspec.structs.replace(a_done_job(), workload=secret, nonce="5e" * 16))
    lease = a_lease(side="requester", job=job.id, workload=secret, nonce="6f" * 16)
    world.jobs.entries = [created(noun, number) for number, noun in enumerate((job, lease), 1)]
    answer = await client.get(f"/v1/jobs/{job.id}/events")
    bodies = [json.loads(frame["data"])["body"] for frame in frames(answer.text)[:2]]
    assert [body["workload"]["env"] for body in bodies] == [{"DB_PASSWORD": "***"}] * 2
    assert [(body["nonce"], body["workload"]["owner"]) for body in bodies] == [("***", "***")] * 2
    assert bodies[0]["workload"]["inputs"] == [msgspec.to_builtins(a_file())], "what is no secret is shown"
    assert not [each for each in ("hunter2", job.nonce, lease.nonce, "0xyz") if each in answer.text]


async def test_the_journal_of_code_keeps_the_code(client: httpx.AsyncClient, world: World) -> None:
    run = Run(id="ab" * 12, account=ALICE.id, language="python", code="key = 1", inputs=("a", "b"), created_at=NOW)
    body = entry_view(created(run, 1))["body"]
    assert (body["code"], body["inputs"], body["language"]) == ("***", ["***", "***"], "python")
    failed = Entry(seq=2, noun="Run", subject=run.id, at=NOW, event="RunMisplaced", body=b'{"code":"GONE"}')
    assert entry_view(failed)["body"] == {"code": "GONE"}


def created(noun: Any, seq: int) -> Entry:
    body = msgspec.json.encode(noun)
    return Entry(seq=seq, noun=type(noun).__name__, subject=noun.id, at=NOW, event="Created", body=body)


async def test_frames_that_wait_are_sent_together_and_none_is_lost() -> None:
    async def source() -> Any:
        for number in range(1000):
            yield Frame("log", number, number)

    parts = [part async for part in _wire(source(), Closing(), heartbeat=60)]
    sent = frames(b"".join(parts).decode())
    assert [frame["data"] for frame in sent] == [str(number) for number in range(1000)]
    assert len(parts) < 20


async def test_a_client_that_does_not_read_holds_up_the_source() -> None:
    made = 0

    async def source() -> Any:
        nonlocal made
        for made in range(10**6):
            yield Frame("log", "x" * 1000, made)

    stream = _wire(source(), Closing(), heartbeat=60)
    await anext(stream)
    await anext(stream)
    for _ in range(1000):
        await asyncio.sleep(0)
    assert made < 1000
    await stream.aclose()  # type: ignore[attr-defined]


async def test_a_source_that_fails_sends_first_what_it_had() -> None:
    async def source() -> Any:
        yield Frame("log", 1, 0)
        raise ZeroDivisionError

    stream = _wire(source(), Closing(), heartbeat=60)
    assert [await anext(stream), await anext(stream)] == [b"retry: 1000\n\n", Frame("log", 1, 0).encoded]
    with pytest.raises(ZeroDivisionError):
        await anext(stream)


async def test_a_silent_stream_beats_and_ends_when_the_server_stops() -> None:
    closing, freed = Closing(), asyncio.Event()

    async def silence() -> Any:
        try:
            await asyncio.Event().wait()
            yield Frame("never", 0)
        finally:
            freed.set()

    stream = _wire(silence(), closing, heartbeat=0.001)
    assert [await anext(stream), await anext(stream)] == [b"retry: 1000\n\n", b": still here\n\n"]
    closing.set()
    rest = b"".join([part async for part in stream])
    assert b"event: closing" in rest
    assert freed.is_set()


async def test_a_stream_that_is_left_at_once_leaves_no_task() -> None:
    async def source() -> Any:
        await asyncio.Event().wait()
        yield Frame("log", 1, 0)

    before = asyncio.all_tasks()
    stream = _wire(source(), Closing(), heartbeat=60)
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    assert asyncio.all_tasks() == before


async def test_a_stream_that_is_left_frees_its_source() -> None:
    freed = asyncio.Event()

    async def source() -> Any:
        try:
            yield Frame("log", 1, 0)
            await asyncio.Event().wait()
        finally:
            freed.set()

    stream = _wire(source(), Closing(), heartbeat=60)
    await anext(stream)
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    assert freed.is_set()


@pytest.mark.parametrize(
    ("stream", "text", "level"),
    [
        ("stdout", "hello", "info"),
        ("stderr", "hello", "error"),
        ("stderr", "2026-01-01 INFO started", "info"),
        ("stdout", "[warning] disk", "warn"),
        ("stdout", "FATAL: no", "error"),
        ("stdout", "information", "info"),
        ("stderr", "debugging", "error"),
        ("node", "[5 lines are missing here]", "warn"),
    ],
)
def test_a_level_is_read_from_the_line(stream: str, text: str, level: str) -> None:
    assert level_of(LogLine(NOW, stream, text)) == level


async def test_results_are_listed_and_downloaded(client: httpx.AsyncClient, world: World, tmp_path: Path) -> None:
    file = tmp_path / "digest"
    file.write_bytes(b"<b>")
    world.jobs.put(a_done_job())
    world.jobs.files = {"deep/page.html": file}
    listing = (await client.get("/v1/jobs/job_0000000000000001/results")).json()
    assert listing["files"][0]["path"] == "deep/page.html"
    answer = await client.get(listing["files"][0]["url"])
    assert (answer.content, answer.headers["content-type"]) == (b"<b>", "application/octet-stream")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_results_of_a_running_job_are_a_409(client: httpx.AsyncClient, world: World) -> None:
    world.jobs.put(a_job())
    assert (await client.get("/v1/jobs/job_0000000000000001/results")).status_code == 409


@pytest.mark.parametrize("path", ["nothing", "../../etc/passwd", "%2e%2e/x", "a%00b"])
async def test_a_result_that_is_not_there_is_a_404(client: httpx.AsyncClient, world: World, path: str) -> None:
    world.jobs.put(a_done_job())
    assert (await client.get(f"/v1/jobs/job_0000000000000001/results/{path}")).status_code == 404


class Stream:
    """A request for a stream straight at the application, read up to the head of its answer."""

    def __init__(self, world: World, path: str, key: str = KEY, method: str = "GET") -> None:
        self.began: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.left = asyncio.Event()
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"follow=true",
            "root_path": "",
            "headers": [(b"x-api-key", key.encode())],
            "client": ("198.51.100.7", 1),
            "server": ("node", 80),
        }
        app: Any = world.app
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def end(self) -> None:
        self.left.set()
        await self.task

    async def _receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.began.set_result(message["status"])


EVENTS = "/v1/events"


@pytest.mark.parametrize("path", [LOGS, LOGS.replace("/logs", "/events"), EVENTS])
async def test_an_account_follows_so_much_at_a_time_and_no_more(path: str) -> None:
    world = World(port=1, streams_per_account=2)
    world.jobs.put(a_done_job())
    world.jobs.never_ends = True
    async with asyncio.timeout(10):
        first, second = Stream(world, EVENTS), Stream(world, EVENTS)
        assert [await first.began, await second.began] == [200, 200]
        refused = Stream(world, path)
        assert await refused.began == 429
        another = Stream(world, EVENTS, OTHER_KEY)
        assert await another.began == 200
        await first.end()
        head = Stream(world, path, method="HEAD")
        assert await head.began == 200
        await head.task
        third = Stream(world, path)
        assert await third.began == 200
        for stream in (refused, another, second, third):
            await stream.end()


async def test_who_looks_after_the_node_follows_what_he_likes() -> None:
    world = World(port=1, streams_per_account=1)
    async with asyncio.timeout(10):
        streams = [Stream(world, EVENTS, ROOT_KEY) for _ in range(3)]
        assert [await stream.began for stream in streams] == [200, 200, 200]
        for stream in streams:
            await stream.end()


async def test_a_refused_stream_says_why() -> None:
    world = World(port=1, streams_per_account=0)
    transport = httpx.ASGITransport(app=world.app)
    async with asyncio.timeout(5), httpx.AsyncClient(transport=transport, base_url="http://node") as client:
        answer = await client.get(EVENTS, headers={"X-API-Key": KEY})
    error = answer.json()["error"]
    assert (error["code"], error["details"]["action"], answer.headers["retry-after"]) == (
        "RATE_LIMITED",
        "streams",
        "5",
    )
