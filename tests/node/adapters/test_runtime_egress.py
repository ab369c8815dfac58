"""Where workloads get to, in an internet of the test's own in which every address answers."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from market.errors import ImageNotFound, InvalidParameters
from market.workloads import Egress
from node.adapters.docker_engine import outlets as outlets_of_node
from node.adapters.docker_engine.outlets import PREFIX
from node.adapters.egress import namespace
from node.adapters.egress.dns import write_query
from node.adapters.egress.rules import Limits
from node.adapters.runtime import DockerRuntime
from node.ports import ContainerSpec
from tests.node.adapters.egress.internet import HOST, Internet, an_internet
from tests.node.adapters.egress.nameserver import a_name_server
from tests.node.adapters.egress.targets import OUTSIDE, PUBLIC, Target, answered, attempt
from tests.node.adapters.engines import PYTHON, a_container, a_node, a_runtime, nothing_left, python, run, texts

pytestmark = [pytest.mark.anyio, pytest.mark.docker]

WEB = Egress(policy="web")
LIST = Egress(policy="list", hosts=("named.example.org", "rebind.example.org"))
KNOWN = {
    "named.example.org": (PUBLIC,),
    "other.example.org": ("151.101.1.69",),
    "rebind.example.org": ("169.254.169.254", "10.0.0.1"),
    "host.example.org": (HOST[2],),
}
PATIENT = 50.0
"""Seconds for those that answer, which nobody waits for in vain."""
ALLOWED: list[Target] = [("tcp", PUBLIC, 80), ("tcp", PUBLIC, 443), ("tcp", "151.101.1.69", 443), ("udp", PUBLIC, 123)]


@pytest.fixture(scope="module")
def internet(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    with an_internet(tmp_path_factory.mktemp("internet")) as internet:
        yield internet


@pytest.fixture(scope="module")
def clean(internet: Internet) -> tuple[list[str], str]:
    """What the provider's host holds before any test."""
    return held(internet)


@pytest.fixture
async def names(anyio_backend: str) -> AsyncIterator[tuple[str, int]]:
    async with a_name_server(KNOWN) as server:
        yield server


@pytest.fixture
async def runtime(
    internet: Internet, clean: tuple[list[str], str], names: tuple[str, int], tmp_path: Path
) -> AsyncIterator[DockerRuntime]:
    node, folder = a_node(), tmp_path / "volumes"
    with nothing_left(node, folder, internet.engine.address):
        async with a_provider(internet, names, node, folder) as runtime:
            internet.forget()
            yield runtime
    deadline = time.monotonic() + 30
    while held(internet) != clean and time.monotonic() < deadline:  # the kernel takes cards away behind the engine
        await asyncio.sleep(0.1)
    assert held(internet) == clean


def a_provider(internet: Internet, names: tuple[str, int], node: str, folder: Path, **changes: object):  # type: ignore[no-untyped-def]
    given = {"address": internet.engine.address, "kernel": internet.kernel, "nameservers": (names,)} | changes
    return a_runtime(node, folder, **given)


def held(internet: Internet) -> tuple[list[str], str]:
    """Interfaces and tables of the provider's host."""
    links = sorted(line.split(":")[1].split("@")[0] for line in internet.on_host("ip", "-o", "link").splitlines())
    return [name for name in links if "veth" in name or "br-" in name], internet.on_host("nft", "list", "tables")


async def tried(runtime: DockerRuntime, egress: Egress, targets: list[Target], seconds: float = 2.0) -> set[Target]:
    """Which of the targets a workload reached; it waits for `seconds`, unless all have answered before."""
    end, lines = await run(runtime, a_container(*attempt(targets, seconds), image=PYTHON, egress=egress))
    assert end.code == 0, texts(lines)
    return answered(texts(lines)[-1])


