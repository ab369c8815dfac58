"""`neugrid dev`: a market in one terminal that invites, works, and leaves nothing behind, however it ends."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(400)]

SLEEPER = "job submit --image busybox --max-price 0.01 --timeout 5m -- sleep 300"


NODES: set[str] = set()
"""The identities of all providers that ran here: what is labelled with another one belongs to somebody else."""


class Terminal:
    """`neugrid dev` as it runs, and what it said."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.said = ""

    def __enter__(self) -> "Terminal":
        self.invitation()
        for key in Path(tempfile.gettempdir()).glob("neugrid-dev-*/provider-*/keys/node.json"):
            NODES.add(f"0x{json.loads(key.read_text())['address'].removeprefix('0x')}")
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()

    def invitation(self) -> None:
        """Read on until the market is up."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if line.startswith("Ctrl-C"):
                return
        pytest.fail(f"it ended:\n{self.said}")

    @property
    def exported(self) -> dict[str, str]:
        found = re.search(r"export (NEUGRID_URL)=(\S+) (NEUGRID_KEY)=(\S+)", self.said)
        assert found, self.said
        return {found[1]: found[2], found[3]: found[4]}

    @property
    def commands(self) -> list[str]:
        return re.findall(r"^  (\S*neugrid .*)$", self.said, re.MULTILINE)

    def type(self, command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in another terminal, as it is printed."""
        return subprocess.run(
            command,
            shell=True,
            capture_output=True,
            text=True,
            timeout=100,
            env=os.environ | self.exported,
            check=False,
        )


@pytest.fixture(scope="module", autouse=True)
def place() -> Iterator[str]:
    """Temporary folders of our own: no other program that begins meanwhile sweeps what a killed market left."""
    folder = tempfile.mkdtemp(prefix="dev-")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", folder)
        patch.setenv("TMPDIR", folder)
        yield folder
    left = os.listdir(folder)
    shutil.rmtree(folder)
    assert left == []


@pytest.fixture
def terminal(images: None) -> Iterator[Terminal]:
    with nothing_left(), a_terminal() as terminal:
        yield terminal


@contextmanager
def a_terminal() -> Iterator[Terminal]:
    command = [sys.executable, "-u", "-m", "cli.main", "dev"]
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, **options) as process, Terminal(process) as terminal:
        yield terminal


def test_the_printed_commands_work_and_ctrl_c_leaves_nothing(terminal: Terminal) -> None:
    assert len(terminal.commands) == 3
    # It invites after a while, whether or not both have looked their machine over.
    until(lambda: terminal.type(terminal.commands[0]).stdout.count("prov_") == 2, "both offers", 100)
    done = [terminal.type(command) for command in terminal.commands]
    assert [item.returncode for item in done] == [0, 0, 0], done
    assert done[0].stdout.count("prov_") == 2
    assert done[1].stdout == "hello\n"
    assert "100.0" in done[2].stdout or "99.0" in done[2].stdout
    assert ended_by(terminal, signal.SIGINT) == 0


def test_ctrl_c_ends_it_while_it_starts(images: None) -> None:
    with nothing_left():
        command = [sys.executable, "-u", "-m", "cli.main", "dev"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout is not None
            assert "keys made" in process.stdout.readline()
            assert ended_by(Terminal(process), signal.SIGINT) == 0


def test_a_killed_one_leaves_no_process_the_next_sweeps_and_sigterm_ends_it_at_work(images: None) -> None:
    with nothing_left():
        with a_terminal() as killed:
            run_a_sleeper(killed)
            children = descendants(killed.process.pid)
            dogs = set(filter(is_watchdog, children))
            killed.process.kill()
            killed.process.wait()
            until(lambda: not [pid for pid in children - dogs if is_alive(pid)], "the end of all processes", 60)
            assert containers(), "the sleeper's container outlives its market, until its lease is over"
            assert any(map(is_alive, dogs)), "its watchdog sees to that"
        with a_terminal() as following:
            until(lambda: not any("-a1" in name for name in containers()), lambda: f"no sleeper in {states()}", 60)
            until(lambda: not any(map(is_alive, dogs)), "the end of the watchdog, with nothing left to watch", 60)
            assert len(folders()) == 1
            run_a_sleeper(following)
            assert ended_by(following, signal.SIGTERM) == 0


def run_a_sleeper(terminal: Terminal) -> None:
    program = terminal.commands[0].removesuffix(" providers")
    id = terminal.type(f"{program} {SLEEPER}").stdout.strip()
    until(lambda: "running" in terminal.type(f"{program} job show {id}").stdout, "a running job", 100)


def ended_by(terminal: Terminal, number: signal.Signals) -> int:
    """The exit code after a signal; nothing may hang, however busy the machine is."""
    terminal.process.send_signal(number)
    return terminal.process.wait(100)


@contextmanager
def nothing_left() -> Iterator[None]:
    """At the end there are the same folders, devices and networks as before, no process, and nothing of our nodes."""
    before, mine = traces(), descendants(os.getpid())
    yield
    deadline = time.monotonic() + 60
    while traces() != before and time.monotonic() < deadline:  # a node that is slow to end is killed in the end:
        time.sleep(0.1)  # its sandboxes and its watchdog go by themselves then
    assert traces() == before
    assert not [pid for pid in descendants(os.getpid()) - mine if is_alive(pid)]


def traces() -> dict[str, Any]:
    client = docker.APIClient(version="auto")
    networks = {item["Name"] for item in client.networks() if "neugrid" in item["Name"]}
    labels = [{"label": f"neugrid.node={node}"} for node in NODES]
    volumes = {item["Name"] for label in labels for item in client.volumes(filters=label)["Volumes"] or ()}
    client.close()
    loops = subprocess.run(["losetup", "--list"], capture_output=True, text=True, check=False).stdout
    return {
        "containers": containers(),
        "networks": networks,
        "volumes": volumes,
        "folders": folders(),
        "devices": [line for line in loops.splitlines() if "neugrid-dev" in line],
    }


def containers() -> set[str]:
    """The names of all containers of our nodes."""
    client = docker.APIClient(version="auto")
    labels = [{"label": f"neugrid.node={node}"} for node in NODES]
    found = {name for label in labels for item in client.containers(all=True, filters=label) for name in item["Names"]}
    client.close()
    return found


def states() -> list[str]:
    """What the engine says of all containers of anybody's nodes."""
    client = docker.APIClient(version="auto")
    found = client.containers(all=True, filters={"label": "neugrid.node"})
    client.close()
    return [f"{item['Names']} of {item['Labels']['neugrid.node']}: {item['Status']}" for item in found]


def folders() -> set[str]:
    return {str(path) for path in Path(tempfile.gettempdir()).glob("neugrid-dev-*")}


def descendants(pid: int) -> set[int]:
    """The processes below `pid`, whatever session they are in."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def is_watchdog(pid: int) -> bool:
    try:
        return "watchdog.py" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(check: Callable[[], Any], what: str | Callable[[], str], within: float) -> None:
    deadline = time.monotonic() + within
    while not check():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {within} s for {what if isinstance(what, str) else what()}")
        time.sleep(0.05)
