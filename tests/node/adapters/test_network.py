"""The network port over real processes: gossip, requests, and what happens when a process dies."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.cluster import free_port
from market.errors import BadMessage, ConfigError, InvalidParameters, PeerUnreachable, Unavailable
from market.messages import MAX_DIRECT, MAX_GOSSIP, open_envelope
from market.units import PeerId
from node.adapters.network import LibP2PNetwork
from node.p2p.addresses import ip_and_port
from node.p2p.identity import address_of_peer, peer_id_of
from tests.builders import NETWORK, a_signer
from tests.node.adapters.networks import WITHIN, Ears, a_network, is_meshed, networks, until
from tests.node.p2p.said import TOPIC, a_message, now_ms

pytestmark = pytest.mark.p2p
run = asyncio.run


async def echo(_peer: PeerId, data: bytes) -> bytes:
    return data


# --- gossip ---------------------------------------------------------------------------------------------------------


def test_gossip_reaches_all_others_and_verifies(tmp_path: Path) -> None:
    async def body() -> None:
        async with (
            networks(tmp_path, 3) as (one, two, three),
            Ears(two) as left,
            Ears(three) as right,
            Ears(one) as own,
        ):
            await one.publish(TOPIC, a_message(1))
            for ears in (left, right):
                (data,) = await ears.hears(1)
                assert open_envelope(data, NETWORK, now_ms()).sender == address_of_peer(one.peer)
            assert own.heard == []

    run(body())


def test_a_burst_of_500_reaches_every_peer_whole(tmp_path: Path) -> None:
    async def body() -> None:
        said = [a_message(seq, text="x" * 400) for seq in range(500)]
        async with networks(tmp_path, 3) as (one, two, three), Ears(two) as left, Ears(three) as right:
            await asyncio.gather(*(one.publish(TOPIC, data) for data in said))
            for ears in (left, right):
                assert sorted(await ears.hears(500)) == sorted(said)
            for network in (two, three):
                status = await network.status()
                assert (status["accept"], status["reject"], status["dropped"]) == (500, 0, 0)

    run(body())


def test_forgeries_do_no_harm_and_get_their_sender_kicked(tmp_path: Path) -> None:
    async def body() -> None:
        async with networks(tmp_path, 3) as (attacker, victim, friend), Ears(victim) as ears:
            for seq in range(12):
                with contextlib.suppress(Unavailable):
                    await attacker.publish(TOPIC, a_message(seq, by=a_signer(3)))
            await until(lambda: _has_banned(victim))
            await until(lambda: _is_gone(victim, attacker.peer))
            await friend.publish(TOPIC, a_message(1, by=a_signer(3)))
            assert await ears.hears(1) == ears.heard[:1]

    run(body())


def test_a_replay_is_ignored(tmp_path: Path) -> None:
    async def body() -> None:
        async with networks(tmp_path, 2) as (one, two), Ears(two) as ears:
            for _ in range(5):
                await one.publish(TOPIC, a_message(1, now=now_ms() - 100, text="again"))
            await one.publish(TOPIC, a_message(2))
            assert len(await ears.hears(2)) == 2
            assert (await two.status())["reject"] == 0

    run(body())


def test_garbage_on_the_port_does_no_harm(tmp_path: Path) -> None:
    async def body() -> None:
        async with networks(tmp_path, 2) as (one, two), Ears(one) as ears:
            place = ip_and_port((await one.addresses())[0])
            assert place is not None
            for garbage in (
                b"",
                b"\x00" * 10_000,
                b"GET / HTTP/1.0\r\n\r\n",
                b"\x13/multistream/1.0.0\n" + b"\xff" * 70_000,
            ):
                with socket.create_connection(place) as stranger, contextlib.suppress(OSError):
                    stranger.sendall(garbage)
            await two.publish(TOPIC, a_message(1, by=a_signer(2)))
            await ears.hears(1)
            assert one.restarts == 0

    run(body())


def test_gossip_over_16_kib_is_refused_here(tmp_path: Path) -> None:
    async def body() -> None:
        async with a_network(tmp_path, 1) as one:
            with pytest.raises(BadMessage):
                await one.publish(TOPIC, bytes(MAX_GOSSIP + 1))

    run(body())


# --- requests -------------------------------------------------------------------------------------------------------


def test_requests_are_answered_side_by_side(tmp_path: Path) -> None:
    may_end = asyncio.Event()

    async def slow_or_fast(_peer: PeerId, data: bytes) -> bytes:
        if data == b"slow":
            await may_end.wait()
        return data

    async def body() -> None:
        async with networks(tmp_path, 2) as (one, two):
            two.serve(slow_or_fast)
            slow = asyncio.create_task(one.request(two.peer, b"slow"))
            for number in range(50):
                assert await one.request(two.peer, str(number).encode()) == str(number).encode()
            assert not slow.done()
            may_end.set()
            assert await slow == b"slow"

    run(body())


def test_the_handler_learns_who_asks(tmp_path: Path) -> None:
    async def who(peer: PeerId, _data: bytes) -> bytes:
        return peer.encode()

    async def body() -> None:
        async with networks(tmp_path, 2) as (one, two):
            two.serve(who)
            assert await one.request(two.peer, b"") == one.peer.encode()

    run(body())


@pytest.mark.parametrize("size", [0, 1, 127, 128, 70_000, MAX_DIRECT])
def test_requests_up_to_4_mib_arrive_whole(
    pair: tuple[asyncio.Runner, LibP2PNetwork, LibP2PNetwork], size: int
) -> None:
    runner, one, two = pair
    data = os.urandom(size)
    assert runner.run(one.request(two.peer, data, timeout=20)) == data


def test_a_request_over_4_mib_is_refused_here(pair: tuple[asyncio.Runner, LibP2PNetwork, LibP2PNetwork]) -> None:
    runner, one, two = pair
    with pytest.raises(BadMessage):
        runner.run(one.request(two.peer, bytes(MAX_DIRECT + 1)))


def test_an_unknown_peer_is_unreachable(pair: tuple[asyncio.Runner, LibP2PNetwork, LibP2PNetwork]) -> None:
    runner, one, _ = pair
    with pytest.raises(PeerUnreachable):
        runner.run(one.request(peer_id_of(a_signer(77).public_key), b"hello"))


def test_an_id_that_is_none_is_unreachable(pair: tuple[asyncio.Runner, LibP2PNetwork, LibP2PNetwork]) -> None:
    runner, one, _ = pair
    with pytest.raises(PeerUnreachable):
        runner.run(one.request(PeerId("nonsense"), b"hello"))


def test_nobody_at_an_address_is_unreachable(pair: tuple[asyncio.Runner, LibP2PNetwork, LibP2PNetwork]) -> None:
    runner, one, _ = pair
    with pytest.raises(PeerUnreachable):
        runner.run(one.connect(f"/ip4/127.0.0.1/tcp/9/p2p/{peer_id_of(a_signer(78).public_key)}"))


@pytest.mark.parametrize("address", ["/ip4/127.0.0.1/tcp/9", "nonsense"])
def test_an_address_without_a_peer_is_refused(
    pair: tuple[asyncio.Runner, LibP2PNetwork, LibP2PNetwork], address: str
) -> None:
    runner, one, _ = pair
    with pytest.raises(InvalidParameters):
        runner.run(one.connect(address))


def test_a_late_answer_is_not_taken_for_the_next(tmp_path: Path) -> None:
    may_come = asyncio.Event()

    async def late(_peer: PeerId, data: bytes) -> bytes:
        if data == b"late":
            await may_come.wait()
        return data

    async def body() -> None:
        async with networks(tmp_path, 2) as (one, two):
            two.serve(late)
            assert await one.request(two.peer, b"early") == b"early"
            with pytest.raises(Unavailable) as caught:
                await one.request(two.peer, b"late", timeout=2.0)
            assert not isinstance(caught.value, PeerUnreachable)
            may_come.set()
            for number in range(30):
                assert await one.request(two.peer, str(number).encode()) == str(number).encode()

    run(body())


def test_a_handler_that_fails_or_is_missing_is_unavailable(tmp_path: Path) -> None:
    async def broken(_peer: PeerId, _data: bytes) -> bytes:
        raise RuntimeError("a bug")

    async def body() -> None:
        async with networks(tmp_path, 2) as (one, two):
            for handler in (None, broken):
                if handler:
                    two.serve(handler)
                with pytest.raises(Unavailable):
                    await one.request(two.peer, b"hello")
            two.serve(echo)
            assert await one.request(two.peer, b"hello") == b"hello"

    run(body())


def test_a_known_peer_is_dialled_for_a_request(tmp_path: Path) -> None:
    async def body() -> None:
        listen = f"/ip4/127.0.0.1/tcp/{free_port()}"
        async with a_network(tmp_path, 1) as one, a_network(tmp_path, 2, listen=listen) as two:
            two.serve(echo)
            await one.connect((await two.addresses())[0])
            await two.close()
            await until(lambda: _is_gone(one, two.peer))
            async with a_network(tmp_path, 2, listen=listen) as again:
                again.serve(echo)
                assert await one.request(again.peer, b"hello") == b"hello"

    run(body())


# --- the process ----------------------------------------------------------------------------------------------------


def test_a_killed_process_is_back_and_meshed_before_anybody_looks_again_by_the_clock(tmp_path: Path) -> None:
    """The library lets a peer whose dial failed wait for 60 s, and looks after its mesh every 30 s or less often."""

    async def body() -> None:
        async with networks(tmp_path, 3) as (one, two, three), Ears(two) as ears, Ears(three) as others:
            two.serve(echo)
            before = await two.addresses()
            os.kill(two.pid or 0, signal.SIGKILL)
            await until(lambda: _is_back(two))
            await until(lambda: is_meshed(two, 2), 25)
            assert await two.addresses() == before
            await one.publish(TOPIC, a_message(1))
            await two.publish(TOPIC, a_message(2, by=a_signer(2)))
            await ears.hears(1)
            await others.hears(2)
            assert await one.request(two.peer, b"hello") == b"hello"

    run(body())


def test_a_first_process_that_dies_over_its_start_is_followed_by_another(tmp_path: Path) -> None:
    async def play() -> None:
        network = a_network(tmp_path, 1)
        starting = asyncio.create_task(network.start())
        while network.pid is None:
            await asyncio.sleep(0)
        first = network.pid
        os.kill(first, signal.SIGKILL)
        await starting
        try:
            assert network.pid not in (None, first)
            assert await network.addresses()
        finally:
            await network.close()

    asyncio.run(play())


def test_calls_in_flight_fail_at_once_when_the_process_dies(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def never(_peer: PeerId, _data: bytes) -> bytes:
        asked.set()
        return await asyncio.Event().wait() and b""

    async def body() -> None:
        async with networks(tmp_path, 2) as (one, two):
            two.serve(never)
            call = asyncio.create_task(one.request(two.peer, b"hello", timeout=120))
            await asyncio.wait_for(asked.wait(), WITHIN)
            os.kill(one.pid or 0, signal.SIGKILL)
            with pytest.raises(Unavailable):
                await asyncio.wait_for(call, WITHIN)  # half of what the request itself would wait

    run(body())


def test_everything_is_unavailable_while_there_is_no_process(tmp_path: Path) -> None:
    async def body() -> None:
        one = a_network(tmp_path, 1)
        for call in (one.publish(TOPIC, b""), one.request(one.peer, b""), one.peers(), one.addresses()):
            with pytest.raises(Unavailable):
                await call

    run(body())


def test_closing_in_the_middle_of_a_burst_is_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def body() -> None:
        async with networks(tmp_path, 2) as (one, two):
            said = [asyncio.create_task(one.publish(TOPIC, a_message(seq))) for seq in range(300)]
            await asyncio.sleep(0.02)
            await two.close()
            await one.close()
            await asyncio.gather(*said, return_exceptions=True)

    run(body())
    assert "Traceback" not in capfd.readouterr().err


def test_the_secret_is_in_neither_arguments_nor_environment(tmp_path: Path) -> None:
    async def body() -> None:
        async with a_network(tmp_path, 5) as one:
            for name in ("cmdline", "environ"):
                content = Path(f"/proc/{one.pid}/{name}").read_bytes()
                assert (5).to_bytes(32, "big").hex().encode() not in content
            assert b"NEUGRID" not in Path(f"/proc/{one.pid}/environ").read_bytes()

    os.environ["NEUGRID_TEST_SECRET"] = "x"
    try:
        run(body())
    finally:
        del os.environ["NEUGRID_TEST_SECRET"]


def test_the_process_dies_with_its_node(tmp_path: Path) -> None:
    program = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from tests.node.adapters.networks import a_network\n"
        "async def main():\n"
        f"    one = a_network(Path({str(tmp_path)!r}), 1)\n"
        "    await one.start()\n"
        "    print(one.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    run(_until_gone(child))


def test_a_taken_port_is_one_clear_sentence(tmp_path: Path) -> None:
    async def body() -> None:
        async with a_network(tmp_path, 1) as one:
            place = ip_and_port((await one.addresses())[0])
            assert place is not None
            with pytest.raises(ConfigError, match=f"tcp/{place[1]}: Address already in use"):
                await a_network(tmp_path, 2, listen=f"/ip4/127.0.0.1/tcp/{place[1]}").start()

    run(body())


def test_known_peers_are_found_again_without_bootstrap(tmp_path: Path) -> None:
    async def body() -> None:
        async with networks(tmp_path, 2) as (one, two):
            await until(lambda: _knows_where(one, two.peer))
            await one.close()
            async with a_network(tmp_path, 1) as again:
                await until(lambda: _has_peers(again))

    run(body())


# --- --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[asyncio.Runner, LibP2PNetwork, LibP2PNetwork]]:
    """Two connected networks that live as long as this module; the second answers with what it gets."""
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        one, two = runner.run(stack.enter_async_context(networks(tmp_path_factory.mktemp("pair"), 2)))
        two.serve(echo)
        yield runner, one, two
        runner.run(stack.aclose())


async def _is_back(network: LibP2PNetwork) -> bool:
    try:
        return network.restarts > 0 and bool(await network.status())
    except Unavailable:
        return False


async def _has_banned(network: LibP2PNetwork) -> bool:
    return bool((await network.status())["banned"])


async def _is_gone(network: LibP2PNetwork, peer: PeerId) -> bool:
    return peer not in {other.id for other in await network.peers()}


async def _knows_where(network: LibP2PNetwork, peer: PeerId) -> bool:
    return any(other.id == peer and other.addresses for other in await network.peers())


async def _has_peers(network: LibP2PNetwork) -> bool:
    return bool(await network.peers())


async def _until_gone(pid: int) -> None:
    async def is_gone() -> bool:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return True
        return stat.rsplit(")", 1)[1].split()[0] == "Z"

    await until(is_gone)
