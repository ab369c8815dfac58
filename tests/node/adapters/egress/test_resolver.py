"""What a workload is told about names, and which addresses are opened for it before it is told."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from types import SimpleNamespace

import pytest

from market.errors import Unavailable
from market.workloads import Egress
from node.adapters.egress import resolver
from node.adapters.egress.dns import (
    IPV4,
    NO_SUCH_NAME,
    OK,
    SERVER_FAILURE,
    Answer,
    Question,
    read_answer,
    write_query,
)
from node.adapters.egress.resolver import GRACE, LONGEST, RATE, SHORTEST, Resolver, Service
from node.adapters.egress.upstream import NameServers, servers_of
from tests.node.adapters.egress.nameserver import a_name_server

pytestmark = pytest.mark.anyio

WEB = Egress(policy="web")
LIST = Egress(policy="list", hosts=("good.example.org", "rebind.example.org", "half.example.org", "host.example.org"))
KNOWN = {
    "good.example.org": ("93.184.216.34",),
    "other.example.org": ("93.184.216.35",),
    "rebind.example.org": ("169.254.169.254", "10.0.0.1"),
    "half.example.org": ("10.0.0.1", "93.184.216.36"),
    "host.example.org": ("45.33.32.156",),
}


class Names:
    """Names in a dict; whatever was asked is kept."""

    def __init__(self, ttl: int = 30) -> None:
        self.asked: list[str] = []
        self.ttl = ttl
        self.is_away = False

    async def addresses(self, name: str) -> Answer:
        self.asked.append(name)
        if self.is_away:
            raise Unavailable("no name server answers")
        return Answer(OK, KNOWN[name], self.ttl) if name in KNOWN else Answer(NO_SUCH_NAME)


class Stage:
    """A resolver over `Names`, and what it opened."""

    def __init__(self, egress: Egress, ttl: int = 30) -> None:
        self.names = Names(ttl)
        self.opened: list[tuple[tuple[str, ...], int]] = []
        self.can_open = True
        self.resolver = Resolver(egress, self.names, self._open, lambda address: address == "45.33.32.156")

    async def ask(self, name: str, kind: int = IPV4) -> Answer:
        return await self.resolver.answer(Question(1, name, kind, b""))

    async def _open(self, addresses: tuple[str, ...], seconds: int) -> None:
        if not self.can_open:
            raise Unavailable("nft failed")
        self.opened.append((addresses, seconds))


async def test_a_named_host_is_opened_before_it_is_told() -> None:
    stage = Stage(LIST)
    assert await stage.ask("good.example.org") == Answer(OK, ("93.184.216.34",), 30)
    assert stage.opened == [(("93.184.216.34",), 30 + GRACE)]


async def test_an_address_that_could_not_be_opened_is_not_told() -> None:
    stage = Stage(LIST)
    stage.can_open = False
    assert await stage.ask("good.example.org") == Answer(SERVER_FAILURE)
    stage.can_open = True
    assert (await stage.ask("good.example.org")).code == OK


@pytest.mark.parametrize(
    "name", ["other.example.org", "www.good.example.org", "org", "localhost", "good.example.org.x"]
)
async def test_a_host_that_is_not_named_is_not_even_asked_for(name: str) -> None:
    stage = Stage(LIST)
    assert await stage.ask(name) == Answer(NO_SUCH_NAME)
    assert not stage.names.asked
    assert not stage.opened


@pytest.mark.parametrize("egress", [WEB, LIST], ids=["web", "list"])
async def test_a_name_that_points_inwards_does_not_exist(egress: Egress) -> None:
    stage = Stage(egress)
    assert (await stage.ask("rebind.example.org")).code == NO_SUCH_NAME
    assert (await stage.ask("host.example.org")).code == NO_SUCH_NAME
    assert (await stage.ask("half.example.org")).addresses == ("93.184.216.36",)
    assert all(addresses == ("93.184.216.36",) for addresses, _ in stage.opened)


async def test_under_web_every_public_name_is_told_and_nothing_needs_to_be_opened() -> None:
    stage = Stage(WEB)
    assert (await stage.ask("other.example.org")).addresses == ("93.184.216.35",)
    assert (await stage.ask("nowhere.example.org")).code == NO_SUCH_NAME
    assert not stage.opened


async def test_other_kinds_of_records_are_never_passed_on() -> None:
    stage = Stage(WEB)
    assert await stage.ask("good.example.org", kind=28) == Answer(OK)
    assert not stage.names.asked


async def test_an_answer_is_remembered_for_its_time_and_a_failure_is_not() -> None:
    stage = Stage(WEB)
    stage.names.is_away = True
    assert (await stage.ask("good.example.org")).code == SERVER_FAILURE
    stage.names.is_away = False
    assert {(await stage.ask("good.example.org")).addresses for _ in range(3)} == {("93.184.216.34",)}
    assert stage.names.asked == ["good.example.org"] * 2


@pytest.mark.parametrize(("ttl", "told"), [(0, SHORTEST), (2**31 - 1, LONGEST)])
async def test_the_time_of_an_answer_is_bounded(ttl: int, told: int) -> None:
    assert (await Stage(WEB, ttl).ask("good.example.org")).ttl == told


@pytest.fixture
async def client() -> AsyncIterator[socket.socket]:
    """A client of a service on loopback."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.setblocking(False)
    service = Service(Stage(WEB).resolver)
    await service.open(server)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(server.getsockname())
        client.setblocking(False)
        yield client
    service.close()


async def test_noise_does_not_silence_the_service(client: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    for noise in (b"", b"\xff" * 600, b"\0" * 12, write_query(1, "a.b")[:-13]):
        client.send(noise)
    client.send(write_query(8, "good.example.org"))
    assert read_answer(await loop.sock_recv(client, 512), 8, "good.example.org").addresses == ("93.184.216.34",)


async def test_a_flood_of_questions_is_cut(client: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "time", SimpleNamespace(monotonic=lambda: 1000.0))  # all of it in one moment
    answers = 0
    for number in range(4 * RATE):
        client.send(write_query(number, "good.example.org"))
        await asyncio.sleep(0)
    with suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            while await asyncio.get_running_loop().sock_recv(client, 512):
                answers += 1
    assert 0 < answers <= RATE


async def test_the_hosts_name_server_is_asked_and_a_silent_one_passed_over() -> None:
    async with a_name_server(KNOWN) as good, a_name_server({}, is_silent=True) as silent:
        servers = NameServers((silent, good), patience=1.0)
        assert await servers.addresses("half.example.org") == Answer(OK, KNOWN["half.example.org"], 60)
        assert await servers.addresses("nowhere.example.org") == Answer(NO_SUCH_NAME)
        with pytest.raises(Unavailable):
            await NameServers((silent,), patience=0.05).addresses("half.example.org")


def test_the_hosts_settings_name_its_servers() -> None:
    text = "# nameserver 9.9.9.9\nsearch lan\nnameserver 10.0.0.1\nnameserver nonsense\nnameserver ::1\nnameserver\n"
    assert servers_of(text) == (("10.0.0.1", 53), ("::1", 53))
