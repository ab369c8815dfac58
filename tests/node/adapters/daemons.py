"""A Docker Engine of a test's own, in its own network namespace and folders: it may be stopped and killed."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
import pytest

from node.adapters.base_images import RECIPES


class Daemon:
    """`dockerd` under `folder`; it never sees the shared engine's containers, images or bridge.

    Its network namespace is one of its own, or the one at `namespace`, which outlives it.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        runtimes: Mapping[str, Any] | None = None,
        programs: str = "",
        namespace: str = "",
    ) -> None:
        self._outer = namespace
        self._environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
        self.address = f"unix://{folder}/d.sock"
        self.folder = folder
        self._options = options
        self._runtimes = runtimes or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._network: subprocess.Popen[bytes] | None = None
        self.keep_containers(False)

    def keep_containers(self, is_wanted: bool) -> None:
        """Whether containers live through the next end of the engine, once it has read its settings again."""
        settings = {"runtimes": self._runtimes, "live-restore": is_wanted}
        (self.folder / "daemon.json").write_text(json.dumps(settings))

    def start(self) -> None:
        for stale in ("docker.pid", "exec/containerd/containerd.pid"):
            (self.folder / stale).unlink(missing_ok=True)
        options = {"data-root": "data", "exec-root": "exec", "pidfile": "docker.pid"}
        paths = [f"--{name}={self.folder / where}" for name, where in options.items()]
        paths.append(f"--config-file={self.folder / 'daemon.json'}")
        command = [*self._inside(), "dockerd", f"--host={self.address}", *paths, "--bridge=none", *self._options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self._environment
            )
        self._until_it_answers()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def reload(self) -> None:
        """Let the engine read its settings again; over when it answers with them."""
        client = docker.APIClient(self.address, version="auto")
        wanted = json.loads((self.folder / "daemon.json").read_text())["live-restore"]
        os.kill(self.pid, signal.SIGHUP)
        deadline = time.monotonic() + 60
        while client.info()["LiveRestoreEnabled"] != wanted:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        client.close()

    def end(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(60)

    def _inside(self) -> list[str]:
        """How to start a program in the engine's network namespace, which like a machine's outlives the engine."""
        if self._outer:
            return ["nsenter", f"--net={self._outer}"]
        if self._network is None:
            self._network = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
            while os.stat(self._namespace).st_ino == os.stat("/proc/self/ns/net").st_ino:
                time.sleep(0.01)
        return ["nsenter", f"--net={self._namespace}"]

    @property
    def _namespace(self) -> str:
        assert self._network is not None
        return f"/proc/{self._network.pid}/ns/net"

    def load_busybox(self) -> None:
        archive = self.folder / "busybox.tar"
        with archive.open("wb") as target:
            subprocess.run(["sh", str(RECIPES / "busybox" / "rootfs.sh")], stdout=target, check=True)
        client = docker.APIClient(self.address, version="auto")
        client.import_image_from_file(str(archive), repository="busybox", tag="latest")
        client.close()

    def clean(self) -> None:
        """Whatever a killed engine left: its containerd, its containers, and mounts under the folder."""
        if self._process is not None and self._process.poll() is None:
            self.end(signal.SIGTERM)
        if self._network is not None:
            self._network.kill()
            self._network.wait()
        self._end_all(f"{self.folder}/exec")
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((path for path in mounts if path.startswith(str(self.folder))), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end_all(self, words: str) -> None:
        """End the processes that have `words` in their command, and what runs in containers under them first."""
        listed = list(_processes())
        ours = {pid for pid, _, command in listed if words in command}
        for pid in [pid for pid, parent, _ in listed if parent in ours - {pid}] + sorted(ours):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _until_it_answers(self) -> None:
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline:
            with suppress(docker.errors.DockerException):
                client: Any = docker.APIClient(self.address, version="auto")
                client.close()
                return
            time.sleep(0.05)
        pytest.fail((self.folder / "log").read_text()[-2000:])


def _processes() -> Iterator[tuple[int, int, str]]:
    """Each with its parent and its command."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            yield int(process.name), int(parent), (process / "cmdline").read_text()


def need_daemons() -> None:
    """Skip where the tests may not start an engine of their own."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("an engine of the test's own needs root and dockerd")


@contextmanager
def a_daemon(
    folder: Path, *options: str, runtimes: Mapping[str, Any] | None = None, programs: str = ""
) -> Iterator[Daemon]:
    """A running daemon with busybox and without packet rules; skips where the tests may not start one.

    `programs` comes first in its PATH.
    """
    need_daemons()
    folder.mkdir(parents=True)
    daemon = Daemon(folder, *(options or ("--iptables=false",)), runtimes=runtimes, programs=programs)
    try:
        daemon.start()
        daemon.load_busybox()
        yield daemon
    finally:
        daemon.clean()
