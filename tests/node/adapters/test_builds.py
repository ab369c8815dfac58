"""Builds on the real engine, of repositories on a real git server: what they give, and that nothing else stays."""

import asyncio
import socket
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest
from msgspec.structs import replace

from market.builds import RESULT, STREAM
from market.errors import NeugridError
from market.units import Bytes, MilliCpu, Seconds
from market.workloads import Egress, Source
from node.adapters.builds.git_image import ensure_git_image
from node.adapters.builds.settings import BuildSettings
from node.adapters.clock import SystemClock
from node.adapters.docker_engine import build_guard
from node.adapters.runtime import DockerRuntime
from node.ports import BuildEnd, BuildSpec, LogLine
from tests.builders import resources
from tests.node.adapters.engines import MIB, a_container, a_node, a_runtime, nothing_left, run, texts, there_are
from tests.node.adapters.repositories import Repositories, a_git_server

pytestmark = [pytest.mark.anyio, pytest.mark.docker]

HELLO = {"Dockerfile": "FROM busybox:latest\nCOPY data /data\nCMD cat /data\n", "data": "hello"}


@pytest.fixture(scope="module")
def git(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repositories]:
    try:
        asyncio.run(ensure_git_image())
    except NeugridError as error:
        pytest.skip(f"no image with git: {error}")
    with a_git_server(tmp_path_factory.mktemp("git") / "server") as server:
        yield server


class Yard:
    """A provider that builds; `lines` are those of the last build."""

    def __init__(self, runtime: DockerRuntime, git: Repositories, folder: Path) -> None:
        self.runtime = runtime
        self.builder = runtime.builder
        self.git = git
        self.store = folder / "store"
        self.lines: list[LogLine] = []
        self.bell = asyncio.Event()
        self.kept: list[str] = []

    def spec(self, url: str, timeout: int = 60, memory: int = 128, disk: int = 64, **source: str) -> BuildSpec:
        amount = resources(cpu=MilliCpu(2000), memory=Bytes(memory * MIB), disk=Bytes(disk * MIB))
        name = f"t{uuid.uuid4().hex[:8]}-a1"
        return BuildSpec(
            name=name,
            lease="t1",
            requester="0x01",
            source=Source(url=url, **source),
            resources=amount,
            timeout=Seconds(timeout),
        )

    async def build(self, spec: BuildSpec) -> BuildEnd:
        self.lines.clear()
        end = await self.builder.build(spec, self.store, self._hear)
        self.kept += [end.image] if end.image else []
        return end

    async def built(self, name: str, files: dict[str, str | bytes], *extra: str, **changes: Any) -> BuildEnd:
        return await self.build(self.spec(self.git.add(name, files, *extra), **changes))

    async def until(self, word: str, stream: str = "stdout") -> None:
        """Until a line with this word was heard on the stream: `STREAM` is where steps are told of."""
        while not any(line.stream == stream and word in line.text for line in self.lines):
            self.bell.clear()
            await self.bell.wait()

    def steps(self) -> list[str]:
        return [line.text for line in self.lines if line.stream == STREAM]

    def _hear(self, line: LogLine) -> None:
        self.lines.append(line)
        self.bell.set()


@pytest.fixture
async def yard(git: Repositories, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Yard]:
    node, folder = a_node(), tmp_path / "volumes"
    client = docker.APIClient(version="auto")
    before = _stray(client)
    settings = BuildSettings(
        private_hosts=(git.listed,), authorities=git.authorities, max_repository=8 * MIB, processes=100
    )
    with nothing_left(node, folder):
        async with a_runtime(node, folder, builds=settings) as runtime:
            yard = Yard(runtime, git, tmp_path)
            yield yard
    for image in yard.kept:
        client.remove_image(image)
    assert _images(client, node) == []
    assert _stray(client) <= before
    assert list(yard.store.glob("*.part")) == []
    client.close()


def _images(client: Any, node: str) -> list[str]:
    found = client.images(all=True, filters={"label": "neugrid.build"})
    return [item["Id"] for item in found if item["Labels"]["neugrid.build"].startswith(node)]


