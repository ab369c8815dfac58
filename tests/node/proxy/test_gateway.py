"""The gateway in front of real little HTTP services: requests, answers, bodies, upgrades, and the trouble between."""

import asyncio
import contextlib
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from market.errors import ConfigError, PeerUnreachable, Refused
from node.ports import ByteStream
from node.proxy.listener import tls_context
from tests.node.proxy.services import (
    HOST,
    FakeReplica,
    TcpReplica,
    a_client,
    a_gateway,
    a_request,
    head_of,
    mirror,
    run,
    until,
)

# --- requests and answers -------------------------------------------------------------------------------------------


def test_a_request_reaches_the_service_of_its_host_and_a_connection_serves_many() -> None:
    async def body() -> None:
        one, other = FakeReplica(mirror), FakeReplica(mirror, "other")
        async with a_gateway(hosts={HOST: [one], "other.localhost": [other]}) as (port, _), a_client(port) as client:
            for _ in range(3):
                assert (await client.ask("GET", "/a?b=c")).seen().target == "/a?b=c"
            await client.ask(host="Other.LocalHost:8080")
            assert (one.opened, other.opened) == (1, 1)

    run(body())


def test_pipelined_requests_are_answered_in_order_each_by_its_own_service() -> None:
    async def body() -> None:
        one, other = FakeReplica(mirror), FakeReplica(mirror, "other")
        async with a_gateway(hosts={HOST: [one], "other.localhost": [other]}) as (port, _), a_client(port) as client:
            client.writer.write(
                a_request("POST", "/1", body=b"first")
                + a_request("GET", "/2", host="other.localhost")
                + a_request("GET", "/3")
            )
            seen = [(await client.reply()).seen() for _ in range(3)]
            assert [(one.target, one.body) for one in seen] == [("/1", "first"), ("/2", ""), ("/3", "")]
            assert other.opened == 1

    run(body())


def test_the_service_learns_who_the_client_is_and_nothing_the_client_made_up() -> None:
    lies = ["X-Forwarded-For: 1.2.3.4", "x_forwarded_host: evil", "Forwarded: for=1.2.3.4", "X-Real-IP: 1.2.3.4"]
    hop = ["Connection: keep-alive, X-Private", "X-Private: 1", "Keep-Alive: 5", "TE: trailers", "Proxy-Connection: x"]

    async def body() -> None:
        async with a_gateway(FakeReplica(mirror)) as (port, _), a_client(port) as client:
            seen = (await client.ask(headers=[*lies, *hop, "X-Kept: yes"])).seen()
            assert dict(seen.headers) == {
                "host": HOST,
                "x-kept": "yes",
                "x-forwarded-for": "127.0.0.1",
                "x-forwarded-proto": "http",
                "x-forwarded-host": HOST,
            }

    run(body())


