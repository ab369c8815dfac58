"""A PostgreSQL server of the tests' own: its own cluster, port and folder, and nothing of it is left at the end."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from cli.cluster import free_port
from cli.workplace import workplace
from node.adapters import postgres
from node.adapters.postgres_places import database_at
from node.migrations import steps

USER: Final = "neugrid"
RECOVERS_WITHIN: Final = 60.0
"""Seconds; after an immediate stop it first syncs its whole folder."""
MIGRATED: Final = "migrated"
"""The database with this program's tables that those of the tests are copies of."""
SETTINGS: Final = Path("/etc/postgresql-common/createcluster.conf")
NO_CLUSTER: Final = "create_main_cluster = false\n"


class Server:
    """One cluster under `folder` that syncs like any other; reached by its Unix socket, or by loopback with a password.

    It runs as a user who is not root, and as a child that the kernel ends with this process.
    """

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder = folder
        self._programs = programs
        self._account = _account()
        self._process: subprocess.Popen[bytes] | None = None
        self.password = secrets.token_hex(8)
        self.port = free_port()

    def make(self) -> None:
        """Make the cluster, whose only user is `neugrid`."""
        self._folder.chmod(0o711)
        inner = self._folder / "pg"
        inner.mkdir(mode=0o700)
        password = inner / "password"
        password.write_text(self.password)
        if self._account:
            for path in (inner, password):
                shutil.chown(path, self._account, self._account)
        words = ("--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--auth-local=trust", "--auth-host=scram-sha-256")
        self._run("initdb", "-D", inner / "data", "-U", USER, f"--pwfile={password}", *words)
        with (inner / "data" / "postgresql.conf").open("a") as settings:
            settings.write(f"port={self.port}\nlisten_addresses='127.0.0.1'\nunix_socket_directories='{inner}'\n")
            settings.write("shared_buffers=32MB\nmax_connections=40\nlog_min_messages=fatal\n")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [self._programs / "postgres", "-D", self._folder / "pg" / "data"]
        guarded = ["setpriv", "--pdeathsig", "INT", *command] if shutil.which("setpriv") else command
        with (self._folder / "log").open("ab") as log:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self._process = subprocess.Popen(guarded, **pipes, **self._as_other())
        place = ("--host", self._folder / "pg", "--port", str(self.port))
        self._run("pg_isready", "--quiet", *place, within=RECOVERS_WITHIN)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT is a fast stop; SIGQUIT an immediate one, after which it must recover."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def url(self, name: str) -> str:
        """The URL of a database, over the Unix socket."""
        return f"postgresql://{USER}@/{name}?host={self._folder / 'pg'}&port={self.port}"

    def loopback_url(self, name: str) -> str:
        """The URL of a database, over loopback: it needs the password."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"

    @contextmanager
    def database(self, template: str = MIGRATED) -> Iterator[str]:
        """The URL of a new database, a copy of `template`; it is gone at the end, whoever still uses it.

        "template0" is an empty one.
        """
        name = f"t_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def execute(self, sql: str, name: str = "postgres") -> list[Any]:
        """Run one statement as the owner of everything."""
        with psycopg.connect(self.url(name), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def _run(self, program: str, *words: object, within: float = 0) -> None:
        """Run a program that must end well, tried again for so many seconds while the server lives."""
        command, deadline = [str(self._programs / program), *map(str, words)], time.monotonic() + within
        while True:
            done = subprocess.run(command, capture_output=True, text=True, **self._as_other())
            if done.returncode == 0:
                return
            if time.monotonic() > deadline or (self._process is not None and self._process.poll() is not None):
                break
        pytest.fail(f"{program}: {done.stdout}{done.stderr}{self._log()}")

    def _log(self) -> str:
        with suppress(OSError):
            return (self._folder / "log").read_text()[-2000:]
        return ""

    def _as_other(self) -> dict[str, Any]:
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        other = {"user": self._account, "group": self._account, "extra_groups": ()} if self._account else {}
        return {**other, "env": environment, "cwd": "/"}


@contextmanager
def a_server() -> Iterator[Server]:
    """A running server; skips where there is none and none can be installed."""
    with workplace("pg") as folder:
        server = Server(folder, programs())
        try:
            server.make()
            server.start()
            server.execute(f"CREATE DATABASE {MIGRATED} TEMPLATE template0")
            steps.upgrade(postgres.engine_over(database_at(server.url(MIGRATED))), MIGRATED)
            yield server
        finally:
            server.stop()


def name_in(url: str) -> str:
    """The name of the database in a URL over the Unix socket."""
    return url.partition("@/")[2].partition("?")[0]


def programs() -> Path:
    """The folder with the server's programs, installed where there are none; skips where that can not be done."""
    return _programs() or _installed()


def _programs() -> Path | None:
    """The folder with the server's programs, which Debian keeps out of PATH; the newest version."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    elsewhere = shutil.which("initdb")
    return Path(elsewhere).resolve().parent if elsewhere else None


def _installed() -> Path:
    """Debian's package, without the cluster that it would make and start."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("no PostgreSQL here, and it can not be installed: that needs root and apt-get")
    _install("postgresql-common")
    before = SETTINGS.read_text() if SETTINGS.exists() else None
    SETTINGS.parent.mkdir(parents=True, exist_ok=True)
    SETTINGS.write_text((before or "") + NO_CLUSTER)
    try:
        _install("postgresql")
    finally:
        SETTINGS.unlink() if before is None else SETTINGS.write_text(before)
    return _programs() or pytest.fail("the package postgresql has no initdb")


def _install(package: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "--no-install-recommends", package]
    for before in (["true"], ["apt-get", "update"]):  # a fresh machine has no lists of packages yet
        subprocess.run(before, capture_output=True, stdin=subprocess.DEVNULL, env=environment)
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment)
        if done.returncode == 0:
            return
    pytest.skip(f"{package} can not be installed: {done.stderr.strip()[-300:]}")


def _account() -> str:
    """The user to run the server as; "" is who we are already: it refuses to run as root."""
    if os.geteuid() != 0:
        return ""
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    pytest.skip("PostgreSQL does not run as root, and there is no other user")
