"""A test for every trap of libp2p 0.8.1 that was measured; the table at the end says which is which."""

import contextlib
import os
import random
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.stream_muxer.exceptions import MuxedStreamReset
from libp2p.stream_muxer.yamux.yamux import TYPE_DATA, YAMUX_HEADER_FORMAT

from cli.cluster import free_port
from market.messages import MAX_GOSSIP
from node.p2p import bytepath
from node.p2p.book import Book
from node.p2p.containment import guarded
from node.p2p.host import CannotListen, dial
from node.p2p.keeper import PEERS, Keeper
from node.p2p.limits import Limits
from node.p2p.router import PROTOCOLS
from node.p2p.streams import FrameReader, framed
from tests.builders import a_signer
from tests.node.p2p.hosts import (
    WITHIN,
    Host,
    a_host,
    fails,
    gossip_stream,
    hosts,
    meet,
    meshed,
    rpc,
    run,
    several,
    until,
)
from tests.node.p2p.said import TOPIC, a_message

pytestmark = pytest.mark.p2p

GARBAGE = {
    "not a protobuf": framed(b"\xff" * 40),
    "a length that never ends": b"\xff" * 20,
    "a length of a gigabyte": b"\x80\x80\x80\x80\x04",
    "a broken key": rpc(
        publish=[rpc_pb2.Message(data=b"x", topicIDs=[TOPIC], from_id=b"y", seqno=b"1", key=b"\xff\xff")]
    ),
    "no sender": rpc(publish=[rpc_pb2.Message(data=b"x", topicIDs=[TOPIC])]),
    "a topic that is not text": framed(b"\x0a\x05\x08\x01\x12\x01\xff"),
    "a signed record of nonsense": framed(b"\x1a\x02\xff\xff"),
    "a thousand prunes": rpc(
        control=rpc_pb2.ControlMessage(prune=[rpc_pb2.ControlPrune(topicID=str(n)) for n in range(1000)])
    ),
    "a thousand subscriptions": rpc(
        subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=str(n)) for n in range(1000)]
    ),
}


def test_garbage_ends_neither_the_host_nor_honest_gossip() -> None:
    async def body() -> None:
        async with hosts(2) as (victim, friend), a_host(9, joins=False) as attacker:
            for data in GARBAGE.values():
                stream = await gossip_stream(attacker, victim)
                await stream.write(data)
            await until(lambda: len(victim.faults) >= 6)
            await friend.say(1)
            await until(lambda: victim.heard)
            assert {peer for peer, _ in victim.faults} == {attacker.id}

    run(body)


async def ask(host: Host, other: Host, protocol: str) -> bytes:
    stream = await host.host.new_stream(other.id, [TProtocol(protocol)])
    return await FrameReader(stream, 100).frame()


def test_a_handler_that_raises_resets_its_stream_and_nothing_else() -> None:
    async def broken(_stream: object) -> None:
        raise RuntimeError("a bug")

    async def body() -> None:
        async with hosts(2) as (one, other):
            one.host.set_stream_handler("/broken/1", guarded(broken))
            one.host.set_stream_handler("/unguarded/1", broken)
            for protocol in ("/broken/1", "/unguarded/1"):
                assert await fails(lambda: ask(other, one, protocol))  # noqa: B023
            await other.say(1)
            await until(lambda: one.heard)

    run(body)


def test_a_task_that_raises_does_not_end_its_service() -> None:
    async def bug() -> None:
        raise RuntimeError("a bug")

    async def body() -> None:
        async with hosts(2) as (one, other):
            for service in (one.mesh, one.router, one.swarm):
                service.manager.run_task(bug)
            await other.say(1)
            await until(lambda: one.heard)

    run(body)


def test_a_burst_of_500_arrives_whole_and_in_order() -> None:
    async def body() -> None:
        async with hosts(2) as (one, other):
            said = [await one.say(seq) for seq in range(500)]
            await until(lambda: len(other.heard) == 500)
            assert other.heard == said
            assert not one.router.recent_message_deliveries

    run(body)


