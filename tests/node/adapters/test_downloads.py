"""Downloads: from public addresses alone, and bounded in time, against a real server on this machine."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from market.errors import InvalidParameters
from node.adapters.downloads import GuardedDownloads

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[int]:
    """A web server on loopback that answers each request head by `answer`; its port."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(await reader.readuntil(b"\r\n\r\n"), writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def says(writer: asyncio.StreamWriter, head: str, body: bytes = b"") -> None:
    writer.write(f"HTTP/1.1 {head}\r\nConnection: close\r\n\r\n".encode() + body)
    await writer.drain()


async def to_this_machine(host: str, port: int) -> Sequence[str]:
    return ("127.0.0.1",)


def open_downloads(within: float = 10.0) -> GuardedDownloads:
    """Downloads that may go to this machine, whatever the name."""
    return GuardedDownloads(to_this_machine, lambda address: False, within)


async def fetched(downloads: GuardedDownloads, url: str) -> bytes:
    return b"".join([chunk async for chunk in downloads.fetch(url)])


def test_a_file_comes_as_it_was_sent_from_the_address_that_was_checked() -> None:
    heads = list[bytes]()

    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(head.lower())
        await says(writer, "200 OK\r\nContent-Encoding: gzip", b"\x1f\x8bprogram")

    async def play() -> None:
        async with serving(answer) as port:
            assert await fetched(open_downloads(), f"http://storage.example:{port}/a?b=c") == b"\x1f\x8bprogram"
            assert heads[0].startswith(b"get /a?b=c http/1.1\r\n")
            assert f"host: storage.example:{port}".encode() in heads[0]
            assert b"authorization" not in heads[0]

    asyncio.run(play())


@pytest.mark.parametrize("head", ["302 Found\r\nLocation: http://127.0.0.1/", "404 Not Found", "206 Partial Content"])
def test_anything_but_a_whole_file_is_refused(head: str) -> None:
    async def play() -> None:
        asked = list[bytes]()

        async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
            asked.append(request)
            await says(writer, head)

        async with serving(answer) as port:
            with pytest.raises(InvalidParameters) as caught:
                await fetched(open_downloads(), f"http://storage.example:{port}/")
            assert caught.value.details["field"] == "binary_url"
            assert len(asked) == 1

    asyncio.run(play())


def test_a_file_that_does_not_come_in_time_is_refused() -> None:
    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        await says(writer, "200 OK", b"a")
        await asyncio.Event().wait()

    async def play() -> None:
        async with serving(answer) as port:
            with pytest.raises(InvalidParameters, match="that comes within"):
                await fetched(open_downloads(within=0.2), f"http://storage.example:{port}/")

    asyncio.run(play())


def test_a_connection_that_is_refused_is_the_address_that_does_not_fit() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens there
        url = f"http://storage.example:{taken.getsockname()[1]}/"
        with pytest.raises(InvalidParameters, match="ConnectError"):
            asyncio.run(fetched(open_downloads(), url))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://localhost/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://10.1.2.3/",
        "http://192.168.0.1/", "http://172.16.0.1/", "http://100.64.0.1/", "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/", "http://[fe80::1]/", "http://[64:ff9b::7f00:1]/", "http://0.0.0.0/", "http://0/",
        "http://2130706433/", "http://0x7f000001/", "http://127.1/", "http://224.0.0.1/", "http://255.255.255.255/",
    ],
)  # fmt: skip
def test_an_address_that_is_private_to_somebody_is_refused_however_it_is_written(url: str) -> None:
    with pytest.raises(InvalidParameters):
        asyncio.run(fetched(GuardedDownloads(), url))


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "ftp://example.org/a", "file:///etc/passwd", "http://", "http://user:word@example.org/",
        "//example.org", "http://example.org:25/", "http://example.org:22/",
        "http://example.org:6/", "http://example.org:1023/", "http://example.org:99999/", "http://exa\0mple.org/",
        "http://example.org/" + "a" * 2048,
    ],
)  # fmt: skip
def test_what_is_no_address_of_a_file_is_refused_without_a_look(url: str) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise AssertionError("nobody is to be asked")

    with pytest.raises(InvalidParameters):
        asyncio.run(fetched(GuardedDownloads(resolve), url))


def test_a_name_with_one_private_address_is_refused_and_asked_about_once() -> None:
    asked = list[str]()

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ("93.184.216.34", "127.0.0.1")

    with pytest.raises(InvalidParameters, match="public addresses"):
        asyncio.run(fetched(GuardedDownloads(resolve), "http://rebinding.example/"))
    assert asked == ["rebinding.example"]
