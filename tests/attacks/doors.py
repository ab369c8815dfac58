"""Abuse of the doors into a running workload, of volumes, and of limits that tenants of one machine might share."""

import asyncio
import io
import os
import tarfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from market.errors import Conflict, InvalidParameters, NeugridError, NotFound, OutputRefused, RateLimited, Refused
from market.workloads import Volume
from node.adapters.docker_engine.insides import why_not
from node.ports import ContainerSpec
from tests.attacks.attack import PRELUDE
from tests.attacks.scenes import ALL, Scene, scene
from tests.attacks.stages import DATA, Workloads
from tests.node.adapters.engines import MIB

SLEEP: Final = ("sleep", "600")


@asynccontextmanager
async def running(stage: Workloads, *command: str, **changes: Any) -> AsyncIterator[ContainerSpec]:
    """A workload that runs while the block lasts."""
    assert not why_not(), why_not()
    spec = stage.spec(*(command or SLEEP), **changes)
    await stage.runtime.start(spec)
    try:
        yield spec
    finally:
        await stage.runtime.stop(spec.name, grace=0)
        await stage.runtime.remove(spec.name)


async def said(stage: Workloads, spec: ContainerSpec, *command: str) -> str:
    """What a command inside says, both outputs, to its end."""
    session = await stage.containers.execute(spec.name, command)
    data = b""
    try:
        await session.close_writing()
        while chunk := await session.read():
            data += chunk
        await session.exit_code()
        return data.decode(errors="replace")
    finally:
        await session.close()