def _stray(client: Any) -> set[str]:
    """Volumes and containers of the classic builder, which bear no name of ours."""
    return {item["Name"] for item in client.volumes()["Volumes"] or () if len(item["Name"]) == 64}


async def test_a_dockerfile_becomes_an_image_that_runs_here_and_elsewhere(yard: Yard, tmp_path: Path) -> None:
    files = HELLO | {".dockerignore": "secret\n", "secret": "x", "sub/Dockerfile.other": "FROM scratch\nCOPY . /\n"}
    files["Dockerfile"] += "RUN test ! -e /secret && echo out; echo err >&2\n"
    spec = yard.spec(yard.git.add("hello", files))
    end = await yard.build(spec)
    assert (end.code, end.message) == ("", "")
    assert ("stdout", "out") in {(line.stream, line.text) for line in yard.lines}
    assert ("stderr", "err") in {(line.stream, line.text) for line in yard.lines}
    assert [text.split(": ", 1)[1] for text in yard.steps() if "begins" in text] == [
        f"clone {spec.source.url}",
        "plan",
        "images",
        "FROM busybox:latest",
        "COPY data /data",
        "CMD cat /data",
        "RUN test ! -e /secret && echo out; echo err >&2",
        "export",
    ]
    assert end.archive is not None
    archive = yard.store / end.archive.digest
    assert (end.archive.path, end.archive.size) == (RESULT, archive.stat().st_size)
    _, lines = await run(
        yard.runtime, a_container(image=(await yard.runtime.ensure_image(end.image, requester=spec.requester)).id)
    )
    assert texts(lines) == ["hello"]
    async with a_runtime(a_node(), tmp_path / "other") as other:
        assert (await other.image_store.load(archive)).id == end.image
        _, lines = await run(other, a_container(image=end.image))
        assert texts(lines) == ["hello"]


async def test_the_same_commit_is_built_once_for_its_requester(yard: Yard) -> None:
    files = HELLO | {"Dockerfile": HELLO["Dockerfile"] + "RUN echo made >/made\n"}
    url = yard.git.add("twice", files)
    first = await yard.build(yard.spec(url))
    assert first.archive is not None
    again = await yard.build(yard.spec(url))
    assert (again.image, again.archive) == (first.image, first.archive)
    assert [text.split(": ", 1)[1] for text in yard.steps() if "begins" in text][-2:] == ["cached", "export"]
    other = await yard.build(replace(yard.spec(url), requester="0x02"))
    assert other.image != first.image, "what others had built is not taken for ours"
    yard.git.commit("twice", "echo more > data")
    newer = await yard.build(yard.spec(url))
    assert newer.image not in ("", first.image)
    yard.kept.remove(again.image)  # it is in there twice


async def test_what_runs_a_built_image_is_no_remains_of_its_build(yard: Yard) -> None:
    end = await yard.built("runs", HELLO | {"Dockerfile": "FROM busybox:latest\nCMD sleep 60\n"})
    running = a_container(image=end.image)
    await yard.runtime.start(running)
    async with next_life(yard) as runtime:
        await runtime.builder.sweep(end.image)
        assert [container.name for container in await runtime.containers() if container.running] == [running.name]


@asynccontextmanager
async def next_life(yard: Yard) -> AsyncIterator[DockerRuntime]:
    """The same node once more, which leaves what runs to the first."""
    settings = yard.runtime._settings
    runtime = DockerRuntime(settings, SystemClock())
    try:
        yield runtime
    finally:
        await runtime.close()


async def test_another_ref_folder_and_dockerfile_may_be_named(yard: Yard) -> None:
    other = (
        "git checkout -q -b other && mkdir -p deep && echo FROM scratch > deep/Build && echo COPY x /x >> deep/Build"
    )
    url = yard.git.add("other", {"x": "1"}, other, "echo 2 > deep/x", "git add -A", "git commit -q -m a", "git tag v1")
    end = await yard.build(yard.spec(url, ref="v1", folder="deep", dockerfile="Build"))
    assert (end.code, end.message) == ("", "")