async def test_without_a_policy_all_of_these_places_answer(internet: Internet, runtime: DockerRuntime) -> None:
    """The proof that the next tests could fail: an ordinary container reaches everything."""
    client = internet.client()
    with a_published_port(internet) as other:
        wanted = [*OUTSIDE, *ALLOWED, ("tcp", other, 80)]
        wanted += [("tcp", address, port) for address in HOST for port in (80, 8080)]
        config = client.create_host_config(network_mode="published")
        made = client.create_container(PYTHON, list(attempt(wanted, PATIENT)), host_config=config)
        client.start(made)
        client.wait(made)
        assert answered(client.logs(made).decode()) == set(wanted)
        client.remove_container(made)
    client.close()
    assert len(OUTSIDE) >= 40


@pytest.mark.parametrize("egress", [Egress(), WEB, LIST], ids=["none", "web", "list"])
async def test_no_forbidden_place_is_reached(internet: Internet, runtime: DockerRuntime, egress: Egress) -> None:
    neighbour = await a_neighbour(runtime)
    gateway = str(IPv4Network(f"{neighbour}/24", strict=False)[1])
    with a_published_port(internet) as other:
        near = [("tcp", address, port) for address in (*HOST, gateway) for port in (80, 8080)]
        near += [("tcp", neighbour, 80), ("tcp", other, 80)]
        assert await tried(runtime, egress, [*OUTSIDE, *near]) == set()
    assert internet.reached("rest") == []
    assert internet.reached("host") == []


@pytest.mark.parametrize(
    ("egress", "expected"), [(Egress(), []), (WEB, ALLOWED), (LIST, [])], ids=["none", "web", "list"]
)
async def test_the_public_internet_is_open_to_web_alone(
    runtime: DockerRuntime, egress: Egress, expected: list[Target]
) -> None:
    assert await tried(runtime, egress, ALLOWED, PATIENT if expected else 2.0) == set(expected)


RESOLVE = """
import json, socket, sys
def tried(name):
    try:
        found = sorted({item[4][0] for item in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)})
        with socket.create_connection((found[0], 80), 20) as connection:
            return [found, connection.recv(9).decode()]
    except socket.gaierror:
        return []
    except OSError as error:
        return [found, error.errno]
print(json.dumps([tried(name) for name in sys.argv[1:]]))
"""


async def resolved(runtime: DockerRuntime, egress: Egress, *names: str) -> list[object]:
    """What a workload got for each name: its addresses and what answered there; nothing where there is no such name."""
    _, lines = await run(runtime, a_container("python", "-c", RESOLVE, *names, image=PYTHON, egress=egress))
    found: list[object] = json.loads(texts(lines)[-1])
    return found


async def test_under_a_list_only_the_named_host_resolves_and_is_reached(
    internet: Internet, runtime: DockerRuntime
) -> None:
    names = ("named.example.org", "other.example.org", "www.named.example.org", "rebind.example.org")
    assert await resolved(runtime, LIST, *names) == [[[PUBLIC], "rest"], [], [], []]
    assert internet.reached() == [f"tcp {PUBLIC} 80"]


async def test_under_web_names_resolve_unless_they_point_inwards(internet: Internet, runtime: DockerRuntime) -> None:
    names = ("named.example.org", "other.example.org", "rebind.example.org", "host.example.org", "nowhere.example.org")
    found = await resolved(runtime, WEB, *names)
    assert found == [[[PUBLIC], "rest"], [["151.101.1.69"], "rest"], [], [], []]


async def test_a_workload_asks_no_other_name_server_than_ours(internet: Internet, runtime: DockerRuntime) -> None:
    targets = [("udp", address, 53) for address in ("8.8.8.8", "10.0.0.1", HOST[0], "127.0.0.11")]
    assert await tried(runtime, WEB, targets) == set()
    code = f"import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto({QUERY!r}, ('8.8.8.8', 53))"
    _, lines = await run(runtime, python(f"{code}; print(list(s.recv(512)[-4:]))", egress=WEB))
    assert texts(lines) == [str([int(part) for part in PUBLIC.split(".")])]
    assert internet.reached() == []
    settings = "grep -v '^nameserver 127.0.0.11$' /etc/resolv.conf"
    _, lines = await run(runtime, a_container("sh", "-c", settings, egress=WEB))
    assert [line for line in texts(lines) if not line.startswith(("options", "#", "search ."))] == []