def test_a_burst_crosses_a_neighbour_that_only_forwards() -> None:
    async def body() -> None:
        async with several(3) as (one, middle, other):
            await meet(one, middle)
            await meet(other, middle)
            await until(lambda: meshed(middle, 2))
            for seq in range(200):
                await one.say(seq)
            await until(lambda: len(other.heard) == 200)

    run(body)


def test_a_restarted_publisher_is_heard() -> None:
    async def body() -> None:
        async with a_host(1) as listener:
            for life in range(2):
                async with a_host(2) as speaker:
                    await meet(speaker, listener)
                    for seq in range(50):
                        await speaker.say(100 * life + seq)
                    await until(lambda: len(listener.heard) == 50 * (life + 1))  # noqa: B023

    run(body)


def test_the_mesh_is_mended_within_seconds() -> None:
    async def body() -> None:
        async with hosts(2) as (one, other):
            for host in (one, other):
                host.router.mesh[TOPIC].clear()
            await until(lambda: other.id in one.router.mesh[TOPIC], seconds=25)

    run(body)


def test_each_message_is_delivered_once_in_a_full_mesh() -> None:
    async def body() -> None:
        async with hosts(4) as everybody:
            said = [await host.say(seq) for seq in range(20) for host in everybody]
            await until(lambda: all(len(host.heard) == 60 for host in everybody))
            await trio.sleep(0.2)
            for host in everybody:
                assert len(set(host.heard)) == len(host.heard) == 60
                assert set(host.heard) < set(said)

    run(body)


def test_a_message_over_16_kib_is_the_neighbours_fault() -> None:
    async def body() -> None:
        async with hosts(2) as (one, other):
            await one.say(1, text="x" * MAX_GOSSIP)
            await one.say(2, text="x" * (MAX_GOSSIP - 300))
            await until(lambda: other.heard)
            assert other.faults == [(one.id, 100)]
            assert len(other.heard) == 1

    run(body)


def test_leaves_of_a_hub_that_prunes_hear_each_other() -> None:
    async def body() -> None:
        limits = Limits(degree=3, degree_low=2, degree_high=4)
        async with several(11, limits) as (hub, *leaves):
            for leaf in leaves:
                await meet(leaf, hub)
            await until(lambda: len(hub.router.mesh[TOPIC]) <= 4)
            for seq, leaf in enumerate(leaves):
                await leaf.say(seq)
            await until(lambda: all(len(leaf.heard) == 9 for leaf in leaves))

    run(body)


def test_only_plain_gossipsub_is_offered() -> None:
    assert PROTOCOLS == ("/meshsub/1.1.0", "/meshsub/1.0.0")


def test_no_signed_record_travels_with_messages() -> None:
    async def body() -> None:
        async with a_host(1) as one, a_host(9, joins=False) as listener:
            frames: list[bytes] = []

            async def note(stream: object) -> None:
                reader = FrameReader(stream, 10**6)  # type: ignore[arg-type]
                while True:
                    frames.append(await reader.frame())

            listener.host.set_stream_handler("/meshsub/1.1.0", note)
            stream = await gossip_stream(listener, one)
            await stream.write(rpc(subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=TOPIC)]))
            await until(lambda: listener.id in one.mesh.peer_topics.get(TOPIC, ()))
            await one.say(1)
            await until(lambda: any(rpc_pb2.RPC.FromString(frame).publish for frame in frames))
            assert not any(rpc_pb2.RPC.FromString(frame).HasField("senderRecord") for frame in frames)

    run(body)


def test_forged_signatures_are_held_against_the_one_who_forwards_them() -> None:
    async def body() -> None:
        async with hosts(2) as (victim, friend), a_host(9, joins=False) as attacker:
            stream = await gossip_stream(attacker, victim)
            for seq in range(20):
                forged = rpc_pb2.Message(
                    data=a_message(seq, by=friend.signer),
                    topicIDs=[TOPIC],
                    from_id=friend.id.to_bytes(),
                    seqno=seq.to_bytes(8, "big"),
                    signature=b"\x30\x06\x02\x01\x01\x02\x01\x01",
                )
                await stream.write(rpc(publish=[forged]))
            await until(lambda: len(victim.faults) == 20)
            assert victim.heard == []
            await friend.say(1)
            await until(lambda: len(victim.heard) == 1)

    run(body)


