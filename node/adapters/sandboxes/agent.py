"""Process 1 of a sandbox: waits for code on its standard input, compiles it, runs it, and says how that ended.

It is given to the image's own python3 as text and imports nothing of ours. What it says is one line of JSON after the
nonce that came with the code. It is root with hardly a capability; the compiler and the program are two other users,
who can neither signal it nor read its memory or its descriptors, and every phase ends with the death of all processes.
"""

import contextlib
import functools
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

USER = 65000
COMPILER = 65001
BOX = "box"
"""Folder of ours in the scratch space: in it are `code`, which is the compiler's, and `work`, the program's."""
SHARED = "/dev/shm"  # noqa: S108 (the container's own)
CLEANING = 2.0
"""Seconds that removing what a program left may take."""
COUNTERS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
"""Where control groups v2 and v1 count the processes that were killed for memory."""


def main(scratch: str, lifetime: float) -> None:
    """Serve one host until it goes away, or until nobody has come for `lifetime` seconds."""
    agent = Agent(scratch)
    agent.prepare()
    if not select.select([0], [], [], lifetime)[0]:
        return
    first = receive()
    if first is None:
        return
    say(first["nonce"], agent.compile(first))
    while (order := receive()) is not None:
        say(first["nonce"], agent.run(order))


def receive() -> dict[str, Any] | None:
    """The next order: a line with its length, then as many bytes of JSON; None when the host is gone."""
    head = b""
    while not head.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return None
        head += byte
    body = bytearray()
    while len(body) < int(head):
        part = os.read(0, min(int(head) - len(body), 65_536))
        if not part:
            return None
        body += part
    order: dict[str, Any] = json.loads(body)
    return order


def say(nonce: str, word: dict[str, Any]) -> None:
    """One line to the host."""
    line = memoryview((nonce + json.dumps(word, ensure_ascii=False) + "\n").encode(errors="replace"))
    while line:
        line = line[os.write(1, line) :]


def memory_kills() -> int:
    """How many processes of this sandbox were killed for memory so far; -1 when no counter can be read."""
    for path in COUNTERS:
        with contextlib.suppress(OSError, ValueError), open(path) as file:
            for line in file:
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
    return -1


class Agent:
    """What one sandbox does for one piece of code."""

    def __init__(self, scratch: str) -> None:
        self.scratch = scratch
        self.code = os.path.join(scratch, BOX, "code")
        self.work = os.path.join(scratch, BOX, "work")
        self.is_init = os.getpid() == 1
        """Outside of a container (a test) there are no users to become and nobody else's processes to kill."""
        self.told = -1
        self.is_used = False

    def prepare(self) -> None:
        """Make the folders, listen for the ends of children, and tell the host that we wait."""
        os.umask(0o022)
        for folder in (self.code, self.work):
            os.makedirs(folder)
        if self.is_init:
            os.chown(self.code, COMPILER, COMPILER)
            os.chown(self.work, USER, USER)
        self.told, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        say("", {"ready": True, "counts": memory_kills() >= 0})

    def compile(self, order: dict[str, Any]) -> dict[str, Any]:
        """Write the source and compile it; an order without a command only writes."""
        self.write(order["file"], order["code"])
        if not order["command"]:
            return {"skipped": True}
        phase = Phase(self, order, COMPILER)
        ended = phase.execute(order["command"], self.code)
        self.is_used = True
        return ended

    def run(self, order: dict[str, Any]) -> dict[str, Any]:
        """Run the program once; what an earlier run left is removed before."""
        if self.is_used and not self.clean():
            return {"unclean": True}
        self.is_used = True
        return Phase(self, order, USER).execute(order["command"], self.work)

    def write(self, name: str, code: str) -> None:
        """The source; the folder is ours for this moment, since we may not write into another's."""
        if self.is_init:
            os.chown(self.code, 0, 0)
        with open(os.path.join(self.code, name), "w", encoding="utf-8", errors="replace", newline="") as file:
            file.write(code)
        if self.is_init:
            os.chown(self.code, COMPILER, COMPILER)

    def clean(self) -> bool:
        """Remove what the compiler and the program left behind, each as the user who made it."""
        if not self.is_init:
            return self.is_removed(os.getuid(), [self.scratch, self.work])
        shared = [self.scratch, SHARED]
        return self.is_removed(COMPILER, shared) and self.is_removed(USER, [*shared, self.work])

    def is_removed(self, user: int, tops: list[str]) -> bool:
        order = {"seconds": CLEANING, "output": 4096, "stdin": ""}
        box = os.path.join(self.scratch, BOX)
        ended = Phase(self, order, user).supervise(functools.partial(remove_all, tops, user, box))
        return ended["code"] == 0 and not ended["fault"]

    def become(self, user: int) -> None:
        """Be `user` for ever, and the first whom the kernel kills when memory ends."""
        if self.is_init:
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("1000")
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)

    def kill_all(self, child: int) -> None:
        """Kill every process but ourselves, and see them dead; without a helper, for a fork bomb leaves no room."""
        while True:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if self.is_init:
                    os.kill(-1, signal.SIGKILL)
                else:
                    os.killpg(child, signal.SIGKILL)
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return


