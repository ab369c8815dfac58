"""The watchdog: a small process that ends the containers of a node that can no longer do it itself.

    python -I -S watchdog.py <engine's socket> <node> <folder>

It runs beside the node, in a session of its own, and survives it. The node writes into `<folder>/deadlines.json` until
when each container may run, and at least every few seconds that it is alive. A container that runs past its deadline is
killed and removed; so is one without a deadline once the node has been silent for longer than a lease lasts. What has
ended by itself is left to the node, which may still owe its results to somebody. Only the standard library is used and
nothing of ours, to stay small; times are those of CLOCK_BOOTTIME in ms, which no clock step reaches.
"""

import contextlib
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

PROTOCOL: Final = 1
"""Of the file; a watchdog that is older than its node gives way to the node's own."""
TICK: Final = 0.5
SILENCE: Final = 30_000
"""A node that wrote nothing for so long is gone; no lease lasts longer without it."""
LOOK_EVERY: Final = 2_000
"""While the node is gone, the engine is asked so often for what runs without a deadline."""
PATIENCE: Final = 10.0
HOPELESS: Final = 3_600_000
"""Alone, and without a word of the engine for so long, it gives up."""
MOST_LOG: Final = 65_536
NODE_LABEL: Final = "neugrid.node"


def main(engine: str, node: str, folder: str) -> None:
    """Watch until there is nothing left to watch; a second one for the same folder ends at once."""
    with contextlib.suppress(BlockingIOError, FileNotFoundError), only_one(folder):
        Watchdog(engine, node, folder).run()


@contextlib.contextmanager
def only_one(folder: str) -> Iterator[None]:
    """Hold the folder's lock, which the kernel gives back whatever happens; BlockingIOError when it is taken."""
    lock = os.open(os.path.join(folder, "watchdog.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)


class Watchdog:
    """What it knows of one node: the last deadlines it was told, and when it last heard of it."""

    def __init__(self, engine: str, node: str, folder: str) -> None:
        self._engine = engine
        self._node = node
        self._folder = folder
        self._deadlines: dict[str, int] = {}
        self._heard = now()
        self._has_left = False
        self._protocol = PROTOCOL
        self._read = (0, 0)
        self._looked = 0
        self._answered = now()

    def run(self) -> None:
        """Tick until the node is gone and nothing of it runs, or until another program is to watch."""
        while self._protocol == PROTOCOL:
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError):  # the next tick asks again
                if self.tick():
                    return
            time.sleep(TICK)

    def tick(self) -> bool:
        """End what is overdue; True when the node is gone and nothing of it runs any more."""
        self.read()
        is_due = any(deadline <= now() for deadline in self._deadlines.values())
        if not is_due and not (self.is_alone() and now() - self._looked > LOOK_EVERY):
            return False
        self._looked = now()
        if self.is_hopeless():
            return True
        running = self.running()
        self._answered = now()
        self.read()  # the node may have come back, or extended a lease, while the engine was asked
        ended = [name for id, name in running.items() if self.is_overdue(name) and self.end(id, name)]
        left = set(running.values()) - set(ended)
        self._deadlines = {name: at for name, at in self._deadlines.items() if at > now() or name in left}
        return self.is_alone() and not left

    def read(self) -> None:
        """Take what the node wrote, if it did; a folder that is gone means that the node will never come back."""
        path = os.path.join(self._folder, "deadlines.json")
        if not os.path.isdir(self._folder):
            self._has_left, self._heard = True, 0
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            found = os.fstat(file.fileno())
            seen = (found.st_mtime_ns, found.st_ino)
            if seen != self._read:
                self._read = seen
                self.hear(json.load(file))

    def hear(self, said: dict[str, Any]) -> None:
        """The node's words, unless they are of another life of this machine."""
        if said["boot"] == boot_id():
            self._deadlines = {str(name): int(at) for name, at in said["deadlines"].items()}
            self._heard = min(now(), int(said["beat"]))
            self._has_left, self._protocol = bool(said["leaving"]), int(said["protocol"])

    def is_alone(self) -> bool:
        """Whether the node said farewell, or has been silent for too long."""
        return self._has_left or now() - self._heard > SILENCE

    def is_hopeless(self) -> bool:
        """Whether nobody is left to talk to: the node and its folder are gone, and with them the engine's socket."""
        is_dismantled = not os.path.isdir(self._folder) and not os.path.exists(self._engine)
        return self.is_alone() and (is_dismantled or now() - self._answered > HOPELESS)

    def is_overdue(self, name: str) -> bool:
        """Whether the container may run no longer: past its deadline, or without one and without a node."""
        return now() > self._deadlines.get(name, self._heard + SILENCE)

    def running(self) -> dict[str, str]:
        """Ids and names of the node's containers that run."""
        filters = json.dumps({"label": [f"{NODE_LABEL}={self._node}"]})
        escaped = "".join(f"%{byte:02X}" for byte in filters.encode())
        status, body = self.ask("GET", f"/containers/json?filters={escaped}")
        if status != 200:
            raise OSError(f"the engine answered {status}")
        return {item["Id"]: (item["Names"] or [""])[0].lstrip("/") for item in json.loads(body)}

    def end(self, id: str, name: str) -> bool:
        """Kill and remove by id, so that a container that took the name meanwhile is spared; whether it is gone."""
        try:
            status, _ = self.ask("DELETE", f"/containers/{id}?force=1&v=1")
        except OSError as error:
            self.note(f"{name} ran past its time, and the engine does not answer: {error}")
            return False
        self.note(f"{name} ran past its time: removed ({status})")
        return status in (204, 404)

    def ask(self, method: str, path: str) -> tuple[int, bytes]:
        """One question over the engine's socket; HTTP/1.0, so that the answer ends with the connection."""
        with socket.socket(socket.AF_UNIX) as talk:
            talk.settimeout(PATIENCE)
            talk.connect(self._engine)
            talk.sendall(f"{method} {path} HTTP/1.0\r\nHost: engine\r\n\r\n".encode())
            answer = b"".join(iter(lambda: talk.recv(65_536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split(None, 2)[1]), body

    def note(self, text: str) -> None:
        """A line in a log of its own, which never grows large."""
        path = os.path.join(self._folder, "watchdog.log")
        with contextlib.suppress(OSError), open(path, "a") as log:
            if log.tell() > MOST_LOG:
                log.truncate(0)
            log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n")


def now() -> int:
    """Milliseconds since the machine was started, its sleep included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def boot_id() -> str:
    """Which life of the machine this is: times of another one say nothing."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def words(deadlines: dict[str, int], leaving: bool = False) -> dict[str, Any]:
    """What a node writes: it is alive now, or leaves, and its containers may run until their deadlines."""
    return {"protocol": PROTOCOL, "boot": boot_id(), "beat": now(), "leaving": leaving, "deadlines": deadlines}


if __name__ == "__main__":
    main(*sys.argv[1:])
