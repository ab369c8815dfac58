"""Server-side request forgery: a hundred ways to name what is private, for posts and downloads alike; a trap gets none.

The trap listens on loopback at a port; every name below leads there, or to what is private elsewhere, if it leads
anywhere at all. Only addresses of this machine are ever connected to: what would be another's is refused before.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from market.errors import InvalidParameters, Unavailable
from node.adapters.downloads import GuardedDownloads
from node.adapters.egress.host import KERNEL, own_networks, own_networks6
from node.adapters.names import Names
from node.adapters.outside import Closed
from node.adapters.posts import GuardedPosts

pytestmark = pytest.mark.anyio
Answer = Callable[[bytes], bytes]

HOSTS = (
    # this machine
    "localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.0.0.2", "127.1", "127.0.1", "127.255.255.254",
    "2130706433", "017700000001", "0x7f000001", "0x7f.0.0.1", "0x7f.1", "0177.0.0.1", "0177.0.0.01", "127.0.0.1.",
    "0", "0.0.0.0", "0x0", "00.0.0.0", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460", "\uff11\uff12\uff17.0.0.1",
    "127\u30020\u30020\u30021", "127\uff0e0\uff0e0\uff0e1", "\u24dbocalhost",
    "loc%61lhost", "[::1%25lo]",
    # networks of others
    "10.0.0.1", "10.255.255.255", "10.1", "0xa000001", "167772161", "172.16.0.1", "172.31.255.255", "192.168.0.1",
    "192.168.1.254", "0xc0a80001", "3232235521", "100.64.0.1", "100.127.255.254", "169.254.0.1", "192.0.0.1",
    "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1",
    "239.255.255.255", "240.0.0.1", "255.255.255.255", "0.1.2.3",
    # clouds
    "169.254.169.254", "169.254.170.2", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "[::ffff:169.254.169.254]",
    "[::169.254.169.254]", "[64:ff9b::169.254.169.254]", "[2002:a9fe:a9fe::]", "[fd00:ec2::254]", "168.63.129.16",
    "100.100.100.200", "[::ffff:a9fe:a9fe]",
    # IPv6 that is nobody's, or a house's
    "[fe80::1]", "[fec0::1]", "[fc00::1]", "[fd12:3456:789a::1]", "[ff02::1]", "[ff0e::1]", "[2001:db8::1]",
    "[100::1]", "[::2]", "[::ffff:10.0.0.1]", "[::ffff:192.168.0.1]", "[::10.0.0.1]", "[64:ff9b:1::1]",
    "[64:ff9b::10.0.0.1]", "[2002:a00:1::]", "[2002:c0a8:1::]", "[2001::1]", "[5f00::1]", "[::ffff:0:127.0.0.1]",
)  # fmt: skip
SHAPES = (
    "https://user@{trap}/", "https://user:secret@{trap}/", "https://example.com@{trap}/", "https://{trap}@example.com/",
    "http://{trap}/", "ftp://{trap}/", "gopher://{trap}/_GET", "file:///etc/passwd", "file://{trap}/etc/passwd",
    "dict://{trap}/", "ldap://{trap}/", "data:text/plain,x", "javascript:alert(1)", "unix:///var/run/docker.sock",
    "//{trap}/", "/relative", "https://", "https:///", "https:{trap}", "https:\\\\{trap}\\", "ht tps://{trap}/",
    "https://{trap}\\@example.com/", "https://exa mple.com/", "https://[::1", "https://:80/", "https://example.com:0/",
    "https://example.com:65536/", "https://example.com:25/", "https://example.com:-1/", "https://example.com:port/",
    "https://a" + "." * 3 + "b/", "https://" + "a" * 3000 + "/", "https://\x00/", "https://exam\nple.com/", "", " ",
)  # fmt: skip


def a_kernel(folder: Path) -> Path:
    """The tables of a host whose addresses are public ones: 51.15.0.7/24 and 2a01:4f8:1:2::3/64."""
    lines = ["Iface Destination Gateway", "eth0 00000F33 00000000 0001 0 0 0 00FFFFFF 0 0 0"]
    (folder / "route").write_text("\n".join(lines) + "\n")
    (folder / "fib_trie").write_text("Main:\n  |-- 51.15.0.7\n     /32 host LOCAL\n")
    (folder / "if_inet6").write_text("2a0104f8000100020000000000000003 02 40 00 80     eth0\n")
    return folder


class Trap:
    """A server that must never be asked."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") -> None:
        self.asked: list[bytes] = []
        self.port = 0
        self._answer = answer

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Trap"]:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.asked.append(await reader.read(4096))
            writer.write(self._answer)
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        async with server:
            self.port = server.sockets[0].getsockname()[1]
            yield self


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def urls(port: int) -> list[str]:
    trap = f"127.0.0.1:{port}"
    named = [f"{scheme}://{host}:{port}/" for host in HOSTS for scheme in ("https", "http")]
    return named + [shape.format(trap=trap) for shape in SHAPES]


async def no_names(host: str, port: int) -> Sequence[str]:
    """Addresses and the names of this machine are resolved as ever; other names are not asked for."""
    if "example" in host:
        raise OSError("no such host")
    return await Names().resolved(host, port)


async def downloaded(url: str) -> None:
    async for _ in GuardedDownloads(no_names).fetch(url):
        pass