def a_tar(*members: tuple[str, bytes, str]) -> bytes:
    """An archive of (name, kind, target or content)."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.mode = kind, 0o6777
            member.linkname = content if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            body = content.encode() if kind == tarfile.REGTYPE else b""
            member.size, member.devmajor, member.devminor = len(body), 8, 0
            archive.addfile(member, io.BytesIO(body))
    return target.getvalue()


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


# --- commands ------------------------------------------------------------------------------------------------------


@scene("sessions")
async def session_has_no_more_rights(stage: Workloads) -> list[str]:
    async with running(stage) as spec:
        text = await said(
            stage, spec, "sh", "-c", "id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status"
        )
        number, *words = text.split()
        return (
            []
            if [int(number) > 0, *words]
            == [True, "CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1", "Seccomp:", "2"]
            else [text]
        )


@scene("sessions")
async def session_leaves_a_daemon(stage: Workloads) -> list[str]:
    code = "import os, signal, time\nsignal.signal(1, 1)\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0:\n  [os.close(n) for n in (0, 1, 2)]\n  time.sleep(600)\nprint('left')"
    async with running(stage) as spec:
        await said(stage, spec, "python", "-c", code)
        processes = f"/proc/{(await stage.runtime._inspect(spec.name))['State']['Pid']}"
    return ["the daemon outlived its workload"] if Path(processes).exists() else []


@scene("sessions")
async def session_that_is_dropped_in_the_middle(stage: Workloads) -> list[str]:
    async with running(stage) as spec:
        session = await stage.containers.execute(
            spec.name, ["python", "-c", "while True: print('x' * 1000)"], has_terminal=True
        )
        await session.read()
        await session.close()
        return await _left(stage, spec)


@scene("sessions")
async def sessions_without_end(stage: Workloads) -> list[str]:
    async with running(stage) as spec:
        held, was_refused = [], False
        try:
            for _ in range(12):
                held.append(await stage.containers.execute(spec.name, SLEEP))
        except RateLimited:
            was_refused = True
        finally:
            for session in held:
                await session.close()
        return ([] if was_refused else ["twelve sessions at once"]) + await _left(stage, spec)


@scene("sessions")
async def session_floods_and_nobody_reads(stage: Workloads) -> list[str]:
    async with running(stage) as spec:
        session = await stage.containers.execute(spec.name, ["python", "-c", "while True: print('x' * 10000)"])
        await session.read()
        begun = time.monotonic()
        await stage.runtime.stop(spec.name, grace=0)
        took = time.monotonic() - begun
        await session.close()
        return [f"the stop took {took:.1f} s"] if took > 40 else []


@scene("sessions")
async def session_command_that_is_none(stage: Workloads) -> list[str]:
    found = []
    async with running(stage) as spec:
        for command in ([], [""], ["a\0b"], ["x" * 200_000]):
            with suppress(InvalidParameters):
                await stage.containers.execute(spec.name, command)
                found.append(f"a command of {len(command)} words")
    return found


@scene("sessions")
async def session_in_the_container_of_others(stage: Workloads) -> list[str]:
    found = []
    client = stage.client()
    made = client.create_container("busybox:latest", list(SLEEP), name=f"neighbour-{os.getpid()}")
    try:
        client.start(made)
        for name in (f"neighbour-{os.getpid()}", made["Id"], made["Id"][:12], "../containers/x", ".."):
            asks: list[Callable[[str], Any]] = [
                lambda name: stage.containers.execute(name, ["true"]),
                lambda name: stage.containers.dial(name, 80),
                stage.containers.sample,
            ]
            for ask in asks:
                try:
                    await ask(name)
                    found.append(name)
                except Refused as error:
                    found.append(str(error))
                except NeugridError:
                    pass
    finally:
        client.remove_container(made, force=True)
        client.close()
    return found


async def _left(stage: Workloads, spec: ContainerSpec) -> list[str]:
    """What still runs of a command that was closed."""
    for _ in range(300):
        rows = (await stage.runtime._engine.call(lambda client: client.top(spec.name)))["Processes"]
        names = [row[-1] for row in rows if "docker-init" not in row[-1] and "sleep 600" not in row[-1]]
        if not names:
            return []
        await asyncio.sleep(0.1)
    return [f"still runs: {name[:60]}" for name in names]


# --- files ---------------------------------------------------------------------------------------------------------

IN: Final[dict[str, tuple[str, bytes, str]]] = {
    "archive-path-up": ("../../../../../../etc/owned", tarfile.REGTYPE, "x"),
    "archive-path-absolute": ("/etc/owned", tarfile.REGTYPE, "x"),
    "archive-link-out": ("link", tarfile.SYMTYPE, "/etc"),
    "archive-hard-link": ("hard", tarfile.LNKTYPE, "/etc/passwd"),
    "archive-device": ("disk", tarfile.BLKTYPE, ""),
    "archive-set-user-id": ("program", tarfile.REGTYPE, "#!/bin/sh"),
}


def _unpacked(id: str, member: tuple[str, bytes, str]) -> Scene:
    async def play(stage: Workloads) -> list[str]:
        async with running(stage) as spec:
            archive = a_tar(member, ("link/owned", tarfile.REGTYPE, "x"))
            with suppress(Conflict, NotFound):
                await stage.containers.unpack(spec.name, "/tmp", pieces(archive), MIB)
            text = await said(
                stage, spec, "sh", "-c", "ls /etc/owned 2>/dev/null; find /tmp -type b; find /tmp -user 0 -type f"
            )
            return ([text] if text.strip() else []) + [path for path in ("/etc/owned",) if Path(path).exists()]

    return Scene(id=id, group="files", play=play, tiers=ALL)


@scene("files")
async def archive_without_end(stage: Workloads) -> list[str]:
    async def flood() -> AsyncIterator[bytes]:
        while True:
            yield bytes(65536)

    async with running(stage) as spec:
        with suppress(InvalidParameters, Conflict):
            await stage.containers.unpack(spec.name, "/tmp", flood(), 4 * MIB)
            return ["taken"]
        return await _left(stage, spec)


@scene("files")
async def archive_that_fills_the_disk(stage: Workloads) -> list[str]:
    async with running(stage) as spec:
        with suppress(Conflict):
            await stage.containers.unpack(
                spec.name, "/tmp", pieces(a_tar(("x", tarfile.REGTYPE, "x" * 60 * MIB))), 2**30
            )
            return ["taken"]
        return []


@scene("files")
async def files_of_the_kernel_taken_out(stage: Workloads) -> list[str]:
    found = []
    async with running(stage) as spec:
        for path in (
            "/proc/kcore",
            "/dev/zero",
            "/proc/1/root/etc/shadow",
            "/../../etc/shadow",
            "relative",
            "/etc/../root",
            "/x\0y",
        ):
            size = 0
            with suppress(NeugridError):
                async with asyncio.timeout(20):
                    async for chunk in stage.containers.pack(spec.name, path):
                        size += len(chunk)
                        if b"root:$" in chunk or size > 2**20:
                            found.append(path)
                            break
    return found


@scene("files")
async def a_tar_of_the_workloads_own_making(stage: Workloads) -> list[str]:
    """The program `tar` inside is the workload's: what it says is bounded like everything else."""
    fake = "#!/bin/sh\nwhile true; do cat /bin/busybox; done\n"
    async with running(
        stage,
        "sh",
        "-c",
        f"printf '{fake}' >/tmp/tar; chmod 755 /tmp/tar; exec sleep 600",
        env={"PATH": "/tmp:/bin:/usr/bin:/usr/local/bin"},
    ) as spec:
        size = 0
        with suppress(OutputRefused, NotFound, Conflict):
            async with asyncio.timeout(20):
                async for chunk in stage.containers.pack(spec.name, "/tmp"):
                    size += len(chunk)
        return await _left(stage, spec)