async def test_a_stage_that_is_not_the_last_leaves_no_image(yard: Yard) -> None:
    first = "FROM busybox:latest AS one\nRUN echo built >/x\nVOLUME /v\nRUN echo a >/v/a\n"
    text = first + "FROM scratch\nCOPY --from=one /x /x\n"
    assert (await yard.built("stages", {"Dockerfile": text})).code == ""


@pytest.mark.parametrize(
    ("name", "files", "says"),
    [
        ("python", {"main.py": "print('by python')", "requirements.txt": "# nothing\n"}, "by python"),
        ("static", {"index.html": "<h1>hello</h1>"}, None),
    ],
)
async def test_a_repository_without_dockerfile_is_built_by_its_recipe(
    yard: Yard, name: str, files: dict[str, str | bytes], says: str | None
) -> None:
    end = await yard.built(f"recipe-{name}", files)
    assert (end.code, end.message) == ("", "")
    assert f"there is no Dockerfile: by the recipe {name}" in texts(yard.lines)
    if says:
        _, lines = await run(yard.runtime, a_container(image=end.image))
        assert texts(lines) == [says]


FAILS = {
    "exits": (
        {"Dockerfile": "FROM busybox:latest\nRUN echo one; echo two >&2; exit 3\nRUN true\n"},
        ("BUILD_FAILED", 3, ("step 5 (RUN echo one", "exit code 3", "one", "two")),
    ),
    "syntax": ({"Dockerfile": "FROM busybox:latest\nRUN [\"a\"\nENV\n"}, ("BUILD_FAILED", 1, ("no instruction",))),
    "engine": ({"Dockerfile": "FROM busybox:latest\nEXPOSE no-port\n"}, ("BUILD_FAILED", 1, ("no-port",))),
    "missing": ({"Dockerfile": "FROM busybox:latest\nCOPY none /\n"}, ("BUILD_FAILED", 1, ("none",))),
    "base": ({"Dockerfile": "FROM neugrid-git:latest\n"}, ("BUILD_FAILED", 1, ("neugrid-git",))),
    "nothing": ({"README": "hello"}, ("BUILD_FAILED", 1, ("no Dockerfile", "package.json"))),
    "ssrf": ({"Dockerfile": "FROM busybox:latest\nADD http://127.0.0.1/x /\n"}, ("BUILD_FAILED", 1, ("ADD takes",))),
    "memory": (
        {"Dockerfile": "FROM busybox:latest\nRUN dd if=/dev/zero of=/dev/null bs=300M count=1\n"},
        ("OUT_OF_MEMORY", 137, ("more memory",)),
    ),
    "large": ({"x": b"\x00", "Dockerfile": "FROM busybox:latest\n"}, ("BUILD_TOO_LARGE", 1, ("larger than",))),
    "network": (
        {"Dockerfile": "FROM busybox:latest\nRUN wget -T 2 http://10.0.0.1/ || exit 9\n"},
        ("BUILD_FAILED", 9, ("exit code 9",)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILS)
async def test_what_fails_says_why_and_leaves_nothing(yard: Yard, name: str) -> None:
    files, (code, exit_code, words) = FAILS[name]
    extra = ("head -c 10000000 /dev/urandom >noise",) if name == "large" else ()
    end = await yard.built(f"fails-{name}", files, *extra)
    assert (end.code, end.exit_code, end.archive) == (code, exit_code, None), end.message
    for word in words:
        assert word in end.message
    assert "failed" in yard.steps()[-1]


async def test_a_step_that_was_over_before_it_was_seen_ran_out_of_memory_all_the_same(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_guard, "LOOK", 30.0)
    files, (code, exit_code, _) = FAILS["memory"]
    end = await yard.built("unseen", files)
    assert (end.code, end.exit_code) == (code, exit_code), end.message


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"url": "https://git.example.org/elsewhere"}, "no host git.example.org"),
        ({"name": "missing"}, "can not be cloned: fatal: repository"),
        ({"name": "hello", "ref": "nowhere"}, "couldn't find remote ref nowhere"),
    ],
)
async def test_a_repository_that_is_none_is_a_clone_that_failed(yard: Yard, source: dict[str, str], words: str) -> None:
    url = source.get("url") or yard.git.url(source["name"])
    end = await yard.build(yard.spec(url, ref=source.get("ref", "")))
    assert end.code == "CLONE_FAILED", end.message
    assert words in end.message


