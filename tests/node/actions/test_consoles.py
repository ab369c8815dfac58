"""Inside of what runs for somebody: commands and files, for its owner and nobody else."""

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from market.errors import Conflict, NotFound, Unavailable
from market.jobs import JobState
from market.leases import LeaseState
from node.actions.console_doors import FrameKind, Frames, read_outcome
from node.actions.consoles import Consoles
from node.ports import ByteStream
from node.records import Account
from tests.builders import NOW, a_job
from tests.fakes import FakeContainers
from tests.node.actions.stage import ACCOUNT, LEASE, Stage, staged

STRANGER = Account(id="user_2", name="stranger", created_at=NOW)
NAME = f"{LEASE}-a1"


async def _cat(stream: ByteStream, command: Sequence[str]) -> int:
    while data := await stream.read():
        await stream.write(data)
    return 0


async def _exit(stream: ByteStream, command: Sequence[str]) -> int:
    return int(command[1])


class Inside:
    """A running job of the buyer at the seller, and what is inside of its container."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.containers = FakeContainers(stage.clock)
        self.containers.running.add(NAME)
        self.containers.commands |= {"cat": _cat, "exit": _exit}
        self.consoles: Consoles = stage.buyer.consoles

    async def open(self, state: LeaseState = LeaseState.RUNNING) -> "Inside":
        await self.stage.lease("seller", state)
        await self.stage.lease("buyer", LeaseState.RUNNING)
        await self.stage.put("buyer", a_job(state=JobState.RUNNING, lease=LEASE))
        self.stage.world.open_doors("seller", self.stage.storages["seller"], self.containers)
        return self


async def words(frames: Frames) -> tuple[bytes, int]:
    """All that a command says, and its exit code."""
    said = b""
    while (frame := await frames.next()) is not None:
        kind, body = frame
        if kind is FrameKind.DONE:
            return said, read_outcome(body).exit_code
        said += body
    raise AssertionError("no last word")


def run(inside: Inside, *command: str, account: Account = ACCOUNT) -> "object":
    return inside.consoles.executing(account, "job_000001", command, has_terminal=False, rows=24, columns=80)


def test_a_command_hears_its_input_and_says_how_it_ended(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        inside = await Inside(stage).open()
        async with run(inside, "cat") as frames:  # type: ignore[attr-defined]
            await frames.say(FrameKind.DATA, b"hello ")
            await frames.say(FrameKind.DATA, b"world")
            await frames.say(FrameKind.END)
            assert await words(frames) == (b"hello world", 0)
        async with run(inside, "exit", "7") as frames:  # type: ignore[attr-defined]
            assert await words(frames) == (b"", 7)

    staged(tmp_path, play)


def test_a_terminal_learns_its_size(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        inside = await Inside(stage).open()
        async with run(inside, "cat") as frames:  # type: ignore[attr-defined]
            await frames.resize(50, 120)
            await frames.say(FrameKind.DATA, b"x")
            assert await frames.next() == (FrameKind.DATA, b"x")
            assert inside.containers.sessions[0].size == (50, 120)

    staged(tmp_path, play)


def test_a_command_ends_with_its_owners_connection(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        inside = await Inside(stage).open()
        async with run(inside, "cat"):  # type: ignore[attr-defined]
            pass
        async with asyncio.timeout(20):
            while not inside.containers.sessions[0].running.cancelled():
                await asyncio.sleep(0)

    staged(tmp_path, play)


def test_files_come_out_and_go_in(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        inside = await Inside(stage).open()
        content = bytes(range(256)) * 2000
        await inside.consoles.unpack(ACCOUNT, "job_000001", "/data", _chunks(_archive(content)))
        assert inside.containers.files == {(NAME, "/data/x"): content}
        found = [chunk async for chunk in inside.consoles.pack(ACCOUNT, "job_000001", "/data")]
        with tarfile.open(fileobj=io.BytesIO(b"".join(found))) as archive:
            assert [archive.extractfile(member).read() for member in archive] == [content]  # type: ignore[union-attr]
        with pytest.raises(NotFound):
            await anext(inside.consoles.pack(ACCOUNT, "job_000001", "/nothing"))

    staged(tmp_path, play)


def _archive(content: bytes) -> bytes:
    buffer, member = io.BytesIO(), tarfile.TarInfo("x")
    member.size = len(content)
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    yield content[:100]
    yield content[100:]


def test_an_archive_that_breaks_off_is_not_taken_for_whole(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise Unavailable("the client went away")

    async def play(stage: Stage) -> None:
        inside = await Inside(stage).open()
        with pytest.raises(Unavailable):
            await inside.consoles.unpack(ACCOUNT, "job_000001", "/data", broken())
        assert inside.containers.files == {}

    staged(tmp_path, play)


def test_nobody_enters_what_is_not_his_or_does_not_run(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        inside = await Inside(stage).open(LeaseState.FINISHED)
        with pytest.raises(NotFound):
            async with run(inside, "cat", account=STRANGER):  # type: ignore[attr-defined]
                pass
        with pytest.raises(Conflict):
            async with run(inside, "cat"):  # type: ignore[attr-defined]
                pass
        await stage.lease("buyer", LeaseState.FINISHED)
        with pytest.raises(Conflict):
            await anext(inside.consoles.pack(ACCOUNT, "job_000001", "/data"))
        assert inside.containers.sessions == []

    staged(tmp_path, play)