class Phase:
    """One process with its descendants: its input is fed, its output kept up to a limit, its time measured."""

    def __init__(self, agent: Agent, order: dict[str, Any], user: int) -> None:
        self.agent = agent
        self.order = order
        self.user = user
        self.status: int | None = None
        self.left = memoryview(order["stdin"].encode(errors="replace"))
        self.stdin = -1
        """Our end of the program's input, -1 when it is closed."""
        self.outputs: dict[int, Stream] = {}

    def execute(self, command: list[str], folder: str) -> dict[str, Any]:
        """Run `command` in `folder` to its end or its time limit."""

        def start() -> None:
            os.chdir(folder)
            os.execvpe(command[0], command, self.order["env"])  # noqa: S606 (that is the purpose)

        return self.supervise(start)

    def supervise(self, start: Callable[[], object]) -> dict[str, Any]:
        """Do `start` in a new process, watch it, and clear away whatever it became."""
        inputs, pipes = os.pipe(), [os.pipe() for _ in range(3)]
        kills, begun = memory_kills(), time.monotonic()
        child = os.fork()
        if child == 0:
            self.begin([inputs[0], *(pipe[1] for pipe in pipes)], start)
        for descriptor in (inputs[0], *(pipe[1] for pipe in pipes)):
            os.close(descriptor)
        self.stdin = inputs[1]
        self.outputs = {pipe[0]: Stream(self.order["output"]) for pipe in pipes}
        self.watch(child, begun + self.order["seconds"])
        ended = time.monotonic()
        self.agent.kill_all(child)
        self.close()
        return self.told((ended - begun) * 1000, memory_kills() - kills)

    def begin(self, streams: list[int], start: Callable[[], object]) -> NoReturn:
        """The new process: its streams, its session, its user, and then what it is for.

        The last stream closes when the program begins: only a failure to begin is ever said on it.
        """
        try:
            for number, descriptor in enumerate(streams[:3]):
                os.dup2(descriptor, number)
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            self.agent.become(self.user)
            start()
        except BaseException as error:  # noqa: BLE001  this copy of the agent must end here, whatever it was
            os.write(streams[3], f"{type(error).__name__}: {error}".encode(errors="replace")[:1000])
        finally:
            os._exit(0)

    def watch(self, child: int, deadline: float) -> None:
        """Until the child has ended (its descendants do not count) or its time is over."""
        os.set_blocking(self.stdin, False)
        told = self.agent.told
        while self.status is None and (left := deadline - time.monotonic()) > 0:
            if not self.left:
                self.close_stdin()
            feeding = [] if self.stdin < 0 else [self.stdin]
            readable, writable, _ = select.select([told, *self.reading()], feeding, [], left)
            if writable:
                self.feed()
            for descriptor in readable:
                self.reap(child) if descriptor == told else self.outputs[descriptor].read(descriptor)

    def reading(self) -> list[int]:
        """The streams that have not ended."""
        return [descriptor for descriptor, stream in self.outputs.items() if not stream.is_over]

    def feed(self) -> None:
        """Give the program more of its input, unless it has closed it."""
        try:
            self.left = self.left[os.write(self.stdin, self.left[:65_536]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.close_stdin()

    def close_stdin(self) -> None:
        """No more input."""
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1

    def reap(self, child: int) -> None:
        """Take note of every child that has ended; orphans become ours."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.agent.told, 4096)
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] == child:
                    self.status = found[1]

    def close(self) -> None:
        """Read what was written before the end, which ends since all writers are dead, and close everything."""
        self.close_stdin()
        for descriptor, stream in self.outputs.items():
            while not stream.is_over:
                stream.read(descriptor)
            os.close(descriptor)

    def told(self, milliseconds: float, kills: int) -> dict[str, Any]:
        """What the host is told: `code` is negative for a signal, None for a process that had to be killed."""
        stdout, stderr, fault = self.outputs.values()
        return {
            "code": None if self.status is None else os.waitstatus_to_exitcode(self.status),
            "milliseconds": milliseconds,
            "kills": kills,
            "stdout": stdout.kept.decode(errors="replace"),
            "stderr": stderr.kept.decode(errors="replace"),
            "cut": [stdout.is_cut, stderr.is_cut],
            "fault": fault.kept.decode(errors="replace"),
        }


class Stream:
    """The first `limit` bytes of an output."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.kept = bytearray()
        self.is_cut = False
        self.is_over = False

    def read(self, descriptor: int) -> None:
        """Read what is there, and keep it up to the limit."""
        data = os.read(descriptor, 65_536)
        room = self.limit - len(self.kept)
        self.kept += data[:room]
        self.is_cut |= len(data) > room
        self.is_over = not data


def remove_all(tops: list[str], user: int, spared: str) -> None:
    """Remove whatever `user` has in the folders `tops` but `spared`, however deep it is nested.

    Folders inside of folders are moved up and never walked down: a path may be longer than any system call takes.
    """
    for top in tops:
        if os.stat(top).st_uid == user:
            os.chmod(top, 0o700)
        while found := [entry for entry in os.scandir(top) if is_of(entry, user) and entry.path != spared]:
            for entry in found:
                remove(entry, top)


def is_of(entry: os.DirEntry[str], user: int) -> bool:
    return entry.stat(follow_symlinks=False).st_uid == user


def remove(entry: os.DirEntry[str], top: str) -> None:
    """Remove a file, or a folder whose own folders move up into `top`."""
    if not entry.is_dir(follow_symlinks=False):
        os.unlink(entry.path)
        return
    os.chmod(entry.path, 0o700)
    for inner in list(os.scandir(entry.path)):
        if inner.is_dir(follow_symlinks=False):
            os.chmod(inner.path, 0o700)
            os.rename(inner.path, os.path.join(top, f".removed-{time.monotonic_ns()}"))
        else:
            os.unlink(inner.path)
    os.rmdir(entry.path)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