async def test_a_checkout_can_do_nothing_to_the_host_or_to_git(yard: Yard, tmp_path: Path) -> None:
    """Links that lead out, a submodule, LFS pointers and filters, and hooks: all of it is just files."""
    hooks = "mkdir -p hooks && printf '#!/bin/sh\\ntouch /output/hooked' > hooks/post-checkout && chmod +x hooks/*"
    link = "ln -s /etc/passwd passwd && ln -s / root && ln -s ../../../../etc out"
    submodule = f"printf '[submodule \"s\"]\\n path = s\\n url = {tmp_path}/sub.git\\n' > .gitmodules"
    files: dict[str, str | bytes] = {
        ".gitattributes": "*.bin filter=lfs diff=lfs\n",
        "big.bin": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
        "Dockerfile": "FROM busybox:latest\nCOPY . /a\nRUN grep -q git-lfs /a/big.bin && ls /a && [ ! -e /a/.git ]\n",
    }
    end = await yard.built("attack", files, hooks, link, submodule)
    assert (end.code, end.message) == ("", "")
    assert {"passwd", "root", "hooks"} <= set(texts(yard.lines))


async def test_a_dockerfile_that_is_a_link_is_not_followed(yard: Yard) -> None:
    end = await yard.built("link", {"x": "1"}, "ln -s /etc/shadow Dockerfile")
    assert end.code == "BUILD_FAILED"
    assert "plain file" in end.message


async def test_a_step_has_only_so_many_processes(yard: Yard) -> None:
    many = "for n in $(seq 200); do sleep 60 & sleep 0.05; done; echo all"  # it is limited once it was seen
    end = await yard.built("forks", {"Dockerfile": f"FROM busybox:latest\nRUN {many}\n"})
    assert (end.code, "all" in texts(yard.lines)) == ("BUILD_FAILED", False)
    assert "can't fork" in end.message


RAW = """
import fcntl, socket, struct
asked = [fcntl.ioctl(socket.socket(), number, b"eth0" + bytes(28)) for number in (0x8927, 0x8915)]
mac, own = asked[0][18:24], asked[1][20:24]
def send(to, source=own, sender=mac, kind=b"\\x08\\x00", said=0x0800, bypass=0, fragment=0, head=0x45, cooked=0):
    ip = struct.pack("!BBHHHBBH4s4s", head, 0, 28, 1, fragment, 64, 17, 0, source, socket.inet_aton(to))
    packet = ip + struct.pack("!HHHH", 1, 9, 8, 0)
    made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM if cooked else socket.SOCK_RAW, 0)
    made.setsockopt(263, 20, bypass)
    try:
        made.sendto(packet if cooked else b"\\xff" * 6 + sender + kind + packet, ("eth0", said, 0, 0, b"\\xff" * 6))
    except OSError:
        pass
for to in ("10.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1"):
    for bypass in (0, 1):
        for said in (0x0800, 0, 3, 0x0806, 0x86DD):
            send(to, said=said, bypass=bypass)
        send(to, cooked=1, bypass=bypass)
        send(to, kind=b"\\x81\\x00\\x00\\x01\\x08\\x00", said=0x8100, bypass=bypass)
send("8.8.4.4", source=socket.inet_aton("1.2.3.4"))
send("8.8.4.4", sender=b"\\x02" * 6)
send("8.8.4.4", fragment=0x2000)
send("8.8.4.4", head=0x46)
send("8.8.8.8")
print("sent")
"""


