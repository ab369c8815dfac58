"""What can be done inside of running containers, on the real engine; what of it a fake can do, on the fake as well."""

import asyncio
import contextlib
import io
import os
import socket
import tarfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from market.errors import Conflict, InvalidParameters, NotFound, OutputRefused, RateLimited, Refused, Unavailable
from node.adapters.clock import SystemClock
from node.adapters.containers import DockerContainers
from node.adapters.docker_engine import sessions
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.insides import Inside, why_not
from node.adapters.runtime import DockerRuntime, RuntimeSettings
from node.ports import ContainerSpec, Session
from tests.node.adapters.engines import MIB, PYTHON, a_container, python, user_in

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.docker,
    pytest.mark.skipif(why_not() != "", reason=f"containers can not be entered: {why_not()}"),
]

SERVER = """
import http.server, socketserver, threading
class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/" else 404)
        self.end_headers()
        self.wfile.write(b"hello from inside")
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Hello).serve_forever()
"""
FLOOD = "import sys\nwhile True: sys.stdout.write('x' * 65536)"


@pytest.fixture
async def inside(runtime: DockerRuntime) -> AsyncIterator[DockerContainers]:
    containers = another_door(runtime)
    yield containers
    await containers.close()


def another_door(runtime: DockerRuntime, node: str = "", **limits: int) -> DockerContainers:
    settings = runtime._settings
    return DockerContainers(
        RuntimeSettings(node=node or settings.node, folder=settings.folder), SystemClock(), **limits
    )


async def idle(runtime: DockerRuntime, *command: str, **changes: object) -> ContainerSpec:
    spec = a_container(*(command or ("sleep", "600")), **{"image": PYTHON, "memory": 128 * MIB, **changes})
    await runtime.start(spec)
    return spec


async def everything(session: Session) -> bytes:
    data = b""
    while chunk := await session.read():
        data += chunk
    return data


async def said(inside: DockerContainers, name: str, *command: str) -> tuple[str, int]:
    session = await inside.execute(name, command)
    try:
        await session.close_writing()
        return (await everything(session)).decode(), await session.exit_code()
    finally:
        await session.close()


async def processes(runtime: DockerRuntime, name: str) -> list[str]:
    listed = await runtime._engine.call(lambda client: client.top(name))
    return sorted(row[-1] for row in listed["Processes"] if "docker-init" not in row[-1])


async def until_idle(runtime: DockerRuntime, name: str) -> None:
    """Until nothing runs but what the container began with: what was killed may take a moment to be gone."""
    async with asyncio.timeout(60):
        while await processes(runtime, name) != ["sleep 600"]:
            await asyncio.sleep(0.05)