def test_a_banned_peer_does_not_come_in_again() -> None:
    async def body() -> None:
        async with a_host(1) as victim, a_host(2) as attacker:
            vars(victim.swarm)["is_banned"] = lambda peer: peer == str(attacker.id)
            await dial(attacker.host, victim.id, [victim.address], WITHIN)
            await until(lambda: not attacker.swarm.get_connections(victim.id))
            assert not victim.swarm.get_connections(attacker.id)

    run(body)


def test_mutated_frames_do_no_harm() -> None:
    async def body() -> None:
        dice = random.Random(7)
        honest = rpc(
            subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=TOPIC)],
            publish=[rpc_pb2.Message(data=a_message(1), topicIDs=[TOPIC], from_id=b"\x00\x25", seqno=b"1", key=b"k")],
            control=rpc_pb2.ControlMessage(
                ihave=[rpc_pb2.ControlIHave(topicID=TOPIC, messageIDs=[b"abc"])],
                iwant=[rpc_pb2.ControlIWant(messageIDs=[b"abc"])],
                graft=[rpc_pb2.ControlGraft(topicID=TOPIC)],
                prune=[rpc_pb2.ControlPrune(topicID=TOPIC, backoff=1)],
            ),
        )[2:]
        async with hosts(2) as (victim, friend), a_host(9, joins=False) as attacker:
            for _ in range(60):
                stream = await gossip_stream(attacker, victim)
                for _ in range(5):
                    bad = bytearray(honest)
                    for _ in range(dice.randint(1, 8)):
                        bad[dice.randrange(len(bad))] = dice.randrange(256)
                    with contextlib.suppress(Exception):
                        await stream.write(framed(bytes(bad)))
            await friend.say(1)
            await until(lambda: victim.heard)

    run(body)


def test_a_replay_is_ignored_even_when_gossipsub_has_forgotten_it() -> None:
    async def body() -> None:
        async with hosts(2) as (one, other):
            data = await one.say(1)
            await until(lambda: other.heard)
            other.mesh.seen_messages.cache.clear()
            for _ in range(3):
                await one.mesh.publish(TOPIC, data)
            await one.say(2)
            await until(lambda: len(other.heard) == 2)
            assert other.heard.count(data) == 1
            assert other.faults == []

    run(body)


def test_a_message_can_be_fetched_by_its_default_id() -> None:
    async def body() -> None:
        async with hosts(2) as (one, other):
            one.router.mesh[TOPIC].clear()
            one.mesh.peer_topics[TOPIC].clear()
            await one.say(1)
            ids = one.router.mcache.window(TOPIC)
            assert ids[0].startswith(one.id.to_bytes())
            ihave = rpc_pb2.ControlIHave(topicID=TOPIC, messageIDs=ids)
            one.router.send_rpc(other.id, rpc_pb2.RPC(control=rpc_pb2.ControlMessage(ihave=[ihave])))
            await until(lambda: other.heard)

    run(body)


def a_keeper(host: Host, path: object, limits: Limits | None = None) -> tuple[Keeper, Book]:
    book = Book(str(host.id), path)  # type: ignore[arg-type]
    keeper = Keeper(host.host, book, limits or Limits(), lambda _peer: False)
    host.host.set_stream_handler(PEERS, guarded(keeper.handle))
    return keeper, book


def test_a_peer_that_comes_late_or_comes_back_is_connected_within_seconds(tmp_path: os.PathLike[str]) -> None:
    async def body() -> None:
        port = free_port()
        async with a_host(1) as one, trio.open_nursery() as nursery:
            keeper, book = a_keeper(one, tmp_path / "a")  # type: ignore[operator]
            late = str(ID.from_pubkey(Host(2, Limits()).host.get_public_key()))
            book.learn(late, [f"/ip4/127.0.0.1/tcp/{port}"], keep=True)
            failed = noted(book)
            nursery.start_soon(keeper.run)
            await until(lambda: late in failed)
            for _ in range(2):
                async with a_host(2, port=port):
                    await until(lambda: late in keeper.connected(), seconds=30)
                await until(lambda: late not in keeper.connected())
            nursery.cancel_scope.cancel()

    run(body)