INSIDE = """
import os, socket, struct
def refused(action):
    try:
        action()
        return False
    except OSError:
        return True
def rules(number):
    netfilter = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    netfilter.send(struct.pack("=LHHLLBBH", 20, 10 << 8 | number, 1, 1, 0, 1, 0, 0))
    answer = netfilter.recv(4096)
    return struct.unpack_from("=i", answer, 16)[0] == -1
def source_routed(hop):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.settimeout(1)
    one.setsockopt(socket.IPPROTO_IP, 4, bytes([131, 7, 4]) + socket.inet_aton(hop) + bytes([0]))
    one.sendto(b"?", ("10.0.0.1", 123))
    one.recv(9)
print(refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)))
print(refused(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)))
print(rules(1), rules(2))
print(refused(lambda: socket.socket().setsockopt(socket.SOL_SOCKET, 36, 1)))
def answers_at(kind, address, port):
    one = socket.socket(socket.AF_INET, kind)
    one.settimeout(1)
    one.connect((address, port))
    one.send(QUERY)
    one.recv(512)
def engines_own(file):
    lines = [line.split() for line in open(file)]
    (port,) = [int(line[1].split(":")[1], 16) for line in lines if line[1].startswith("0B00007F:")]
    return port
print(refused(lambda: answers_at(socket.SOCK_DGRAM, "127.0.0.11", engines_own("/proc/net/udp"))))
print(refused(lambda: answers_at(socket.SOCK_STREAM, "127.0.0.11", engines_own("/proc/net/tcp"))))
print(refused(lambda: source_routed("93.184.216.34")))
print(refused(lambda: source_routed("51.15.0.1")))
print(refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(("127.0.0.1", 53))))
print(os.system("ip address add 10.66.0.9/24 dev eth0 2>/dev/null") != 0)
print(os.system("ip link set eth0 down 2>/dev/null || ip route add 10.0.0.0/8 dev eth0 2>/dev/null") != 0)
"""


async def test_the_rules_can_neither_be_read_nor_changed_nor_passed_by_from_inside(
    internet: Internet, runtime: DockerRuntime
) -> None:
    _, lines = await run(runtime, python(f"QUERY = {QUERY!r}{INSIDE}", egress=WEB))
    assert texts(lines) == ["True", "True", "True True", *["True"] * 8]
    assert internet.reached() == []


