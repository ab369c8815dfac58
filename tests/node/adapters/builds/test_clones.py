"""Where repositories are cloned from, what comes through to a clone, and what git's words mean."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from market.errors import Refused
from market.workloads import Source
from node.adapters.builds.clone import environment, refusal_of
from node.adapters.builds.hosts import Place, RepositoryHosts
from node.adapters.builds.relay import Relay

pytestmark = pytest.mark.anyio

URL = "https://git.example.org:8443/team/app"


@pytest.mark.parametrize("listed", ["git.example.org:8443=127.0.0.1", "git.example.org:8443=10.0.0.7"])
async def test_a_private_host_is_cloned_from_where_the_operator_lists_it(listed: str) -> None:
    place = await RepositoryHosts((listed,)).place_of(URL)
    assert (place.host, place.port, place.address) == ("git.example.org", 8443, listed.partition("=")[2])


async def test_a_listed_name_may_be_private_by_the_hosts_own_settings() -> None:
    assert (await RepositoryHosts(("localhost:9443",)).place_of("https://localhost:9443/a")).address == "127.0.0.1"


@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://localhost/a",
            "https://127.0.0.1/a",
            "https://127.1/a",
            "https://10.0.0.1/a",
            "https://2130706433/a",
        ),
        *("https://169.254.169.254/latest", "https://100.64.0.1/a", "https://192.0.2.1/a", "https://0x7f000001/a"),
        *("https://localhost:9443/a", "https://8.8.8.8:25/a"),
    ],
)
async def test_no_other_private_place_is(url: str) -> None:
    with pytest.raises(Refused) as refused:
        await RepositoryHosts(("localhost:9444", "git.example.org=10.0.0.1")).place_of(url)
    assert refused.value.details["codes"] == ("PRIVATE_HOST",)


async def test_a_name_that_nobody_knows_is_no_host() -> None:
    with pytest.raises(Refused) as refused:
        await RepositoryHosts().place_of("https://nowhere.invalid/a")
    assert refused.value.details["codes"] == ("NO_SUCH_HOST",)


@asynccontextmanager
async def a_relay(answer: bytes, limit: int) -> AsyncIterator[tuple[Relay, int]]:
    """A relay to a server that answers each line; and its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    listening = socket.create_server(("127.0.0.1", 0))
    relay = Relay(Place("git.example.org", port, "127.0.0.1"), limit)
    await relay.open(listening)
    try:
        yield relay, listening.getsockname()[1]
    finally:
        await relay.close()
        server.close()


async def asked(port: int) -> bytes:
    """What comes back, b"" also where the connection is refused or cut."""
    found = b""
    with contextlib.suppress(ConnectionError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"?\n")
        writer.write_eof()
        while chunk := await reader.read(65_536):
            found += chunk
        writer.close()
    return found


async def test_what_is_asked_and_answered_passes() -> None:
    async with a_relay(b"answer" * 1000, 10_000) as (relay, port):
        assert await asked(port) == b"answer" * 1000
        assert (relay.is_connected, relay.is_exhausted) == (True, False)


async def test_no_more_comes_than_may_come_over_all_connections() -> None:
    async with a_relay(b"x" * 6000, 10_000) as (relay, port):
        assert len(await asked(port)) == 6000
        assert len(await asked(port)) < 6000
        assert relay.is_exhausted
        assert await asked(port) == b""


async def test_a_place_that_does_not_answer_ends_the_connection() -> None:
    async with a_relay(b"", 10) as (_, port):
        relay = Relay(Place("git.example.org", 1, "127.0.0.1"), 10)
        listening = socket.create_server(("127.0.0.1", 0))
        await relay.open(listening)
        assert await asked(listening.getsockname()[1]) == b""
        assert not relay.is_connected
        await relay.close()
        assert port


def test_git_is_asked_nothing_by_settings_of_others() -> None:
    env = environment(Source(url=URL, ref="main"), Place("git.example.org", 8443, "10.0.0.7"), "PEM")
    assert (env["REPO_URL"], env["REPO_REF"], env["REPO_PORT"]) == (URL, "main", "8443")
    assert (env["GIT_ALLOW_PROTOCOL"], env["GIT_CONFIG_NOSYSTEM"], env["GIT_TERMINAL_PROMPT"]) == ("https", "1", "0")
    assert "10.0.0.7" not in env.values()


@pytest.mark.parametrize(
    ("code", "reason", "lines", "is_exhausted", "expected"),
    [
        (128, "exited", ["remote: hello", "fatal: repository not found"], False, "CLONE_FAILED"),
        (128, "exited", [], False, "CLONE_FAILED"),
        (137, "timeout", [], False, "CLONE_FAILED"),
        (137, "oom", [], False, "OUT_OF_MEMORY"),
        (128, "exited", ["fatal: write error: No space left on device"], False, "BUILD_TOO_LARGE"),
        (128, "exited", ["fatal: early EOF"], True, "BUILD_TOO_LARGE"),
    ],
)
def test_a_clone_fails_by_its_reason(
    code: int, reason: str, lines: list[str], is_exhausted: bool, expected: str
) -> None:
    refusal = refusal_of(code, reason, lines, is_exhausted, 1000)
    assert refusal.code == expected
    if lines and expected == "CLONE_FAILED":
        assert "fatal: repository not found" in refusal.message
