"""Streams of bytes between peers: the same tests on the fake network and on two processes over loopback."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from market.errors import BadMessage, PeerUnreachable, Unavailable
from market.units import PeerId
from node.adapters.network import LibP2PNetwork
from node.p2p.identity import peer_id_of
from node.p2p.limits import Limits
from node.ports import ByteStream
from tests.builders import a_signer
from tests.node.adapters.networks import WITHIN, a_network, networks, until
from tests.world import FakeHub, FakeNetwork

run = asyncio.run
REAL = pytest.param("real", marks=pytest.mark.p2p)
Pair = tuple[asyncio.Runner, Any, Any]


async def shout(_peer: PeerId, head: bytes, stream: ByteStream) -> None:
    """Say the head, then everything that comes in upper case, until its end."""
    await stream.write(head)
    while data := await stream.read():
        await stream.write(data.upper())


async def everything(stream: ByteStream) -> bytes:
    parts = []
    while data := await stream.read():
        parts.append(data)
    return b"".join(parts)


async def exactly(stream: ByteStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await stream.read(size - len(data))
        assert more
        data += more
    return data


# --- the port -------------------------------------------------------------------------------------------------------


def test_the_head_arrives_first_and_bytes_go_both_ways(pair: Pair) -> None:
    async def body(one: Any, two: Any) -> None:
        two.serve_streams(shout)
        stream = await one.open_stream(two.peer, b"about ")
        assert await exactly(stream, 6) == b"about "
        for word in (b"one", b"two"):
            await stream.write(word)
            assert await exactly(stream, 3) == word.upper()
        await stream.close_writing()
        assert await everything(stream) == b""
        await stream.close()

    run_on(pair, body)


def test_the_handler_learns_who_has_opened_the_stream(pair: Pair) -> None:
    async def body(one: Any, two: Any) -> None:
        two.serve_streams(name)
        assert await everything(await one.open_stream(two.peer, b"")) == str(one.peer).encode()

    async def name(peer: PeerId, _head: bytes, stream: ByteStream) -> None:
        await stream.write(str(peer).encode())

    run_on(pair, body)


def test_what_was_written_before_the_handler_returned_arrives_whole(pair: Pair) -> None:
    size = 2_000_000

    async def pour(_peer: PeerId, _head: bytes, stream: ByteStream) -> None:
        await stream.write(bytes(size))

    async def body(one: Any, two: Any) -> None:
        two.serve_streams(pour)
        stream = await one.open_stream(two.peer, b"")
        assert len(await everything(stream)) == size

    run_on(pair, body)


def test_an_end_is_no_end_for_the_other_direction(pair: Pair) -> None:
    async def count(_peer: PeerId, _head: bytes, stream: ByteStream) -> None:
        await stream.write(str(len(await everything(stream))).encode())

    async def body(one: Any, two: Any) -> None:
        two.serve_streams(count)
        stream = await one.open_stream(two.peer, b"")
        await stream.write(bytes(300_000))
        await stream.close_writing()
        assert await everything(stream) == b"300000"

    run_on(pair, body)


def test_a_writer_waits_for_a_reader_that_does_not_read(pair: Pair) -> None:
    written = 0
    gate = asyncio.Event()

    async def late(_peer: PeerId, _head: bytes, stream: ByteStream) -> None:
        await gate.wait()
        await stream.write(str(len(await everything(stream))).encode())

    async def pour(stream: ByteStream) -> None:
        nonlocal written
        for _ in range(200):
            written += 100_000
            await stream.write(bytes(100_000))
        await stream.close_writing()

    async def body(one: Any, two: Any) -> None:
        two.serve_streams(late)
        stream = await one.open_stream(two.peer, b"")
        pouring = asyncio.create_task(pour(stream))
        await stalled(lambda: written)
        assert written < 3_000_000
        gate.set()
        await pouring
        assert await everything(stream) == b"20000000"

    run_on(pair, body)


@pytest.mark.parametrize("is_missing", [True, False])
def test_a_handler_that_fails_or_is_missing_breaks_the_stream(pair: Pair, is_missing: bool) -> None:
    async def broken(_peer: PeerId, _head: bytes, stream: ByteStream) -> None:
        await stream.write(b"so far")
        raise Unavailable("the other side of it broke")

    async def body(one: Any, two: Any) -> None:
        two.serve_streams(None if is_missing else broken)
        stream = await one.open_stream(two.peer, b"")
        with pytest.raises(Unavailable):
            assert await everything(stream) == b""

    run_on(pair, body)


def test_letting_go_ends_the_other_sides_reading_and_breaks_its_writing(pair: Pair) -> None:
    seen: asyncio.Queue[object] = asyncio.Queue()

    async def listen(_peer: PeerId, _head: bytes, stream: ByteStream) -> None:
        seen.put_nowait(await everything(stream))
        try:
            while True:
                await stream.write(bytes(10_000))
        except Unavailable as error:
            seen.put_nowait(error)
            raise

    async def body(one: Any, two: Any) -> None:
        two.serve_streams(listen)
        stream = await one.open_stream(two.peer, b"")
        await stream.write(b"bye")
        await stream.close()
        await stream.close()
        assert await asyncio.wait_for(seen.get(), WITHIN) == b"bye"
        assert isinstance(await asyncio.wait_for(seen.get(), WITHIN), Unavailable)
        with pytest.raises(Unavailable):
            await stream.write(b"x")

    run_on(pair, body)


def test_closing_wakes_who_reads(pair: Pair) -> None:
    async def body(one: Any, two: Any) -> None:
        two.serve_streams(shout)
        stream = await one.open_stream(two.peer, b"")
        reading = asyncio.create_task(stream.read())
        await asyncio.sleep(0)
        await stream.close()
        with contextlib.suppress(Unavailable):
            assert await asyncio.wait_for(reading, WITHIN) == b""

    run_on(pair, body)


def test_many_streams_do_not_mix_and_leave_nothing_open(pair: Pair) -> None:
    async def once(one: Any, two: Any, number: int) -> None:
        head = b"%d " % number
        stream = await one.open_stream(two.peer, head, timeout=WITHIN)
        await stream.write(b"x%d" % number * 1000)
        await stream.close_writing()
        assert await everything(stream) == head + b"X%d" % number * 1000
        await stream.close()

    async def body(one: Any, two: Any) -> None:
        two.serve_streams(shout)
        await once(one, two, 1)
        before = len(os.listdir("/proc/self/fd"))
        await asyncio.gather(*(once(one, two, number) for number in range(100)))

        async def is_as_before() -> bool:
            return len(os.listdir("/proc/self/fd")) <= before

        await until(is_as_before)

    run_on(pair, body)


def test_a_head_that_is_too_large_is_refused_and_the_largest_is_not(pair: Pair) -> None:
    async def body(one: Any, two: Any) -> None:
        two.serve_streams(shout)
        with pytest.raises(BadMessage):
            await one.open_stream(two.peer, bytes(64 * 1024 + 1))
        stream = await one.open_stream(two.peer, b"h" * 64 * 1024)
        assert await exactly(stream, 64 * 1024) == b"h" * 64 * 1024
        await stream.close()

    run_on(pair, body)


def test_a_stream_to_a_stranger_is_unreachable(pair: Pair) -> None:
    async def body(one: Any, two: Any) -> None:
        with pytest.raises(PeerUnreachable):
            await one.open_stream(PeerId(peer_id_of(a_signer(77).public_key)), b"")

    run_on(pair, body)


# --- processes and limits -------------------------------------------------------------------------------------------


@pytest.mark.p2p
@pytest.mark.parametrize("side", [0, 1])
def test_the_death_of_a_network_process_breaks_streams_and_new_ones_work(tmp_path: Path, side: int) -> None:
    async def body() -> None:
        async with networks(tmp_path, 2) as both:
            one, two = both
            two.serve_streams(shout)
            stream = await one.open_stream(two.peer, b"head")
            assert await exactly(stream, 4) == b"head"
            reading = asyncio.create_task(stream.read())
            os.kill(both[side].pid or 0, signal.SIGKILL)
            with pytest.raises(Unavailable):
                await asyncio.wait_for(reading, WITHIN)
            await until(lambda: opens(one, two))

    async def opens(one: LibP2PNetwork, two: LibP2PNetwork) -> bool:
        try:
            again = await one.open_stream(two.peer, b"again")
            return await exactly(again, 5) == b"again"
        except Unavailable:
            return False

    run(body())


@pytest.mark.p2p
def test_a_peer_may_hold_only_so_many_streams(tmp_path: Path) -> None:
    async def body() -> None:
        async with networks(tmp_path, 2, Limits(byte_streams_per_peer=3)) as (one, two):
            two.serve_streams(shout)
            held = [await one.open_stream(two.peer, b"h") for _ in range(3)]
            for stream in held:
                assert await exactly(stream, 1) == b"h"
            with pytest.raises(Unavailable):
                await (await one.open_stream(two.peer, b"h")).read()
            await held[0].close()
            await until(lambda: is_answered(one, two))

    async def is_answered(one: LibP2PNetwork, two: LibP2PNetwork) -> bool:
        try:
            return await (await one.open_stream(two.peer, b"h")).read() == b"h"
        except Unavailable:
            return False

    run(body())


@pytest.mark.p2p
def test_all_peers_together_may_hold_only_so_many_streams(tmp_path: Path) -> None:
    async def body() -> None:
        async with networks(tmp_path, 3, Limits(byte_streams=2)) as (one, two, three):
            one.serve_streams(shout)
            held = [await other.open_stream(one.peer, b"h") for other in (two, three)]
            for stream in held:
                assert await exactly(stream, 1) == b"h"
            with pytest.raises(Unavailable):
                await (await two.open_stream(one.peer, b"h")).read()

    run(body())


@pytest.mark.p2p
def test_a_silent_stream_is_cut(tmp_path: Path) -> None:
    async def body() -> None:
        async with networks(tmp_path, 2, Limits(byte_stream_idle=3)) as (one, two):
            two.serve_streams(shout)
            stream = await one.open_stream(two.peer, b"h")
            assert await exactly(stream, 1) == b"h"
            with pytest.raises(Unavailable):
                await asyncio.wait_for(stream.read(), WITHIN)

    run(body())


@pytest.mark.p2p
def test_streams_that_nobody_reads_cut_no_connection(tmp_path: Path) -> None:
    """Their windows together are more than a connection may pile up otherwise."""

    async def deaf(_peer: PeerId, _head: bytes, stream: ByteStream) -> None:
        await asyncio.sleep(60)

    async def body() -> None:
        async with networks(tmp_path, 2, Limits(buffer=400_000)) as (one, two):
            two.serve_streams(deaf)
            pouring = [asyncio.create_task(pour(await one.open_stream(two.peer, b""))) for _ in range(8)]
            await asyncio.sleep(1.5)
            assert not any(task.done() for task in pouring)
            two.serve_streams(shout)
            assert await exactly(await one.open_stream(two.peer, b"head"), 4) == b"head"
            for task in pouring:
                task.cancel()
            await asyncio.gather(*pouring, return_exceptions=True)

    async def pour(stream: ByteStream) -> None:
        while True:
            await stream.write(bytes(100_000))

    run(body())


@pytest.mark.p2p
def test_nothing_opens_without_a_process(tmp_path: Path) -> None:
    async def body() -> None:
        one = a_network(tmp_path, 1)
        with pytest.raises(PeerUnreachable):
            await one.open_stream(one.peer, b"")

    run(body())


# --- --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["fake", REAL])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two networks that can reach each other, in one loop for the whole module."""
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        make = fakes() if request.param == "fake" else networks(tmp_path_factory.mktemp("streams"), 2)
        one, two = runner.run(stack.enter_async_context(make))
        yield runner, one, two
        runner.run(stack.aclose())


@contextlib.asynccontextmanager
async def fakes() -> AsyncIterator[list[FakeNetwork]]:
    hub = FakeHub()
    yield [FakeNetwork(hub, "peer-1"), FakeNetwork(hub, "peer-2")]


def run_on(pair: Pair, body: Callable[[Any, Any], Awaitable[None]]) -> None:
    runner, one, two = pair

    async def bounded() -> None:
        async with asyncio.timeout(2 * WITHIN):
            await body(one, two)

    runner.run(bounded())


async def stalled(value: Callable[[], int]) -> None:
    """Wait until the value is more than nothing, and has not changed for a while."""
    last = 0
    while value() != last or not last:
        last = value()
        await asyncio.sleep(0.3)
