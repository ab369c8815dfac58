"""What the gateway takes for a request: everything that two servers might read differently is refused."""

import pytest

from node.proxy.heads import parsed
from node.proxy.limits import ProxyLimits
from node.proxy.refusals import Refusal
from tests.node.proxy.services import HOST, FakeReplica, a_client, a_gateway, mirror, run

LIMITS = ProxyLimits()
START = b"POST / HTTP/1.1\r\nHost: demo.localhost\r\n"
SMUGGLING = {
    "length and coding": START + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "coding and length": START + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG",
    "two lengths": START + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "two equal lengths": START + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": START + b"Content-Length: 3, 3\r\n\r\nabc",
    "a signed length": START + b"Content-Length: +3\r\n\r\nabc",
    "a negative length": START + b"Content-Length: -3\r\n\r\nabc",
    "a hexadecimal length": START + b"Content-Length: 0x3\r\n\r\nabc",
    "a length of spaces": START + b"Content-Length: 3 3\r\n\r\nabc",
    "an empty length": START + b"Content-Length:\r\n\r\n",
    "an endless length": START + b"Content-Length: 99999999999999999999\r\n\r\n",
    "another coding": START + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": START + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two codings": START + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a coding behind a tab inside": START + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": START + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded header": START + b"X: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded coding": START + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a header that begins with a space": b"POST / HTTP/1.1\r\n Host: demo.localhost\r\n\r\n",
    "a bare line feed": START + b"X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare carriage return": START + b"X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "line feeds alone, then an empty line": b"POST / HTTP/1.1\nHost: demo.localhost\r\n\r\n",
    "a zero byte": START + b"X: a\x00b\r\n\r\n",
    "a header without colon": START + b"Nonsense\r\n\r\n",
    "an empty name": START + b": x\r\n\r\n",
    "a name with a bracket": START + b"Content[Length: 3\r\n\r\nabc",
    "two hosts": START + b"Host: other.localhost\r\n\r\n",
    "no host": b"POST / HTTP/1.1\r\n\r\n",
    "an empty host": b"POST / HTTP/1.1\r\nHost:\r\n\r\n",
    "a list of hosts": b"POST / HTTP/1.1\r\nHost: demo.localhost, evil\r\n\r\n",
    "a host with a path": b"POST / HTTP/1.1\r\nHost: demo.localhost/evil\r\n\r\n",
    "a host with a user": b"POST / HTTP/1.1\r\nHost: x@demo.localhost\r\n\r\n",
    "another host in the target": b"POST http://evil/ HTTP/1.1\r\nHost: demo.localhost\r\n\r\n",
    "a target without scheme": b"POST demo.localhost/ HTTP/1.1\r\nHost: demo.localhost\r\n\r\n",
    "a target with two slashes": b"POST //evil/ HTTP/1.1\r\nHost: demo.localhost\r\n\r\n",
    "a target with a space": b"POST /a b HTTP/1.1\r\nHost: demo.localhost\r\n\r\n",
    "two spaces": b"POST  / HTTP/1.1\r\nHost: demo.localhost\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: demo.localhost\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nHost: demo.localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an empty line first": b"\r\nGET / HTTP/1.1\r\nHost: demo.localhost\r\n\r\n",
    "a length that the connection takes away": START + b"Connection: content-length\r\nContent-Length: 3\r\n\r\nabc",
    "an upgrade with a body": START + b"Connection: upgrade\r\nUpgrade: tea\r\nContent-Length: 3\r\n\r\nabc",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}
BODIES = {
    "a size that is no number": b"x\r\nabc\r\n0\r\n\r\n",
    "a signed size": b"+3\r\nabc\r\n0\r\n\r\n",
    "a size with 0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "a piece longer than its size": b"3\r\nabcdef\r\n0\r\n\r\n",
    "a piece behind a line feed alone": b"3\nabc\r\n0\r\n\r\n",
    "an endless size": b"f" * 40 + b"\r\nabc\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", SMUGGLING)
def test_a_request_that_can_be_read_in_two_ways_is_refused_and_nothing_reaches_the_service(name: str) -> None:
    async def body() -> None:
        replica = FakeReplica(mirror)
        async with a_gateway(replica) as (port, _), a_client(port) as client:
            client.writer.write(SMUGGLING[name] + b"GET /smuggled HTTP/1.1\r\nHost: demo.localhost\r\n\r\n")
            reply = await client.reply()
            assert (reply.status, reply.reason()) == (400, "BAD_REQUEST")
            assert await client.reader.read() == b""
            assert replica.opened == 0

    run(body())


@pytest.mark.parametrize("name", BODIES)
def test_chunks_that_can_be_read_in_two_ways_are_refused(name: str) -> None:
    async def body() -> None:
        async with a_gateway(FakeReplica(mirror)) as (port, _), a_client(port) as client:
            client.writer.write(START + b"Transfer-Encoding: chunked\r\n\r\n" + BODIES[name])
            assert (await client.reply()).status == 400
            assert await client.reader.read() == b""

    run(body())


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"CONNECT demo.localhost:22 HTTP/1.1\r\nHost: demo.localhost\r\n\r\n", "METHOD_NOT_ALLOWED"),
        (b"TRACE / HTTP/1.1\r\nHost: demo.localhost\r\n\r\n", "METHOD_NOT_ALLOWED"),
        (START + b"Expect: a miracle\r\n\r\n", "EXPECTATION_FAILED"),
        (START + b"X: 1\r\n" * 200 + b"\r\n", "HEAD_TOO_LARGE"),
    ],
)
def test_other_refusals_have_reasons_of_their_own(head: bytes, reason: str) -> None:
    with pytest.raises(Refusal) as caught:
        parsed(head, LIMITS)
    assert caught.value.reason == reason


def test_a_head_without_end_is_refused_when_it_is_too_large() -> None:
    async def body() -> None:
        async with a_gateway(FakeReplica(mirror), head=10_000) as (port, _), a_client(port) as client:
            client.writer.write(START + b"X: " + b"x" * 20_000)
            reply = await client.reply()
            assert (reply.status, reply.reason()) == (431, "HEAD_TOO_LARGE")

    run(body())


def test_an_absolute_target_of_the_same_host_becomes_a_path() -> None:
    head = parsed(b"GET http://Demo.localhost:80/a?b HTTP/1.1\r\nHost: demo.localhost:80\r\n\r\n", LIMITS)
    assert (head.target, head.host, head.path) == ("/a?b", HOST, "/a")


@pytest.mark.parametrize("host", ["demo.localhost", "DEMO.localhost.:8080", "[::1]:80", "127.0.0.1", "a_b.localhost"])
def test_hosts_that_are_names_or_addresses_are_taken(host: str) -> None:
    assert parsed(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), LIMITS).authority == host