def noted(book: Book) -> list[str]:
    """The peers that could not be reached, as the book hears of it."""
    failed: list[str] = []
    real = book.failed

    def note(peer: str, now: float) -> None:
        failed.append(peer)
        real(peer, now)

    book.failed = note  # type: ignore[method-assign]
    return failed


def test_peers_learn_of_peers_and_connect(tmp_path: os.PathLike[str]) -> None:
    async def body() -> None:
        async with several(4) as everybody, trio.open_nursery() as nursery:
            hub, keepers = everybody[0], []
            for index, host in enumerate(everybody):
                keeper, book = a_keeper(host, tmp_path / str(index))  # type: ignore[operator]
                if host is not hub:
                    book.learn(str(hub.id), [hub.address], keep=True)
                keepers.append(keeper)
                nursery.start_soon(keeper.run)
            await until(lambda: all(len(keeper.connected()) == 3 for keeper in keepers))
            nursery.cancel_scope.cancel()

    run(body)


def test_nobody_is_dialled_because_its_address_was_heard() -> None:
    async def body() -> None:
        async with hosts(2) as (one, _), a_host(9) as stranger:
            one.host.get_peerstore().add_addrs(
                stranger.id, [next(iter(stranger.swarm.listeners.values())).get_addrs()[0]], 600
            )
            await trio.sleep(1.5)
            assert not one.swarm.get_connections(stranger.id)

    run(body)


def test_a_connection_that_answers_no_ping_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        limits = Limits(probe=0.5)
        async with hosts(2, limits) as (one, other):
            for connection in other.swarm.get_connections(one.id):
                connection.muxed_conn.secured_conn.conn.write_msg = _never
            await until(lambda: not one.swarm.get_connections(other.id))

    run(body)


async def _for_ever(stream: INetStream) -> None:
    while True:
        await stream.write(bytes(60_000))


async def _never(*_: object) -> None:
    await trio.sleep_forever()


def test_bytes_that_nobody_reads_cut_the_connection() -> None:
    async def body() -> None:
        async with hosts(2, Limits(buffer=300_000)) as (one, other):
            one.host.set_stream_handler("/deaf/1", guarded(_never))  # type: ignore[arg-type]
            stream = await other.host.new_stream(one.id, ["/deaf/1"])
            stream.muxed_stream.send_window = 10**9  # type: ignore[attr-defined]
            assert await fails(lambda: _for_ever(stream))
            await until(lambda: not one.swarm.get_connections(other.id))

    run(body)


def test_a_cancelled_write_does_not_end_the_connection() -> None:
    async def body() -> None:
        async with hosts(2) as (one, other):
            one.host.set_stream_handler("/deaf/1", guarded(_never))  # type: ignore[arg-type]
            stream = await other.host.new_stream(one.id, ["/deaf/1"])
            for _ in range(10):
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await stream.muxed_stream.write(b"cancelled")  # type: ignore[attr-defined]
            one.host.set_stream_handler("/echo/1", guarded(_echo))  # type: ignore[arg-type]
            again = await other.host.new_stream(one.id, ["/echo/1"])
            await again.write(framed(b"still there"))
            assert await FrameReader(again, 100).frame() == b"still there"

    run(body)


async def _echo(stream: Any) -> None:
    await stream.write(framed(await FrameReader(stream, 100).frame()))


def test_a_reader_goes_on_while_nothing_can_be_written() -> None:
    async def body() -> None:
        async with hosts(2) as (one, other):
            one.host.set_stream_handler("/deaf/1", guarded(_never))  # type: ignore[arg-type]
            stream: Any = await other.host.new_stream(one.id, ["/deaf/1"])
            (connection,) = one.swarm.get_connections(other.id)
            muxed = connection.muxed_conn
            async with muxed._write_lock:
                for _ in range(5):
                    await stream.muxed_conn.open_stream()
                await stream.write(b"read this")
                await until(lambda: any(b"read this" in held for held in muxed.stream_buffers.values()))

    run(body)