@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_body_reaches_the_service_whole(is_chunked: bool) -> None:
    size = 3_000_000

    async def body() -> None:
        async with a_gateway(FakeReplica(mirror)) as (port, _), a_client(port) as client:
            if is_chunked:
                client.writer.write(a_request("POST", headers=["Transfer-Encoding: chunked"]))
                for _ in range(size // 100_000):
                    client.writer.write(b"186a0\r\n" + bytes(100_000) + b"\r\n")
                client.writer.write(b"0\r\nX-Trailer: dropped\r\n\r\n")
            else:
                client.writer.write(a_request("POST", body=bytes(size)))
            seen = (await client.reply()).seen()
            assert seen.body == f"{size} bytes"
            assert seen.header("x-trailer") == []
            assert (await client.ask()).status == 200

    run(body())


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_an_answer_reaches_the_client_whole_however_it_is_framed(framing: str) -> None:
    size = 3_000_000
    heads = {"length": f"Content-Length: {size}", "chunked": "Transfer-Encoding: chunked", "close": "Connection: close"}

    async def pour(stream: ByteStream) -> None:
        await head_of(stream)
        await stream.write(f"HTTP/1.1 200 OK\r\n{heads[framing]}\r\n\r\n".encode())
        for _ in range(size // 100_000):
            piece = bytes(100_000)
            await stream.write(b"186a0\r\n" + piece + b"\r\n" if framing == "chunked" else piece)
        await stream.write(b"0\r\n\r\n" if framing == "chunked" else b"")

    async def body() -> None:
        async with a_gateway(FakeReplica(pour)) as (port, _), a_client(port) as client:
            reply = await client.ask()
            assert len(reply.body) == size
            assert ("content-length" in reply.headers) == (framing == "length")

    run(body())


def test_head_and_304_have_no_body_and_the_connection_goes_on() -> None:
    async def bodiless(stream: ByteStream) -> None:
        while head := await head_of(stream):
            status = b"200 OK\r\nContent-Length: 1000" if head.startswith(b"HEAD") else b"304 Not Modified\r\nETag: x"
            await stream.write(b"HTTP/1.1 " + status + b"\r\n\r\n")

    async def body() -> None:
        replica = FakeReplica(bodiless)
        async with a_gateway(replica) as (port, _), a_client(port) as client:
            reply = await client.ask("HEAD")
            assert (reply.status, reply.headers["content-length"], reply.body) == (200, "1000", b"")
            assert (await client.ask("GET")).status == 304
            assert replica.opened == 1

    run(body())


def test_a_client_that_waits_for_100_gets_it_from_the_service() -> None:
    async def body() -> None:
        async with a_gateway(FakeReplica(mirror)) as (port, _), a_client(port) as client:
            client.writer.write(a_request("PUT", headers=["Expect: 100-continue", "Content-Length: 5"]))
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 \r\n\r\n"
            client.writer.write(b"hello")
            assert (await client.reply()).seen().body == "hello"

    run(body())


def test_an_answer_before_the_body_is_passed_on_and_ends_the_connection() -> None:
    async def refuse(stream: ByteStream) -> None:
        await head_of(stream)
        await stream.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")

    async def body() -> None:
        async with a_gateway(FakeReplica(refuse)) as (port, _), a_client(port) as client:
            client.writer.write(a_request("POST", headers=["Content-Length: 1000000"]) + bytes(1000))
            assert (await client.reply()).status == 413
            assert await client.reader.read() == b""

    run(body())


def test_an_http_1_0_client_gets_an_answer_and_the_end() -> None:
    async def body() -> None:
        async with a_gateway(FakeReplica(mirror)) as (port, _), a_client(port) as client:
            client.writer.write(f"GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n".encode())
            assert (await client.reply()).status == 200
            assert await client.reader.read() == b""

    run(body())


def test_events_arrive_one_by_one() -> None:
    said = asyncio.Event()

    async def events(stream: ByteStream) -> None:
        await head_of(stream)
        await stream.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for number in range(3):
            await stream.write(b"data: %d\n\n" % number)
            await said.wait()
            said.clear()

    async def body() -> None:
        async with a_gateway(FakeReplica(events)) as (port, _), a_client(port) as client:
            client.writer.write(a_request())
            await client.reader.readuntil(b"\r\n\r\n")
            for number in range(3):
                await client.reader.readuntil(b"data: %d\n\n" % number)
                said.set()

    run(body())


# --- upgrades -------------------------------------------------------------------------------------------------------


def test_a_websocket_goes_through() -> None:
    async def echo(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    async def body() -> None:
        async with serve(echo, "127.0.0.1", 0) as server:
            replica = TcpReplica(server.sockets[0].getsockname()[1])
            async with (
                a_gateway(replica) as (port, _),
                connect(f"ws://{HOST}:{port}/chat", host="127.0.0.1", port=port) as socket,
            ):
                for message in ("hello", bytes(300_000)):
                    await socket.send(message)
                    assert await socket.recv() == message

    run(body())


def test_bytes_right_behind_an_upgrade_are_not_lost() -> None:
    async def upgrade(stream: ByteStream) -> None:
        head, early = (await head_of(stream)).split(b"\r\n\r\n", 1)
        assert b"upgrade: tea" in head.lower()
        await stream.write(b"HTTP/1.1 101 Tea\r\nConnection: Upgrade\r\nUpgrade: tea\r\n\r\nat once,")
        while len(early) < 5:
            early += await stream.read()
        await stream.write(early)

    async def body() -> None:
        async with a_gateway(FakeReplica(upgrade)) as (port, _), a_client(port) as client:
            client.writer.write(a_request(headers=["Connection: Upgrade", "Upgrade: tea"]) + b"early")
            head, _, rest = (await client.reader.read()).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101")
            assert rest == b"at once,early"

    run(body())


def test_a_service_may_decline_an_upgrade() -> None:
    async def body() -> None:
        async with a_gateway(FakeReplica(mirror)) as (port, _), a_client(port) as client:
            seen = (await client.ask(headers=["Connection: Upgrade", "Upgrade: tea"])).seen()
            assert seen.header("upgrade") == ["tea"]
            assert (await client.ask(headers=["Connection: Upgrade", "Upgrade: h2c"])).seen().header("upgrade") == []

    run(body())


# --- replicas -------------------------------------------------------------------------------------------------------


def test_an_unknown_host_is_404_and_one_without_replicas_503() -> None:
    async def body() -> None:
        async with a_gateway(hosts={"empty.localhost": []}) as (port, _):
            for host, status, reason in (("x.localhost", 404, "UNKNOWN_HOST"), ("empty.localhost", 503, "NO_REPLICA")):
                async with a_client(port) as client:
                    reply = await client.ask(host=host)
                    assert (reply.status, reply.reason()) == (status, reason)
                    assert reply.headers["content-type"] == "application/problem+json"
            async with a_client(port) as client:
                reply = await client.ask("HEAD", host="x.localhost")
                assert (reply.status, reply.body) == (404, b"")

    run(body())


def test_the_least_busy_replica_is_asked() -> None:
    async def body() -> None:
        held = [FakeReplica(silent, "a"), FakeReplica(silent, "b")]
        async with a_gateway(*held) as (port, gateway), contextlib.AsyncExitStack() as stack:
            for number in range(6):
                client = await stack.enter_async_context(a_client(port))
                client.writer.write(a_request())
                await until(lambda: sum(gateway.upstreams.open_requests(one.id) for one in held) > number)  # noqa: B023
            assert [one.opened for one in held] == [3, 3]

    run(body())


def test_replicas_that_are_equally_busy_are_asked_in_turn() -> None:
    async def body() -> None:
        rested = [FakeReplica(mirror, "a"), FakeReplica(mirror, "b"), FakeReplica(mirror, "c")]
        async with a_gateway(*rested) as (port, _), a_client(port) as client:
            for _ in range(3):
                assert (await client.ask("POST", body=b"x")).status == 200
            assert [one.opened for one in rested] == [1, 1, 1]

    run(body())


def test_a_replica_that_can_not_be_reached_is_passed_over() -> None:
    async def body() -> None:
        broken, well = FakeReplica(mirror, "broken"), FakeReplica(mirror, "well")
        broken.refusal = PeerUnreachable("gone")
        async with a_gateway(broken, well) as (port, _), a_client(port) as client:
            assert (await client.ask("POST", body=b"x")).status == 200
            assert well.opened == 1

    run(body())


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (PeerUnreachable("gone"), 503, "PROVIDER_UNREACHABLE"),
        (Refused("no", codes=("PORT_CLOSED",)), 502, "PORT_CLOSED"),
        (Refused("no", codes=("NOT_RUNNING",)), 503, "NOT_RUNNING"),
        (Refused("no", codes=("NOT_FOUND",)), 503, "NOT_RUNNING"),
        (Refused("no", codes=("BUSY",)), 503, "REPLICA_BUSY"),
        (Refused("no", codes=("DIAL_TIMEOUT",)), 504, "DIAL_TIMEOUT"),
        (Refused("no", codes=("ANYTHING",)), 502, "PROVIDER_REFUSED"),
    ],
)
def test_why_no_replica_answers_is_said(error: Exception, status: int, reason: str) -> None:
    async def body() -> None:
        replica = FakeReplica(mirror)
        replica.refusal = error
        async with a_gateway(replica) as (port, _), a_client(port) as client:
            reply = await client.ask()
            assert (reply.status, reply.reason()) == (status, reason)

    run(body())


def test_a_kept_connection_that_the_service_closes_is_not_used_again() -> None:
    async def once(stream: ByteStream) -> None:
        await head_of(stream)
        await stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def body() -> None:
        replica = FakeReplica(once)
        async with a_gateway(replica) as (port, gateway), a_client(port) as client:
            for _ in range(5):
                assert (await client.ask("POST", body=b"x")).status == 200
                await asyncio.wait(replica.tasks)
                await until(lambda: not gateway.upstreams._pools)  # nothing is kept of a replica that is not in use
            assert replica.opened == 5

    run(body())


def test_a_request_that_met_a_closed_connection_is_asked_again_if_it_may_be() -> None:
    async def fickle(stream: ByteStream) -> None:
        await head_of(stream)
        await stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await head_of(stream)

    async def body() -> None:
        replica = FakeReplica(fickle)
        async with a_gateway(replica) as (port, _), a_client(port) as client:
            assert (await client.ask()).status == 200
            assert (await client.ask()).status == 200
            assert replica.opened == 2
            reply = await client.ask("POST", body=b"pay")
            assert (reply.status, reply.reason()) == (502, "UPSTREAM_CLOSED")

    run(body())


def test_a_thousand_requests_at_once_are_answered_over_a_bounded_number_of_streams() -> None:
    async def one(port: int, number: int) -> None:
        async with a_client(port) as client:
            for _ in range(2):
                assert (await client.ask(target=f"/{number}")).seen().target == f"/{number}"

    async def body() -> None:
        replica = FakeReplica(mirror)
        async with a_gateway(replica, streams=20, queue_within=30) as (port, _):
            for batch in range(5):
                await asyncio.gather(*(one(port, number) for number in range(batch * 100, batch * 100 + 100)))
            assert len([task for task in replica.tasks if not task.done()]) <= 20

    run(body(), 60)


def test_a_replica_that_is_full_is_busy_after_a_while() -> None:
    async def body() -> None:
        async with (
            a_gateway(FakeReplica(silent), streams=1, queue_within=0.05) as (port, gateway),
            a_client(port) as first,
            a_client(port) as second,
        ):
            first.writer.write(a_request())
            await until(lambda: gateway.upstreams.open_requests("one"))
            reply = await second.ask()
            assert (reply.status, reply.reason()) == (503, "REPLICA_BUSY")

    run(body())


# --- trouble --------------------------------------------------------------------------------------------------------


async def silent(stream: ByteStream) -> None:
    await head_of(stream)
    await stream.read()


def test_a_silent_service_is_504() -> None:
    async def body() -> None:
        async with a_gateway(FakeReplica(silent), answer_within=0.1) as (port, _), a_client(port) as client:
            reply = await client.ask()
            assert (reply.status, reply.reason()) == (504, "UPSTREAM_TIMEOUT")

    run(body())


@pytest.mark.parametrize("framing", [b"Content-Length: 1000", b"Transfer-Encoding: chunked", b"Connection: close"])
def test_an_answer_that_breaks_off_is_seen_to_break_off(framing: bytes) -> None:
    async def begin(stream: ByteStream) -> None:
        await head_of(stream)
        await stream.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + b"5\r\nhello\r\n")
        await stream.read()

    async def body() -> None:
        replica = FakeReplica(begin)
        async with a_gateway(replica) as (port, _), a_client(port) as client:
            client.writer.write(a_request())
            await client.reader.readuntil(b"\r\n\r\n")
            replica.streams[0].abort()
            with pytest.raises(ConnectionResetError):
                await client.reader.read()

    run(body())


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tea\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + bytes([0]) + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
    ],
)
def test_an_answer_that_is_none_is_502(answer: bytes) -> None:
    async def odd(stream: ByteStream) -> None:
        await head_of(stream)
        await stream.write(answer)

    async def body() -> None:
        async with a_gateway(FakeReplica(odd)) as (port, _), a_client(port) as client:
            assert (await client.ask()).status == 502

    run(body())