async def test_a_hundred_names_of_what_is_private_are_refused_and_the_trap_hears_nothing() -> None:
    async with Trap().open() as trap:
        tried = urls(trap.port)
        for url in tried:
            for work in (GuardedPosts(resolve=no_names).post(url, {}, b"{}"), downloaded(url)):
                with pytest.raises(InvalidParameters):
                    await work
        assert trap.asked == []
    assert len(HOSTS) + len(SHAPES) >= 100
    assert len(set(tried)) >= 200


async def test_a_name_with_one_private_address_among_public_ones_is_refused() -> None:
    async def mixed(host: str, port: int) -> Sequence[str]:
        return ("93.184.216.34", "127.0.0.1")

    with pytest.raises(InvalidParameters):
        await GuardedPosts(resolve=mixed).post("https://rebind.example/", {}, b"{}")


@pytest.mark.parametrize(
    "address", ["51.15.0.7", "51.15.0.1", "51.15.0.255", "2a01:4f8:1:2::3", "2a01:4f8:1:2:ffff::1"]
)
async def test_the_nodes_own_public_addresses_and_its_neighbours_are_refused(address: str, tmp_path: Path) -> None:
    is_closed = Closed(a_kernel(tmp_path))

    async def named(host: str, port: int) -> Sequence[str]:
        return ("93.184.216.34", address)

    for port in (80, 443, 8080):
        with pytest.raises(InvalidParameters, match="public addresses"):
            await GuardedPosts(resolve=named, is_closed=is_closed).check(f"https://own.example:{port}/")
        with pytest.raises(InvalidParameters, match="public addresses"):
            await anext(GuardedDownloads(named, is_closed).fetch(f"http://own.example:{port}/"))


async def test_public_addresses_of_others_are_open_beside_them(tmp_path: Path) -> None:
    is_closed = Closed(a_kernel(tmp_path))
    for address in ("51.15.1.7", "93.184.216.34", "2a01:4f8:1:3::3"):
        assert not is_closed(address)
    assert is_closed("127.0.0.1")
    assert not Closed(tmp_path / "none")("51.15.0.7"), "a system that does not tell"


def test_the_hosts_own_networks_are_asked_of_the_real_kernel() -> None:
    assert own_networks6(KERNEL) == tuple(sorted(own_networks6(KERNEL)))
    assert Closed()(own_networks()[0].partition("/")[0])


@pytest.mark.parametrize("port", [1, 21, 22, 23, 25, 53, 110, 143, 465, 587, 993, 1023])
async def test_ports_of_other_services_than_the_web_are_refused(port: int) -> None:
    with pytest.raises(InvalidParameters, match="web server"):
        await GuardedPosts().check(f"https://93.184.216.34:{port}/")
    with pytest.raises(InvalidParameters, match="web server"):
        await GuardedPosts(is_open=True).check(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("port", [80, 443, 1024, 3000, 8443, 65535])
async def test_ports_of_the_web_and_of_users_programs_are_open(port: int) -> None:
    await GuardedPosts().check(f"https://93.184.216.34:{port}/")


async def test_the_address_that_was_checked_is_the_one_that_is_asked() -> None:
    answers = [("127.0.0.1",), ("10.0.0.1",)]

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    async with Trap().open() as trap:
        posts = GuardedPosts(is_open=True, resolve=rebinding)
        status = await posts.post(f"http://rebind.example:{trap.port}/a?b=c", {"webhook-id": "m"}, b"{}")
    [asked] = trap.asked
    assert (status, len(answers)) == (200, 1), "it is resolved once"
    assert f"host: rebind.example:{trap.port}".encode() in asked.lower()
    assert b"authorization" not in asked.lower()


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
async def test_nobody_is_followed_elsewhere(status: str) -> None:
    async with Trap().open() as trap:
        head = f"HTTP/1.1 {status}\r\nLocation: http://127.0.0.1:{trap.port}/\r\nContent-Length: 0\r\nConnection: close"
        async with Trap(f"{head}\r\n\r\n".encode()).open() as first:
            posts = GuardedPosts(is_open=True)
            assert await posts.post(f"http://127.0.0.1:{first.port}/", {}, b"{}") == int(status[:3])
        assert trap.asked == []


async def test_a_server_that_says_nothing_is_not_waited_for() -> None:
    async with Trap(b"").open() as trap:
        with pytest.raises(Unavailable):
            await GuardedPosts(is_open=True, within=0.5).post(f"http://127.0.0.1:{trap.port}/", {}, b"{}")


async def test_what_certificates_are_held_against_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read, real = [], httpx.create_ssl_context

    def reading(**settings: bool) -> ssl.SSLContext:
        read.append(settings)
        return real(**settings)

    monkeypatch.setattr(httpx, "create_ssl_context", reading)
    async with Trap().open() as trap:
        posts = GuardedPosts(is_open=True)
        for _ in range(2):
            await posts.post(f"http://127.0.0.1:{trap.port}/", {}, b"{}")
    assert (len(trap.asked), read) == (2, [{"trust_env": False}])


async def test_plain_http_is_for_the_operators_own_programs() -> None:
    with pytest.raises(InvalidParameters):
        await GuardedPosts(resolve=no_names).check("http://93.184.216.34/")
    await GuardedPosts().check("https://93.184.216.34/")
    await GuardedPosts(is_open=True).check("http://127.0.0.1/")
    assert httpx.URL("https://93.184.216.34/").host == "93.184.216.34"