def test_a_connection_that_breaks_is_no_end_of_its_streams() -> None:
    ends: list[type[Exception]] = []

    async def note(stream: Any) -> None:
        try:
            while True:
                await stream.muxed_stream.read()
        except Exception as error:
            ends.append(type(error))
            raise

    async def body() -> None:
        async with hosts(2) as (one, other):
            one.host.set_stream_handler("/note/1", guarded(note))  # type: ignore[arg-type]
            stream: Any = await other.host.new_stream(one.id, ["/note/1"])
            muxed = stream.muxed_stream
            header = struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_DATA, 0, muxed.stream_id, 1000)
            await muxed.conn.secured_conn.write(header + bytes(500))
            await muxed.conn.secured_conn.close()
            await until(lambda: ends)
            assert ends == [MuxedStreamReset]

    run(body)


def test_closing_gives_every_socket_back() -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def body() -> None:
        before = open_files()
        async with hosts(3) as everybody:
            await everybody[0].say(1)
            assert open_files() > before
        await until(lambda: open_files() <= before)

    run(body)


def test_a_reader_that_pauses_gets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 2 * 1024 * 1024

    async def late(stream: object) -> None:
        await trio.sleep(0.5)
        data = await FrameReader(stream, size).frame()  # type: ignore[arg-type]
        await stream.write(framed(len(data).to_bytes(4, "big")))  # type: ignore[attr-defined]

    async def body() -> None:
        async with hosts(2) as (one, other):
            one.host.set_stream_handler("/late/1", guarded(late))
            stream = await other.host.new_stream(one.id, ["/late/1"])
            await stream.write(framed(bytes(size)))
            assert int.from_bytes(await FrameReader(stream, 100).frame(), "big") == size
            monkeypatch.setattr(bytepath, "_STALLED", 0.2)
            one.host.set_stream_handler("/deaf/1", guarded(_never))  # type: ignore[arg-type]
            deaf = await other.host.new_stream(one.id, ["/deaf/1"])
            assert await fails(lambda: deaf.write(bytes(size)))

    run(body)


def test_an_inbound_slot_is_free_again_when_its_peer_has_gone() -> None:
    async def body() -> None:
        async with a_host(1, limits=Limits(inbound_loopback=2)) as one:
            for number in range(2, 8):
                async with a_host(number) as guest:
                    assert await dial(guest.host, one.id, [one.address], WITHIN)
                await until(lambda: not one.swarm.doors._inside)

    run(body)


def test_one_address_cannot_take_every_slot() -> None:
    async def body() -> None:
        async with a_host(1, limits=Limits(inbound_loopback=2)) as one, several(3, first=2) as guests:
            came = [await dial(guest.host, one.id, [one.address], WITHIN) for guest in guests]
            assert came == [True, True, False]

    run(body)


def test_two_hosts_do_not_share_a_port() -> None:
    async def body() -> None:
        port = free_port()
        async with a_host(1, port=port):
            with pytest.raises(CannotListen):
                async with a_host(2, port=port):
                    pass

    run(body)


def test_nothing_but_noise_is_spoken() -> None:
    host = Host(1, Limits())
    offered = host.swarm.upgrader.security_multistream.transports
    assert list(map(str, offered)) == ["/noise"]


def test_one_neighbours_grafts_are_not_sent_to_another() -> None:
    async def body() -> None:
        async with hosts(3) as (one, two, three):
            await one.mesh.subscribe("other")
            await two.mesh.subscribe("other")
            await until(lambda: two.id in one.router.mesh["other"])
            one.router.mesh["other"].clear()
            one.router.mesh[TOPIC].clear()
            await until(lambda: two.id in one.router.mesh["other"])
            await trio.sleep(0.2)
            assert three.id not in one.router.mesh["other"]
            assert "other" not in three.router.back_off

    run(body)


def test_a_message_said_before_anybody_listened_is_heard_later() -> None:
    async def body() -> None:
        async with a_host(1, joins=False) as early, a_host(2) as late:
            await early.say(1)
            await meet(early, late)
            await until(lambda: late.heard)

    run(body)