@pytest.mark.parametrize("has_begun", [True, False])
def test_a_client_that_leaves_closes_its_stream_to_the_service(has_begun: bool) -> None:
    async def endless(stream: ByteStream) -> None:
        await head_of(stream)
        if has_begun:
            await stream.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await stream.read()

    async def body() -> None:
        replica = FakeReplica(endless)
        async with a_gateway(replica) as (port, gateway):
            async with a_client(port) as client:
                client.writer.write(a_request())
                await until(lambda: replica.opened)
            await asyncio.wait_for(replica.tasks[0], 5)
            await until(lambda: not gateway.connections)

    run(body())


def test_a_client_that_does_not_read_holds_the_service_back() -> None:
    sent = 0

    async def pour(stream: ByteStream) -> None:
        nonlocal sent
        await head_of(stream)
        await stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            await stream.write(bytes(100_000))
            sent += 100_000

    async def body() -> None:
        async with a_gateway(FakeReplica(pour), idle=1.0) as (port, gateway), a_client(port, limit=1000) as client:
            client.writer.write(a_request())
            await until(lambda: sent)
            last = 0
            while sent != last:
                last = sent
                await asyncio.sleep(0.3)
            assert sent < 20_000_000
            await until(lambda: not gateway.connections)

    run(body())


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: demo.localhost\r\nX: "])
def test_a_slow_loris_is_cut(start: bytes) -> None:
    async def body() -> None:
        async with a_gateway(FakeReplica(mirror), head_within=0.2) as (port, _), a_client(port) as client:
            client.writer.write(start)
            dripping = asyncio.create_task(drip(client.writer)) if start else None
            answer = await asyncio.wait_for(client.reader.read(), 5)
            assert answer.startswith(b"HTTP/1.1 408 ") if start else answer == b""
            if dripping:
                dripping.cancel()

    async def drip(writer: asyncio.StreamWriter) -> None:
        while True:
            await asyncio.sleep(0.03)
            writer.write(b"x")

    run(body())