# --- volumes -------------------------------------------------------------------------------------------------------


@scene("volumes", "service")
async def volume_of_another_owner(stage: Workloads) -> list[str]:
    async with running(stage, "sh", "-c", "echo secret >/data/x; exec sleep 600", owner="victim") as spec:
        await said(stage, spec, "true")
    found = []
    for owner in ("attacker", "victim\n", "victim\0", "Victim", ""):
        async with running(stage, owner=owner) as spec:
            if "secret" in await said(stage, spec, "sh", "-c", "cat /data/*"):
                found.append(repr(owner))
    return found


@scene("volumes", "service")
async def volume_by_a_clever_split_of_names(stage: Workloads) -> list[str]:
    """Owner and name are joined for a hash: no other split of the same letters is the same volume."""
    ids = [stage.runtime._kept.id_of(*pair) for pair in (("a:b", "c"), ("a", "b:c"), ("a:", "bc"), ("ab", "c"))]
    return [] if len(set(ids)) == len(ids) else ["two volumes are one"]


@scene("volumes", "service")
async def volume_in_two_containers(stage: Workloads) -> list[str]:
    async with running(stage):
        with suppress(Conflict):
            async with running(stage):
                return ["two containers share a volume"]
    return []


@scene("volumes", "service")
async def volume_with_links_to_the_host(stage: Workloads) -> list[str]:
    """The next container of a volume is given all of it: through no link."""
    before = {path: (os.stat(path).st_uid, os.stat(path).st_mode) for path in ("/etc/passwd", "/etc", "/root")}
    script = "cd /data; ln -s /etc/passwd a; ln -s / b; ln -s ../../../../../etc c; mkfifo d; mkdir e; chmod 0 e; touch f; ln f g; exec sleep 600"
    for _ in range(2):
        async with running(stage, "sh", "-c", script, owner="linker") as spec:
            await said(stage, spec, "true")
    after = {path: (os.stat(path).st_uid, os.stat(path).st_mode) for path in before}
    return [path for path in before if before[path] != after[path]]


@scene("volumes", "service")
async def volume_at_a_place_of_the_kernel(stage: Workloads) -> list[str]:
    found = []
    for path in ("/proc", "/proc/sys", "/sys", "/dev", "/dev/shm", "/x/../proc", "//proc", "/", "/data/", "/tmp/./x"):
        spec = stage.spec(*SLEEP, volumes=(Volume(name="data", path=path, size=8 * MIB),))
        with suppress(NeugridError):
            await stage.runtime.start(spec)
            found.append(path)
        await stage.runtime.stop(spec.name, grace=0)
        await stage.runtime.remove(spec.name)
    return found


@scene("volumes", "service")
async def volume_that_grows(stage: Workloads) -> list[str]:
    async with running(stage):
        pass
    with suppress(Conflict):
        async with running(stage, volumes=(Volume(name="data", path=DATA.path, size=2 * DATA.size),)):
            return ["it grew"]
    return []