def test_a_publisher_need_not_join() -> None:
    async def body() -> None:
        async with a_host(1, joins=False) as speaker, a_host(2) as listener:
            await meet(speaker, listener)
            await until(lambda: listener.id in speaker.mesh.peer_topics.get(TOPIC, ()))
            await speaker.say(1)
            await until(lambda: listener.heard)

    run(body)


def test_our_packages_have_names_of_their_own() -> None:
    for taken in ("docs", "examples"):
        assert not os.path.exists(os.path.join(taken, "__init__.py"))


def test_the_sequence_starts_at_nanoseconds() -> None:
    assert Host(1, Limits()).mesh.counter > time.time_ns() - 10**11
    assert a_signer(1).address


TRAPS: dict[str, Callable[..., None]] = {
    "1 an exception in a handler ends the host": test_a_handler_that_raises_resets_its_stream_and_nothing_else,
    "1 a garbage frame or key ends the host": test_garbage_ends_neither_the_host_nor_honest_gossip,
    "1 a task that raises ends its service": test_a_task_that_raises_does_not_end_its_service,
    "2 ten messages a second for each forwarding neighbour": test_a_burst_crosses_a_neighbour_that_only_forwards,
    "3 out-queues of 32": test_a_burst_of_500_arrives_whole_and_in_order,
    "4 subscription channels of 32": test_a_burst_of_500_arrives_whole_and_in_order,
    "5 sequence numbers repeat after a restart": test_a_restarted_publisher_is_heard,
    "6 heartbeat of 120 s, or 30 s": test_the_mesh_is_mended_within_seconds,
    "7 a list of deliveries that is never trimmed": test_a_burst_of_500_arrives_whole_and_in_order,
    "8 duplicates pass an asynchronous validator": test_each_message_is_delivered_once_in_a_full_mesh,
    "9 large messages vanish": test_a_message_over_16_kib_is_the_neighbours_fault,
    "10 a pruned neighbour hears nothing": test_leaves_of_a_hub_that_prunes_hear_each_other,
    "11 IDONTWANT for every message": test_only_plain_gossipsub_is_offered,
    "12 a signed record in every RPC": test_no_signed_record_travels_with_messages,
    "13 scores that reward spam": test_forged_signatures_are_held_against_the_one_who_forwards_them,
    "13 a blacklisted peer stays connected": test_a_banned_peer_does_not_come_in_again,
    "14 no protection from replays": test_a_replay_is_ignored_even_when_gossipsub_has_forgotten_it,
    "15 message ids of our own are not used by the cache": test_a_message_can_be_fetched_by_its_default_id,
    "16 bootstrap addresses deadlock": test_peers_learn_of_peers_and_connect,
    "17 a failed dial blocks a peer for 60 s": test_a_peer_that_comes_late_or_comes_back_is_connected_within_seconds,
    "18 every known address is dialled": test_nobody_is_dialled_because_its_address_was_heard,
    "19 half-open connections": test_a_connection_that_answers_no_ping_is_cut,
    "20 connections stay open when the host ends": test_closing_gives_every_socket_back,
    "22 a writer gives up after 5 s": test_a_reader_that_pauses_gets_everything,
    "23 top-level packages docs and examples": test_our_packages_have_names_of_their_own,
    "24 inbound slots are never given back": test_an_inbound_slot_is_free_again_when_its_peer_has_gone,
    "25 two processes share a port": test_two_hosts_do_not_share_a_port,
    "26 plain text is accepted": test_nothing_but_noise_is_spoken,
    "27 GRAFTs go to the wrong neighbour": test_one_neighbours_grafts_are_not_sent_to_another,
    "28 a peer overruns its window": test_bytes_that_nobody_reads_cut_the_connection,
    "29 a cancelled write spoils the cipher": test_a_cancelled_write_does_not_end_the_connection,
    "30 a connection that breaks looks like an end": test_a_connection_that_breaks_is_no_end_of_its_streams,
    "31 two readers wait for each other's writing": test_a_reader_goes_on_while_nothing_can_be_written,
}
"""Trap 21, errors while closing under load, needs a process: `test_network.py` closes one in the middle of a burst."""