def test_a_body_that_does_not_come_is_408_and_an_idle_connection_is_closed() -> None:
    async def body() -> None:
        async with a_gateway(FakeReplica(mirror), piece_within=0.1, keep_alive=0.1) as (port, _):
            async with a_client(port) as client:
                client.writer.write(a_request("POST", headers=["Content-Length: 10"]) + b"abc")
                assert (await client.reply()).status == 408
            async with a_client(port) as client:
                assert (await client.ask()).status == 200
                assert await client.reader.read() == b""

    run(body())


def test_a_request_may_not_take_for_ever() -> None:
    async def body() -> None:
        async with a_gateway(FakeReplica(silent), total=0.1) as (port, _), a_client(port) as client:
            reply = await client.ask()
            assert (reply.status, reply.reason()) == (504, "TOTAL_TIMEOUT")

    run(body())


def test_connections_are_capped() -> None:
    async def body() -> None:
        async with a_gateway(FakeReplica(mirror), connections=2) as (port, gateway):
            async with a_client(port) as one, a_client(port) as two:
                for client in (one, two):
                    assert (await client.ask()).status == 200
                async with a_client(port) as third:
                    assert await closed_at_once(third.reader)
            await until(lambda: not gateway.connections)
            async with a_client(port) as again:
                assert (await again.ask()).status == 200

    async def closed_at_once(reader: asyncio.StreamReader) -> bool:
        try:
            return await reader.read() == b""
        except ConnectionResetError:
            return True

    run(body())


