"""Whether a service works: what it is asked, and what counts as an answer."""

import asyncio
from collections.abc import Sequence

import pytest

from market.errors import Unavailable
from market.workloads import Probe
from node.actions.probing import MAX_HEAD, probe
from node.ports import ByteStream
from tests.fakes import FakeClock, FakeContainers, Served

pytestmark = pytest.mark.anyio
NAME = "web-a1"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def containers() -> FakeContainers:
    fake = FakeContainers(FakeClock())
    fake.running.add(NAME)
    return fake


def answering(answer: bytes, asked: list[bytes] | None = None) -> Served:
    async def serve(stream: ByteStream) -> None:
        request = await stream.read()
        if asked is not None:
            asked.append(request)
        await stream.write(answer)

    return serve


async def silent(stream: ByteStream) -> None:
    while await stream.read():
        pass
    await asyncio.Event().wait()


async def endless(stream: ByteStream) -> None:
    while True:
        await stream.write(b"x" * 1000)
        await asyncio.sleep(0)


@pytest.mark.parametrize("status", [200, 204, 301, 399])
async def test_an_answer_from_200_to_399_is_healthy(containers: FakeContainers, status: int) -> None:
    asked: list[bytes] = []
    containers.ports[NAME, 80] = answering(f"HTTP/1.1 {status} Some Reason\r\n\r\n".encode(), asked)
    assert await probe(containers, NAME, Probe(kind="http", port=80, path="/health")) == ""
    assert asked[0].startswith(b"GET /health HTTP/1.1\r\nHost: localhost:80\r\n")


@pytest.mark.parametrize("status", [100, 400, 404, 500, 503])
async def test_any_other_answer_is_not(containers: FakeContainers, status: int) -> None:
    containers.ports[NAME, 80] = answering(f"HTTP/1.1 {status}\r\n\r\n".encode())
    assert str(status) in await probe(containers, NAME, Probe(kind="http", port=80))


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 2000 x\r\n", b"HTTP/1.1 \r\n", b"HTTP/1.1 -20\n"])
async def test_what_speaks_no_http_is_not_healthy(containers: FakeContainers, answer: bytes) -> None:
    containers.ports[NAME, 80] = answering(answer)
    assert "does not speak HTTP" in await probe(containers, NAME, Probe(kind="http", port=80))


async def test_an_answer_without_end_is_not_read_to_its_end(containers: FakeContainers) -> None:
    containers.ports[NAME, 80] = endless
    reason = await probe(containers, NAME, Probe(kind="http", port=80))
    assert "does not speak HTTP" in reason
    assert len(reason) < MAX_HEAD


async def test_silence_is_not_healthy_and_is_not_waited_for_too_long(containers: FakeContainers) -> None:
    containers.ports[NAME, 80] = silent
    assert await probe(containers, NAME, Probe(kind="http", port=80, timeout=0)) == "no answer within 0 s"


async def test_a_connection_is_enough_for_tcp(containers: FakeContainers) -> None:
    containers.ports[NAME, 5432] = silent
    assert await probe(containers, NAME, Probe(kind="tcp", port=5432)) == ""
    assert await probe(containers, NAME, Probe(kind="tcp", port=5433)) != ""


@pytest.mark.parametrize("code", [0, 1, 137])
async def test_a_command_is_healthy_when_it_ends_with_0(containers: FakeContainers, code: int) -> None:
    async def check(stream: ByteStream, _: Sequence[str]) -> int:
        await stream.write(b"not yet\n" + b"x" * 10_000)
        return code

    containers.commands["check"] = check
    reason = await probe(containers, NAME, Probe(kind="exec", command=("check",)))
    assert (reason == "") == (code == 0)
    assert code == 0 or f"check ended with {code}: not yet" in reason
    assert len(reason) < 300


async def test_a_command_that_takes_too_long_is_ended(containers: FakeContainers) -> None:
    async def hang(_: ByteStream, __: Sequence[str]) -> int:
        await asyncio.Event().wait()
        return 0

    containers.commands["hang"] = hang
    assert await probe(containers, NAME, Probe(kind="exec", command=("hang",), timeout=0)) == "no answer within 0 s"
    await asyncio.sleep(0)
    assert containers.sessions[0].running.cancelled()


@pytest.mark.parametrize("kind", ["exec", "http", "tcp"])
async def test_what_does_not_run_is_not_healthy(containers: FakeContainers, kind: str) -> None:
    assert "none" in await probe(containers, "none", Probe(kind=kind, port=80, command=("true",)))


@pytest.mark.parametrize("kind", ["exec", "http", "tcp"])
async def test_a_node_that_can_not_ask_knows_nothing(containers: FakeContainers, kind: str) -> None:
    containers.why_not = "the engine is away"
    with pytest.raises(Unavailable):
        await probe(containers, NAME, Probe(kind=kind, port=80, command=("true",)))