async def test_a_question_that_is_forced_out_of_the_interface_does_not_reach_the_hosts_loopback(
    internet: Internet, runtime: DockerRuntime
) -> None:
    """Engines without user-land proxy let their bridges route to loopback addresses."""
    code = """
import socket
for port, address in ((53, "8.8.8.8"), (53, "127.0.0.1"), (80, "127.0.0.1")):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    one.settimeout(1)
    try:
        one.sendto(b"?", (address, port))
        print(one.recv(9))
    except OSError as error:
        print("nothing")
"""
    internet.on_host("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
    _, lines = await run(runtime, python(code, egress=WEB))
    internet.on_host("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=0")
    assert texts(lines) == ["nothing"] * 3
    assert internet.reached("host") == internet.reached("rest") == []


async def test_new_connections_are_rationed(internet: Internet, runtime: DockerRuntime) -> None:
    targets = [("tcp", f"93.184.{number}.34", 80) for number in range(200)]
    began = time.monotonic()
    reached = await tried(runtime, WEB, targets, 4.0)
    assert 40 <= len(reached) <= 40 + 20 * (time.monotonic() - began)


async def test_connections_at_one_time_are_counted(runtime: DockerRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets_of_node, "Limits", partial(Limits, connections=10))
    targets = [("tcp", f"93.184.{number}.34", 80) for number in range(30)]
    assert len(await tried(runtime, WEB, targets, PATIENT)) == 10


async def test_nothing_comes_in_that_was_not_asked_for(internet: Internet, runtime: DockerRuntime) -> None:
    code = """
import socket
waiting = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
waiting.bind(("0.0.0.0", 9))
waiting.settimeout(2)
print("ready", flush=True)
print(waiting.recv(9))
"""
    spec = python(code, egress=WEB)
    await runtime.start(spec)
    lines = runtime.logs(spec.name)
    assert (await anext(lines)).text == "ready"
    send = "import socket, sys; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'in', (sys.argv[1], 9))"
    internet.on_host(sys.executable, "-I", "-c", send, await bridge_address(runtime, spec))
    assert (await runtime.wait(spec.name)).code == 1
    assert "TimeoutError" in [line.text async for line in lines][-1]


async def test_the_workloads_own_loopback_is_its_own(runtime: DockerRuntime) -> None:
    code = """
import socket
listening = socket.create_server(("0.0.0.0", 8000))
for address in ("127.0.0.1", socket.gethostbyname(socket.gethostname())):
    socket.create_connection((address, 8000), 1).close()
    print("reached")
"""
    _, lines = await run(runtime, python(code, egress=LIST))
    assert texts(lines) == ["reached", "reached"]


async def test_a_host_that_gets_another_address_keeps_it_closed(internet: Internet, runtime: DockerRuntime) -> None:
    spec = a_container("sleep", "60", image=PYTHON, egress=WEB)
    await runtime.start(spec)
    target = [("tcp", "45.33.32.200", 80)]
    assert await inside(internet, spec, target, PATIENT) == set(target)
    internet.on_host("ip", "address", "add", "45.33.32.200/32", "dev", "lo")
    try:
        await runtime._outlets.refresh()
        assert await inside(internet, spec, target) == set()
    finally:
        internet.on_host("ip", "address", "del", "45.33.32.200/32", "dev", "lo")


async def test_a_bandwidth_is_kept(internet: Internet, names: tuple[str, int], tmp_path: Path) -> None:
    node, folder = a_node(), tmp_path / "volumes"
    code = f"""
import socket
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.connect(({PUBLIC!r}, 123))
one.send(b"x")
one.recv(9)
for _ in range(1000):
    one.send(b"x" * 1000)
"""
    with nothing_left(node, folder, internet.engine.address):
        async with a_provider(internet, names, node, folder, bandwidth=10_000) as runtime:
            internet.forget()
            await run(runtime, python(code, egress=WEB))
            assert 50 < len(internet.reached()) < 200


async def test_a_restarted_node_answers_its_workloads_again(
    internet: Internet, names: tuple[str, int], tmp_path: Path
) -> None:
    node, folder = a_node(), tmp_path / "volumes"
    asking = a_container("python", "-c", RESOLVE_AT_LAST, image=PYTHON, egress=LIST)
    with nothing_left(node, folder, internet.engine.address):
        async with a_provider(internet, names, node, folder) as before:
            orphan = a_container("true", egress=WEB)
            await before._outlets.open(orphan)
            await before._outlets.let_go()  # the node dies: a lease runs, another was about to start
            await before.start(asking)
            await before._outlets.let_go()
            async with a_provider(internet, names, node, folder) as after:
                await after.prepare()
                await after.start(asking)
                assert {container.name for container in await after.containers()} == {asking.name}
                assert len(outlets(internet, node)) == 1
                assert (await after.wait(asking.name)).code == 0


async def test_a_node_without_workloads_takes_its_bridge_away(
    internet: Internet, names: tuple[str, int], tmp_path: Path
) -> None:
    node, folder = a_node(), tmp_path / "volumes"
    with nothing_left(node, folder, internet.engine.address):
        async with a_provider(internet, names, node, folder) as dead:
            await dead._outlets.open(a_container("true", egress=WEB))
            await dead._outlets.let_go()
            async with a_provider(internet, names, node, folder) as after:
                await after.prepare()
                assert outlets(internet, node) == []
                assert not await after._outlets._bridge._found()


async def test_a_start_that_fails_leaves_no_outlet(internet: Internet, runtime: DockerRuntime) -> None:
    with pytest.raises(ImageNotFound):
        await runtime.start(a_container("true", image="127.0.0.1:9/none:1", egress=WEB))
    assert outlets(internet, runtime._settings.node) == []


async def test_a_machine_that_can_not_hold_a_policy_refuses_it(
    runtime: DockerRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namespace, "PATH", "/nonexistent")
    assert await runtime.egress_policies() == ("none",)
    assert "nft" in await runtime.egress_trouble()
    with pytest.raises(InvalidParameters, match="nft is not installed"):
        await runtime.start(a_container("true", egress=WEB))
    end, _ = await run(runtime, a_container("true"))
    assert end.code == 0
    monkeypatch.undo()
    assert await runtime.egress_policies() == ("none", "web", "list")


async def test_a_sandbox_that_sends_packets_by_itself_is_not_let_out(runtime: DockerRuntime) -> None:
    with pytest.raises(InvalidParameters, match="gVisor"):
        await runtime.start(a_container("true", egress=WEB, isolation="gvisor"))


QUERY = write_query(7, "named.example.org")
SERVE = """
import socket
listening = socket.create_server(("0.0.0.0", 80))
print("ready", flush=True)
while True:
    connection, _ = listening.accept()
    connection.send(b"neighbour")
    connection.close()
"""
RESOLVE_AT_LAST = """
import socket
while True:
    try:
        socket.create_connection(("named.example.org", 80), 1).recv(9)
        break
    except OSError:
        pass
"""


async def a_neighbour(runtime: DockerRuntime) -> str:
    """The address of another workload on the same bridge, which listens on port 80."""
    spec = python(SERVE, egress=WEB)
    await runtime.start(spec)
    lines = runtime.logs(spec.name)
    assert (await anext(lines)).text == "ready"
    await lines.aclose()  # type: ignore[attr-defined]
    return await bridge_address(runtime, spec)


async def bridge_address(runtime: DockerRuntime, spec: ContainerSpec) -> str:
    found = await runtime._inspect(PREFIX + spec.name)
    return str(next(iter(found["NetworkSettings"]["Networks"].values()))["IPAddress"])


async def inside(internet: Internet, spec: ContainerSpec, targets: list[Target], seconds: float = 2.0) -> set[Target]:
    """Which targets a running workload reaches now."""
    client = internet.client()
    made = client.exec_create(spec.name, list(attempt(targets, seconds)))
    said = await asyncio.to_thread(client.exec_start, made)
    client.close()
    return answered(said.decode())


def outlets(internet: Internet, node: str) -> list[str]:
    client = internet.client()
    listed = client.containers(all=True, filters={"label": [f"neugrid.node={node}", "neugrid.egress"]})
    client.close()
    return [item["Names"][0] for item in listed]


@contextmanager
def a_published_port(internet: Internet) -> Iterator[str]:
    """A container of somebody else that the engine publishes on port 8080 of the host; its own address."""
    client = internet.client()
    network = client.create_network("published")
    config = client.create_host_config(network_mode="published", port_bindings={80: 8080})
    made = client.create_container(PYTHON, ["python", "-c", SERVE], ports=[80], host_config=config)
    try:
        client.start(made)
        next(client.logs(made, stream=True))
        networks = client.inspect_container(made)["NetworkSettings"]["Networks"]
        yield networks["published"]["IPAddress"]
    finally:
        client.remove_container(made, force=True)
        client.remove_network(network["Id"])
        client.close()
