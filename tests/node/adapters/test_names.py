"""Names of hosts: looked up apart from all other work, each within a time, against a name server that says nothing."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from market.errors import InvalidParameters
from node.adapters.names import Names
from node.adapters.posts import GuardedPosts

pytestmark = pytest.mark.anyio


class Silence:
    """A name server that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = threading.Event()

    def __call__(self, host: str, *_: Any) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        self.answers.wait()
        raise socket.gaierror("no such host")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def silence() -> Iterator[Silence]:
    silence = Silence()
    yield silence
    silence.answers.set()


async def test_a_host_has_its_addresses_each_once() -> None:
    assert "127.0.0.1" in await Names().resolved("localhost", 80)
    assert await Names().resolved("127.0.0.1", 80) == ("127.0.0.1",)
    twice = [(0, 0, 0, "", ("192.0.2.1", 80)), (0, 0, 0, "", ("192.0.2.1", 80)), (0, 0, 0, "", ("192.0.2.2", 80))]
    assert await Names(lambda *_: twice).resolved("two.example", 80) == ("192.0.2.1", "192.0.2.2")


async def test_a_silent_name_server_is_not_waited_for(silence: Silence) -> None:
    names = Names(silence, within=0.05)
    with pytest.raises(TimeoutError):
        await names.resolved("silent.example", 443)
    with pytest.raises(InvalidParameters, match="a host that has an address"):
        await GuardedPosts(resolve=names.resolved).check("https://silent.example/")
    with pytest.raises(InvalidParameters, match="a host that has an address"):
        await GuardedPosts(resolve=names.resolved).post("https://silent.example/", {}, b"{}")


async def test_other_work_goes_on_beside_silent_name_servers_and_what_nobody_waits_for_is_not_asked(
    silence: Silence,
) -> None:
    names = Names(silence, within=60.0, at_once=2)
    asking = [asyncio.create_task(names.resolved(f"h{i}.example", 443)) for i in range(40)]
    async with asyncio.timeout(30):
        while len(silence.asked) < 2:
            await asyncio.sleep(0)
        assert await asyncio.to_thread(lambda: "read") == "read", "files, sign-ins"
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    silence.answers.set()
    with pytest.raises(socket.gaierror):
        await names.resolved("last.example", 443)
    assert sorted(silence.asked) == ["h0.example", "h1.example", "last.example"]