# --- TLS, and the end -----------------------------------------------------------------------------------------------


def a_certificate(folder: Path) -> tuple[Path, Path]:
    """The files of a key and of a certificate for the demo host that it has signed itself."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    secret, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, secret.public_key(), 1, now - timedelta(hours=1), now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(secret, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    key.write_bytes(secret.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    certificate.write_bytes(signed.public_bytes(pem))
    return key, certificate


def test_tls_by_a_given_certificate(tmp_path: Path) -> None:
    key, certificate = a_certificate(tmp_path)
    trust = ssl.create_default_context(cafile=certificate)

    async def body() -> None:
        tls = tls_context(certificate, key)
        async with a_gateway(FakeReplica(mirror), tls=tls) as (port, gateway):
            async with a_client(port, ssl=trust, server_hostname=HOST) as client:
                seen = (await client.ask("POST", body=b"x" * 100_000)).seen()
                assert seen.header("x-forwarded-proto") == ["https"]
            async with a_client(port) as plain:
                plain.writer.write(a_request())
                assert not (await plain.reader.read()).startswith(b"HTTP")
            await until(lambda: not gateway.connections)
        async with a_gateway(FakeReplica(mirror), tls=tls, handshake_within=0.3) as (port, gateway):
            async with a_client(port) as mute:
                assert await mute.reader.read() == b""
            await until(lambda: not gateway.connections)

    run(body())
    with pytest.raises(ConfigError):
        tls_context(key, tmp_path / "none.pem")


def test_closing_lets_answers_end_and_cuts_the_rest() -> None:
    gate = asyncio.Event()

    async def late(stream: ByteStream) -> None:
        head = await head_of(stream)
        await (gate.wait() if b"/late" in head else asyncio.sleep(60))
        await stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def body() -> None:
        replica = FakeReplica(late)
        async with (
            a_gateway(replica, grace=2) as (port, gateway),
            a_client(port) as one,
            a_client(port) as two,
        ):
            one.writer.write(a_request(target="/late"))
            two.writer.write(a_request(target="/never"))
            await until(lambda: replica.opened == 2)
            closing = asyncio.create_task(gateway.close())
            await until(lambda: gateway._listener.is_closing)
            gate.set()
            assert (await one.reply()).status == 200
            with contextlib.suppress(ConnectionResetError):
                assert await two.reader.read() == b""
            await closing

    run(body())


def test_a_taken_port_is_one_clear_sentence_and_nothing_stays_open() -> None:
    async def body() -> None:
        replica = FakeReplica(mirror)
        async with a_gateway(replica) as (port, gateway), a_client(port) as client:
            assert (await client.ask()).status == 200
            with pytest.raises(ConfigError, match="in use"):
                gateway.start("127.0.0.1", port)
        before = len(os.listdir("/proc/self/fd"))
        async with a_gateway(replica) as (port, _):
            for _ in range(20):
                async with a_client(port) as client:
                    await client.ask()
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before)

    run(body())
