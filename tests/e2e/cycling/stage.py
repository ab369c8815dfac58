"""The market that is killed: a requester and two providers, processes all of them, and one engine for both."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import docker
import httpx

from cli.client import Client
from cli.cluster import Cluster
from market.errors import NeugridError
from node.adapters import sqlite
from node.adapters.storage import SqlReader
from node.ports import Reader
from tests.e2e.cycling.processes import network_process, processes
from tests.node.adapters.daemons import Daemon

T = TypeVar("T")
BUYER = "requester"


class Stage:
    """The market and its engine; everything that is started is started again by hand, as an init system would."""

    def __init__(self, folder: Path, daemon: Daemon, languages: tuple[str, ...]) -> None:
        self.daemon = daemon
        self.cluster = Cluster(folder / "market", languages=languages)

    @property
    def nodes(self) -> tuple[str, ...]:
        return (BUYER, *self.cluster.providers)

    def start(self) -> None:
        os.environ["DOCKER_HOST"] = self.daemon.address
        self.cluster.start()

    def end(self) -> None:
        """A polite end of the nodes; the engine stays, to be looked at."""
        self.cluster.stop()

    def folder(self, name: str) -> Path:
        return self.cluster.folder / name

    def identity(self, provider: str) -> str:
        return str(self.cluster.made[provider].identity)

    # --- the requester's API ---

    @contextlib.contextmanager
    def buyer(self) -> Iterator[Client]:
        contact = self.cluster.contact(BUYER)
        with Client(contact.url, contact.key) as client:
            yield client

    def ask(self, method: str, path: str, **parts: Any) -> Any:
        """What the requester's API answers; it may be in its start."""
        contact = self.cluster.contact(BUYER)
        answer = httpx.request(
            method, contact.url + path, headers={"X-API-Key": contact.key, **parts.pop("headers", {})},
            timeout=60, **parts,
        )  # fmt: skip
        answer.raise_for_status()
        return answer.json()

    def patient(self, ask: Callable[[], T], within: float = 120) -> T:
        """What `ask` says, once nothing keeps it from saying it."""
        end = time.monotonic() + within
        while True:
            try:
                return ask()
            except (NeugridError, httpx.HTTPError, OSError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    # --- books ---

    @contextlib.contextmanager
    def books(self, name: str) -> Iterator[Reader]:
        """What a node has stored, read beside it."""
        connection = sqlite.open_reader(self.folder(name) / "node.db")
        try:
            yield SqlReader(connection, sqlite.statements())
        finally:
            connection.close()

    @contextlib.contextmanager
    def engine(self) -> Iterator[Any]:
        client = docker.APIClient(self.daemon.address, version="auto")
        try:
            yield client
        finally:
            client.close()

    # --- parts that may die ---

    def watchdog(self, provider: str) -> int:
        """The process id of a provider's watchdog, 0 when there is none now."""
        words = f"{self.folder(provider)}/watchdog"
        return next((one.pid for one in processes() if words in one.command and "watchdog.py" in one.command), 0)

    def network(self, name: str) -> int:
        process = self.cluster.processes.get(name)
        return network_process(process.pid) if process else 0

    def kill_process(self, pid: int) -> None:
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
