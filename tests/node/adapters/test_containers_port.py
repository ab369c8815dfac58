"""What every `Containers` promises: the same stage on the fake and on the real engine."""

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from msgspec import Struct

from market.errors import Conflict, InvalidParameters, NotFound, Refused
from node.adapters.clock import SystemClock
from node.adapters.containers import DockerContainers
from node.adapters.docker_engine.insides import why_not
from node.ports import ByteStream, Containers
from tests.fakes import FakeClock, FakeContainers
from tests.node.adapters.engines import MIB, a_node, a_runtime, need_engine, python

pytestmark = pytest.mark.anyio
ECHO = """
import socket
with socket.create_server(("127.0.0.1", 7)) as server:
    while True:
        peer, _ = server.accept()
        while data := peer.recv(65536): peer.sendall(data)
        peer.close()
"""
ENGINE = [pytest.mark.docker, pytest.mark.skipif(why_not() != "", reason=f"containers can not be entered: {why_not()}")]


class Stage(Struct):
    """A running container with an echo on port 7, `cat`, `false` and a folder /tmp to write to."""

    containers: Containers
    name: str


@pytest.fixture(params=["fake", pytest.param("docker", marks=ENGINE)])
async def stage(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Stage]:
    if request.param == "fake":
        yield _fake()
        return
    await asyncio.to_thread(need_engine)
    async with a_runtime(a_node(), tmp_path) as runtime:
        spec = python(ECHO, memory=128 * MIB)
        await runtime.start(spec)
        real = DockerContainers(runtime._settings, SystemClock())
        await _until_open(real, spec.name)
        yield Stage(real, spec.name)
        await real.close()


def _fake() -> Stage:
    async def echo(stream: ByteStream) -> None:
        while data := await stream.read():
            await stream.write(data)

    async def cat(stream: ByteStream, _: Sequence[str]) -> int:
        await echo(stream)
        return 0

    async def fail(_: ByteStream, __: Sequence[str]) -> int:
        return 1

    fake = FakeContainers(FakeClock())
    fake.running.add("one-a1")
    fake.ports["one-a1", 7] = echo
    fake.commands = {"cat": cat, "false": fail}
    return Stage(fake, "one-a1")


async def _until_open(containers: Containers, name: str) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                return await (await containers.dial(name, 7)).close()
            except Refused:
                await asyncio.sleep(0.05)


async def test_what_is_written_to_a_port_is_answered(stage: Stage) -> None:
    stream = await stage.containers.dial(stage.name, 7)
    await stream.write(b"hello")
    assert await stream.read(3) == b"hel"
    assert await stream.read() == b"lo"
    await stream.close_writing()
    assert await stream.read() == b""
    await stream.close()
    await stream.close()


async def test_a_closed_port_refuses(stage: Stage) -> None:
    with pytest.raises(Refused) as refused:
        await stage.containers.dial(stage.name, 8)
    assert refused.value.details["codes"] == ("PORT_CLOSED",)


async def test_a_command_reads_its_input_to_the_end(stage: Stage) -> None:
    session = await stage.containers.execute(stage.name, ["cat"])
    await session.write(b"given")
    await session.close_writing()
    said = b""
    while data := await session.read():
        said += data
    assert (said, await session.exit_code()) == (b"given", 0)
    await session.close()


@pytest.mark.parametrize(("command", "codes"), [(["false"], [1]), (["nonesuch"], [126, 127])])
async def test_a_command_says_how_it_ended(stage: Stage, command: list[str], codes: list[int]) -> None:
    session = await stage.containers.execute(stage.name, command)
    while await session.read():
        pass
    assert await session.exit_code() in codes
    await session.close()


async def test_no_command_is_refused(stage: Stage) -> None:
    with pytest.raises(InvalidParameters):
        await stage.containers.execute(stage.name, [])


async def test_files_go_in_and_come_out(stage: Stage) -> None:
    archive = an_archive("d/x", b"content")
    await stage.containers.unpack(stage.name, "/tmp", chunks_of(archive), len(archive))
    data = b"".join([chunk async for chunk in stage.containers.pack(stage.name, "/tmp/d")])
    with tarfile.open(fileobj=io.BytesIO(data)) as found:
        files = {member.name: found.extractfile(member) for member in found if member.isfile()}
        assert {name: file.read() for name, file in files.items() if file} == {"./d/x": b"content"}


async def test_archives_are_checked(stage: Stage) -> None:
    with pytest.raises(NotFound):
        _ = [chunk async for chunk in stage.containers.pack(stage.name, "/tmp/none")]
    with pytest.raises(InvalidParameters):
        await stage.containers.unpack(stage.name, "/tmp", chunks_of(an_archive("x", b"1" * 5000)), 1000)
    with pytest.raises(Conflict):
        await stage.containers.unpack(stage.name, "/tmp", chunks_of(b"no archive" * 1000), 10**5)


async def test_what_does_not_run_is_not_found(stage: Stage) -> None:
    containers = stage.containers
    for ask in (containers.dial("none", 7), containers.execute("none", ["cat"]), containers.sample("none")):
        with pytest.raises(NotFound):
            await ask


async def test_a_sample_is_of_now_and_never_negative(stage: Stage) -> None:
    sample = await stage.containers.sample(stage.name)
    assert sample.at > 0
    assert min(sample.cpu, sample.memory, sample.received, sample.sent) >= 0


async def chunks_of(data: bytes) -> AsyncIterator[bytes]:
    yield data


def an_archive(name: str, content: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return target.getvalue()