async def test_packets_that_a_step_makes_by_itself_keep_to_the_policy(yard: Yard) -> None:
    """A step is root with CAP_NET_RAW: what it writes to the card never passes the rules that bind its connections."""
    if "web" not in await yard.runtime.egress_policies():
        pytest.skip(f"no egress policies here: {await yard.runtime.egress_trouble()}")
    text = "FROM python:3.11-slim\nCOPY raw.py /\nRUN python /raw.py; wget -T 2 http://169.254.169.254/ || echo held\n"
    spec = yard.spec(yard.git.add("raw", {"Dockerfile": text, "raw.py": RAW}), disk=512)
    with sniffed() as seen:
        end = await yard.build(replace(spec, egress=Egress(policy="web")))
    assert (end.code, end.message) == ("", "")
    assert {"sent", "held"} <= set(texts(yard.lines))
    assert seen == {"8.8.8.8"}


SO_RCVBUFFORCE = 33


@contextmanager
def sniffed() -> Iterator[set[str]]:
    """Where packets from bridges' ports go that are UDP to port 9 and not from this machine."""
    seen: set[str] = set()
    over = threading.Event()
    card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    card.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 * MIB)  # none is lost while others have the cores
    card.settimeout(0.1)

    def read() -> None:
        """To the end of what came while the block lasted."""
        last = float("inf")
        while time.monotonic() < last:
            try:
                frame, where = card.recvfrom(2000)
            except TimeoutError:
                if over.is_set():
                    return
                continue
            if where[0].startswith("veth") and b"\x00\x01\x00\x09\x00\x08\x00\x00" in frame[:60]:
                seen.add(socket.inet_ntoa(frame[frame.index(b"\x00\x01\x00\x09") - 4 :][:4]))
            if over.is_set():
                last = min(last, time.monotonic() + 10)

    reading = threading.Thread(target=read)
    reading.start()
    try:
        yield seen
    finally:
        over.set()
        reading.join()
        card.close()


async def test_a_policy_that_steps_can_not_be_held_to_is_refused(yard: Yard) -> None:
    spec = yard.spec(yard.git.add("listed", HELLO))
    end = await yard.build(replace(spec, egress=Egress(policy="list", hosts=("example.org",))))
    assert (end.code, "egress policy" in end.message) == ("BUILD_FAILED", True)


async def test_what_writes_too_much_is_stopped(yard: Yard) -> None:
    text = "FROM busybox:latest\nRUN dd if=/dev/zero of=/x bs=1M count=1500; sleep 30\n"
    end = await yard.built("writes", {"Dockerfile": text})
    assert end.code == "BUILD_TOO_LARGE", end.message


async def test_a_build_has_its_time(yard: Yard) -> None:
    end = await yard.built("slow", {"Dockerfile": "FROM busybox:latest\nRUN echo begun; sleep 60\n"}, timeout=4)
    assert (end.code, end.exit_code) == ("TIMEOUT", -1)
    last = [text.split(": ", 1)[1] for text in yard.steps() if "begins" in text][-1]
    assert f"({last[:120]})" in end.message, "it says how far it came, which is less on a slow machine"


@pytest.mark.parametrize(("moment", "stream"), [("clone", STREAM), ("begun", "stdout")])
async def test_a_cancelled_build_leaves_nothing(yard: Yard, moment: str, stream: str) -> None:
    url = yard.git.add(f"cancel-{moment}", {"Dockerfile": "FROM busybox:latest\nRUN echo begun; sleep 60\n"})
    building = asyncio.create_task(yard.build(yard.spec(url)))
    await yard.until(moment, stream)
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building


async def test_what_a_dead_node_left_is_removed_by_its_next_life(yard: Yard) -> None:
    """Another life of the same node, which knows nothing, sweeps the first build of all that it finds."""
    url = yard.git.add("dead", {"Dockerfile": "FROM busybox:latest\nRUN true\nRUN echo begun; sleep 60\n"})
    building = asyncio.create_task(yard.build(yard.spec(url)))
    await yard.until("begun")
    settings = yard.runtime._settings
    async with next_life(yard) as runtime:
        await runtime.builder.sweep("none")
        client = docker.APIClient(version="auto")
        left = there_are(client, filters={"label": "neugrid.build"})
        assert [item for item in left if item["Labels"]["neugrid.build"].startswith(settings.node)] == []
        client.close()
    assert (await building).code in ("BUILD_FAILED", "INFRASTRUCTURE")