async def until_open(inside: DockerContainers, name: str, port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await (await inside.dial(name, port)).close()
                return
            except Refused:
                await asyncio.sleep(0.05)


# --- dial ----------------------------------------------------------------------------------------------------------


async def test_a_port_on_the_loopback_of_a_container_without_network_is_reached(
    runtime: DockerRuntime, inside: DockerContainers
) -> None:
    spec = python(SERVER)
    await runtime.start(spec)
    await until_open(inside, spec.name, 8080)
    stream = await inside.dial(spec.name, 8080)
    await stream.write(b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while chunk := await stream.read():
        answer += chunk
    await stream.close()
    await stream.close()
    assert answer.startswith(b"HTTP/1.0 200")
    assert answer.endswith(b"hello from inside")


async def test_a_port_that_nobody_listens_on_is_refused(runtime: DockerRuntime, inside: DockerContainers) -> None:
    spec = await idle(runtime)
    with pytest.raises(Refused):
        await inside.dial(spec.name, 8080)


async def test_dialling_leaves_the_node_in_its_own_namespace(runtime: DockerRuntime, inside: DockerContainers) -> None:
    spec = await idle(runtime)
    with pytest.raises(Refused):
        await inside.dial(spec.name, 1)
    async with asyncio.timeout(60):
        while own_namespaces() != {os.readlink("/proc/self/ns/net")}:  # a thread that was inside is about to end
            await asyncio.sleep(0.01)


def own_namespaces() -> set[str]:
    found = set()
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended in this moment
            found.add(os.readlink(thread / "ns" / "net"))
    return found


async def test_a_stream_can_be_closed_one_way(runtime: DockerRuntime, inside: DockerContainers) -> None:
    spec = python(
        "import socket\nwith socket.create_server(('127.0.0.1', 7)) as s:\n  while True:\n    c, _ = s.accept()\n"
        "    data = b''\n    while part := c.recv(65536): data += part\n"
        "    c.sendall(str(len(data)).encode()); c.close()"
    )
    await runtime.start(spec)
    await until_open(inside, spec.name, 7)
    stream = await inside.dial(spec.name, 7)
    await stream.write(b"x" * 5_000_000)
    await stream.close_writing()
    assert await stream.read() == b"5000000"
    assert await stream.read() == b""
    await stream.close()


async def test_what_does_not_run_is_not_found_and_a_new_one_of_the_name_is(
    runtime: DockerRuntime, inside: DockerContainers
) -> None:
    spec = await idle(runtime)
    with pytest.raises(Refused):
        await inside.dial(spec.name, 80)
    await runtime.stop(spec.name, grace=0)
    for ask in (inside.dial(spec.name, 80), inside.sample(spec.name), inside.execute(spec.name, ["true"])):
        with pytest.raises(NotFound):
            await ask
    await runtime.remove(spec.name)
    with pytest.raises(NotFound):
        await inside.sample(spec.name)
    await runtime.start(spec)
    assert (await inside.sample(spec.name)).memory > 0


async def test_containers_of_another_node_are_not_touched(runtime: DockerRuntime) -> None:
    spec = await idle(runtime)
    stranger = another_door(runtime, node="test-another")
    for ask in (stranger.dial(spec.name, 80), stranger.sample(spec.name), stranger.execute(spec.name, ["true"])):
        with pytest.raises(NotFound):
            await ask
    with pytest.raises(NotFound):
        await stranger.unpack(spec.name, "/tmp", chunks_of(b""), 100)
    with pytest.raises(NotFound):
        await packed(stranger, spec.name, "/tmp")
    await stranger.prepare()
    await stranger.close()


# --- execute -------------------------------------------------------------------------------------------------------


async def test_a_command_gets_its_input_and_gives_both_outputs_and_its_exit_code(
    runtime: DockerRuntime, inside: DockerContainers
) -> None:
    spec = await idle(runtime)
    session = await inside.execute(spec.name, ["sh", "-c", "cat; echo bad >&2; exit 3"])
    await session.write(b"given\n")
    await session.close_writing()
    assert sorted((await everything(session)).splitlines()) == [b"bad", b"given"]
    assert await session.exit_code() == 3
    await session.close()


async def test_a_terminal_has_the_size_that_it_was_given(runtime: DockerRuntime, inside: DockerContainers) -> None:
    spec = await idle(runtime)
    session = await inside.execute(spec.name, ["sh"], has_terminal=True, rows=33, columns=99)
    await session.write(b"stty size\n")
    await _until_said(session, b"33 99")
    await session.resize(40, 120)
    await session.write(b"stty size; exit 4\n")
    await _until_said(session, b"40 120")
    await everything(session)
    assert await session.exit_code() == 4
    await session.close()


async def test_a_command_has_no_more_rights_than_the_container(
    runtime: DockerRuntime, inside: DockerContainers
) -> None:
    spec = await idle(runtime, env={"LD_PRELOAD": "/x.so", "NVIDIA_VISIBLE_DEVICES": "all", "KEPT": "yes"})
    script = "grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; env | grep -E '^(LD_|NVIDIA|KEPT)'"
    status, code = await said(inside, spec.name, "sh", "-c", f"{script}; touch /x 2>/dev/null")
    words = [line.split() for line in status.splitlines()]
    assert [word[1] for word in words[:5]] == [user_in(spec), "0000000000000000", "0000000000000000", "1", "2"]
    assert words[5] == ["KEPT=yes"]
    assert code != 0


async def test_a_command_that_is_not_there_says_so(runtime: DockerRuntime, inside: DockerContainers) -> None:
    spec = await idle(runtime)
    text, code = await said(inside, spec.name, "nonesuch")
    assert "nonesuch" in text
    assert code in (126, 127)


@pytest.mark.parametrize("has_terminal", [False, True])
async def test_closing_a_session_ends_what_it_started(
    runtime: DockerRuntime, inside: DockerContainers, has_terminal: bool
) -> None:
    spec = await idle(runtime)
    session = await inside.execute(
        spec.name, ["sh", "-c", "trap '' TERM HUP; sleep 555 & sleep 555 & echo on; wait"], has_terminal=has_terminal
    )
    await _until_said(session, b"on")
    await session.close()
    await session.close()
    await until_idle(runtime, spec.name)


async def test_a_session_that_is_closed_at_once_leaves_nothing(
    runtime: DockerRuntime, inside: DockerContainers
) -> None:
    spec = await idle(runtime)
    session = await inside.execute(spec.name, ["sleep", "555"])
    await session.close()
    await until_idle(runtime, spec.name)


@pytest.mark.parametrize("patience", [0.001, 0.02, 0.1])
async def test_a_command_whose_start_nobody_waits_for_is_ended(
    runtime: DockerRuntime, inside: DockerContainers, patience: float
) -> None:
    spec = await idle(runtime)
    await inside.sample(spec.name)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience):
            session = await inside.execute(spec.name, ["sleep", "555"], has_terminal=True)
        await session.close()
    await _until_alone(runtime, inside, spec.name)


async def test_output_that_nobody_reads_ends_the_command_and_holds_nothing_up(
    runtime: DockerRuntime, inside: DockerContainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "STALL", 0.2)
    spec = await idle(runtime)
    session = await inside.execute(spec.name, ["python", "-c", FLOOD])
    async with asyncio.timeout(100):
        await session.reading
        await until_idle(runtime, spec.name)
        waiting = sum(len(data) for _, data in session._frames)
        assert waiting <= sessions.BUFFER + sessions.CHUNK
        with pytest.raises(Unavailable, match="nobody read"):
            await everything(session)
        await runtime.stop(spec.name, grace=0)
        assert (await runtime.wait(spec.name)).reason == "killed"


async def test_a_slow_reader_slows_a_command_down_and_loses_nothing(
    runtime: DockerRuntime, inside: DockerContainers
) -> None:
    spec = await idle(runtime)
    session = await inside.execute(spec.name, ["python", "-c", "print('x' * 9_999_999)"])
    await asyncio.sleep(0.5)  # the buffer is full by now
    assert len(await everything(session)) == 10_000_000
    assert await session.exit_code() == 0
    await session.close()


async def test_input_that_nobody_takes_after_the_end_of_a_command_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An engine may neither read on nor close the connection of a command that ended early."""
    monkeypatch.setattr(sessions, "ENDING", 0.05)
    ours, theirs = socket.socketpair()
    connection = await asyncio.open_connection(sock=ours)
    session = sessions.ExecSession(Engine(), Inside("none", os.open("/proc/self", os.O_RDONLY)), "1", connection, False)
    theirs.shutdown(socket.SHUT_WR)
    async with asyncio.timeout(20):
        await session.write(bytes(10 * MIB))
        with pytest.raises(Unavailable):
            await session.write(b"more")
    theirs.close()


async def test_sessions_are_bounded_and_a_hundred_leave_nothing(
    runtime: DockerRuntime, inside: DockerContainers
) -> None:
    spec = await idle(runtime)
    held = [await inside.execute(spec.name, ["cat"]) for _ in range(sessions.MAX_SESSIONS)]
    with pytest.raises(RateLimited):
        await inside.execute(spec.name, ["cat"])
    await asyncio.gather(*(session.close() for session in held))
    open_files = []
    for _ in range(25):
        answers = await asyncio.gather(*(said(inside, spec.name, "echo", str(n)) for n in range(4)))
        assert answers == [(f"{n}\n", 0) for n in range(4)]
        open_files.append(len(os.listdir("/proc/self/fd")))
    await until_idle(runtime, spec.name)
    # A session that kept a file would show eighty times; connections to the engine come as they are needed.
    assert open_files[-1] <= open_files[4] + 40
    assert not inside._sessions._open


async def test_a_session_ends_with_its_container(runtime: DockerRuntime, inside: DockerContainers) -> None:
    spec = await idle(runtime)
    session = await inside.execute(spec.name, ["sh", "-c", "echo on; cat"])
    await _until_said(session, b"on")
    await runtime.stop(spec.name, grace=0)
    async with asyncio.timeout(60):
        assert await everything(session) == b""
        await session.close()


async def test_commands_of_an_earlier_life_are_ended(runtime: DockerRuntime, inside: DockerContainers) -> None:
    spec = await idle(runtime)
    before = another_door(runtime)
    session = await before.execute(spec.name, ["sh", "-c", "echo on; sleep 555"])
    await _until_said(session, b"on")
    session.reading.cancel()
    session._writer.close()  # the node is killed
    await inside.prepare()
    await until_idle(runtime, spec.name)
    await before.close()


async def test_the_first_command_ends_those_of_an_earlier_life_and_the_second_spares_the_first(
    runtime: DockerRuntime, inside: DockerContainers
) -> None:
    spec = await idle(runtime)
    before = another_door(runtime)
    session = await before.execute(spec.name, ["sh", "-c", "echo on; sleep 555"])
    await _until_said(session, b"on")
    first = await inside.execute(spec.name, ["sh", "-c", "echo on; sleep 556"])
    await _until_said(first, b"on")
    second = await inside.execute(spec.name, ["true"])
    assert await everything(second) == b""
    async with asyncio.timeout(60):
        while "sleep 555" in (running := await processes(runtime, spec.name)):
            await asyncio.sleep(0.05)
    assert "sleep 556" in running
    for held in (session, first, second):
        await held.close()
    await before.close()


@pytest.mark.parametrize("command", [[], [""], ["a\0b"], ["x" * 200_000]])
async def test_what_is_no_command_is_refused(
    runtime: DockerRuntime, inside: DockerContainers, command: list[str]
) -> None:
    spec = await idle(runtime)
    with pytest.raises(InvalidParameters):
        await inside.execute(spec.name, command)


# --- files ---------------------------------------------------------------------------------------------------------

ODD = {"plain": b"1", "with space": b"2", "-rf": b"3", "new\nline": b"4", "ünï": b"5", "d/" + "n" * 120: b"6" * 70_000}


async def test_files_go_in_and_come_out_again_under_odd_names(runtime: DockerRuntime, inside: DockerContainers) -> None:
    spec = await idle(runtime)
    archive = an_archive(ODD)
    await inside.unpack(spec.name, "/tmp", chunks_of(archive), len(archive))
    whole = opened(await packed(inside, spec.name, "/tmp"))
    found = {m.name.removeprefix("./tmp/"): whole.extractfile(m) for m in whole if m.isfile()}
    assert {name: file.read() for name, file in found.items() if file} == ODD
    one = opened(await packed(inside, spec.name, "/tmp/-rf"))
    assert [member.name for member in one] == ["./-rf"]


async def test_what_is_not_there_is_not_found(runtime: DockerRuntime, inside: DockerContainers) -> None:
    spec = await idle(runtime)
    with pytest.raises(NotFound):
        await packed(inside, spec.name, "/tmp/none")
    for path in ("tmp", "/tmp/../etc", "/a\0b"):
        with pytest.raises(InvalidParameters):
            await packed(inside, spec.name, path)


async def test_what_can_not_be_written_says_why(runtime: DockerRuntime, inside: DockerContainers) -> None:
    spec = await idle(runtime)
    archive = an_archive({"x": b"1"})
    for path, why in (("/etc", "ead-only"), ("/none", "o such")):
        with pytest.raises(Conflict, match=why):
            await inside.unpack(spec.name, path, chunks_of(archive), 10**6)
    with pytest.raises(Conflict, match="tar"):
        await inside.unpack(spec.name, "/tmp", chunks_of(b"no archive at all" * 1000), 10**6)
    big = an_archive({"big": b"x" * 40 * MIB})
    with pytest.raises(Conflict, match="o space left"):
        await inside.unpack(spec.name, "/tmp", chunks_of(big), len(big))


async def test_archives_are_bounded_both_ways(runtime: DockerRuntime) -> None:
    spec = await idle(runtime)
    narrow = another_door(runtime, pack_limit=MIB)
    archive = an_archive({"x": b"1" * 2 * MIB})
    with pytest.raises(InvalidParameters):
        await narrow.unpack(spec.name, "/tmp", chunks_of(archive), MIB)
    await narrow.unpack(spec.name, "/tmp", chunks_of(archive), 3 * MIB)
    with pytest.raises(OutputRefused):
        await packed(narrow, spec.name, "/tmp")
    await until_idle(runtime, spec.name)
    await narrow.close()


async def test_an_image_without_tar_can_be_read_from(runtime: DockerRuntime, inside: DockerContainers) -> None:
    spec = await idle(runtime, "/bin/sleep", "600", env={"PATH": "/usr/local/bin"})
    found = opened(await packed(inside, spec.name, "/etc/group"))
    assert [member.name for member in found] == ["group"]
    with pytest.raises(NotFound):
        await packed(inside, spec.name, "/none")
    with pytest.raises(Conflict, match="no tar"):
        await inside.unpack(spec.name, "/tmp", chunks_of(an_archive({"x": b"1"})), 10**5)


# --- sample --------------------------------------------------------------------------------------------------------


async def test_a_sample_grows_with_what_is_used(runtime: DockerRuntime, inside: DockerContainers) -> None:
    spec = await idle(runtime)
    before = await inside.sample(spec.name)
    work = "x = bytearray(30_000_000)\nfor n in range(3_000_000): n * n\nprint('on', flush=True)\ninput()"
    session = await inside.execute(spec.name, ["python", "-c", work])
    await _until_said(session, b"on")
    after = await inside.sample(spec.name)
    await session.close()
    assert after.at >= before.at
    assert after.cpu - before.cpu > 50_000_000
    assert after.memory - before.memory > 25_000_000
    assert (after.received, after.sent) == (0, 0)


async def test_the_engine_tells_the_same_where_the_kernels_files_can_not_be_read(
    runtime: DockerRuntime, inside: DockerContainers
) -> None:
    spec = await idle(runtime)
    ours, theirs = await inside.sample(spec.name), await inside._asked(spec.name)
    assert theirs.cpu >= ours.cpu
    assert abs(theirs.memory - ours.memory) < 4 * MIB


async def test_neither_dialling_nor_sampling_asks_the_engine_for_what_it_takes_a_second_to_tell(
    runtime: DockerRuntime, inside: DockerContainers
) -> None:
    spec = python(SERVER)
    await runtime.start(spec)
    await until_open(inside, spec.name, 8080)
    began = time.perf_counter()
    for _ in range(100):
        await (await inside.dial(spec.name, 8080)).close()
    dialled = time.perf_counter()
    for _ in range(100):
        await inside.sample(spec.name)
    print(f"dial {10 * (dialled - began):.2f} ms, sample {10 * (time.perf_counter() - dialled):.2f} ms")
    assert time.perf_counter() - began < 60, "a hundred answers of the engine would take longer"


async def _until_alone(runtime: DockerRuntime, inside: DockerContainers, name: str) -> None:
    """Until no session is open or about to be ended, and nothing of one runs."""
    async with asyncio.timeout(60):
        while inside._sessions._open or inside._sessions._unwanted or await processes(runtime, name) != ["sleep 600"]:
            await asyncio.sleep(0.05)


async def _until_said(session: Session, text: bytes) -> None:
    data = b""
    async with asyncio.timeout(60):
        while text not in data:
            chunk = await session.read()
            assert chunk, data
            data += chunk


async def packed(inside: DockerContainers, name: str, path: str) -> bytes:
    return b"".join([chunk async for chunk in inside.pack(name, path)])


async def chunks_of(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 50_000):
        yield data[at : at + 50_000]


def an_archive(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def opened(data: bytes) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(data))