# --- limits that tenants might share -------------------------------------------------------------------------------

SHARED: Final[dict[str, tuple[str, str]]] = {
    "signals-queued": (
        "signal.pthread_sigmask(0, {40})\nfor _ in range(10**6): call(129, os.getpid(), 40, struct.pack('iiI', 40, 0, 0xffffffff) + bytes(116))",
        "signal.pthread_sigmask(0, {40})\ncall(129, os.getpid(), 40, struct.pack('iiI', 40, 0, 0xffffffff) + bytes(116))",
    ),
    "watches": (
        "kept = []\nwhile True:\n  one = libc.inotify_init()\n  if one < 0: break\n  kept.append(one)",
        "if libc.inotify_init() < 0: raise OSError('no watch is left')",
    ),
    "descriptors-in-flight": (
        "import array\na, b = socket.socketpair()\nwhile True: socket.send_fds(a, [b'x'], [0] * 250)",
        "a, b = socket.socketpair()\nsocket.send_fds(a, [b'x'], [0])",
    ),
    "message-queues": (
        "libc.mq_open.restype = ctypes.c_int\nfor n in range(500):\n  if libc.mq_open(f'/q{n}'.encode(), os.O_CREAT | os.O_RDWR, 0o600, 0) < 0: break",
        "if libc.mq_open(b'/victim', os.O_CREAT | os.O_RDWR, 0o600, 0) < 0: raise OSError('no queue is left')",
    ),
    "requests-of-files": (
        "size = 60000\nwhile size:\n  try: call(206, size, ctypes.byref(ctypes.c_ulong(0)))\n  except OSError as error:\n    if error.errno == errno.ENOSYS: break\n    size //= 2",
        "try: call(206, 128, ctypes.byref(ctypes.c_ulong(0)))\nexcept OSError as error:\n  if error.errno != errno.ENOSYS: raise",
    ),
    "terminals-open": (
        "kept = []\nwhile len(kept) < 4000: kept.append(os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY))",
        "os.close(os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY))",
    ),
    "pipes-of-a-user": (
        "kept = []\nwhile True:\n  kept.append(os.pipe()); fcntl.fcntl(kept[-1][1], 1031, 2**20)",
        "r, w = os.pipe()\nos.set_blocking(w, False)\nif os.write(w, bytes(65536)) < 65536: raise OSError('pipes are small')",
    ),
}


LEFT: Final = {
    "terminals-open": "kernel.pty.max (4096) is the machine's, and no engine limits a container's share of it"
}


def _shared(id: str, greedy: str, modest: str) -> Scene:
    async def play(stage: Workloads) -> list[str]:
        hog = f"{PRELUDE}\ntry:\n{_indented(greedy)}\nexcept (OSError, MemoryError) as error: print(error)\nprint('full', flush=True)\ntime.sleep(600)"
        async with running(stage, "python", "-c", hog, **_alone(stage, "hog")) as spec:
            lines = stage.runtime.logs(spec.name)
            async with asyncio.timeout(60):
                async for line in lines:
                    if line.text == "full":
                        break
            end, heard = await _victim(stage, f"{PRELUDE}\n{modest}\nprint('served')")
        return [] if "served" in heard else [f"a neighbour: {(heard or [end])[-1][:80]}"]

    return Scene(id=id, group="shared limits", play=play, tiers=ALL, left=LEFT.get(id, ""))


async def _victim(stage: Workloads, program: str) -> tuple[str, list[str]]:
    spec = stage.spec("python", "-c", program, **_alone(stage, "victim"))
    await stage.runtime.start(spec)
    try:
        end = await stage.runtime.wait(spec.name)
        return end.reason, [line.text async for line in stage.runtime.logs(spec.name)]
    finally:
        await stage.runtime.remove(spec.name)


def _alone(stage: Workloads, owner: str) -> dict[str, Any]:
    return {"owner": owner} if stage.tier == "service" else {}


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


DOORS: Final = (
    *(found for found in list(globals().values()) if isinstance(found, Scene)),
    *(_unpacked(id, member) for id, member in IN.items()),
    *(_shared(id, greedy, modest) for id, (greedy, modest) in SHARED.items()),
)
