"""A whole market on this machine: devnet, one requester, two providers, each an operating-system process of its own."""

import contextlib
import ctypes
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Struct

from cli.workplace import remove_containers
from contracts.deploy import deploy_market, fund_wallets
from contracts.devnet.accounts import SECRETS
from market.errors import Unavailable
from market.units import parse_amount
from node.config import ChainSettings, Config, GatewaySettings, NetworkSettings, ProviderSettings, PublicSettings
from node.config_api import ApiSettings
from node.setup import Made, init

START_WITHIN: Final = 150.0
"""Seconds until a process that neither serves nor ends hangs; four of them start in ten where nobody else works."""
STOP_WITHIN: Final = 4.0
TRIED_RISKS: Final = ("runc-version", "engine-version", "containerd-version", "python-version", "clock")
"""What these markets live with: they run nobody's work but that of who starts them, on the machine as it is."""
PORTS: Final = range(20_000, 30_000)
"""Below the kernel's own, which begin at 32768: https://docs.kernel.org/networking/ip-sysctl.html."""
PURSE: Final = "100.0"
"""Tokens that the requester starts with."""


class Contact(Struct, frozen=True):
    """What a running node wrote into its api.json."""

    url: str
    key: str
    peer: str
    wallet: str


class Cluster:
    """Start and stop everything; the folder keeps data, keys and logs of each process."""

    def __init__(
        self,
        folder: Path,
        *,
        api_port: int = 0,
        prices: tuple[str, ...] = ("0.04", "0.05"),
        accept_risks: tuple[str, ...] = TRIED_RISKS,
        languages: tuple[str, ...] = (),
        builds: bool = False,
    ) -> None:
        self.folder = folder
        self._api_port = api_port
        self._prices = prices
        self._accept_risks = accept_risks
        self._languages = languages
        self._builds = builds
        self.rpc_port = 0
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.made: dict[str, Made] = {}
        self._listen: dict[str, str] = {}

    @property
    def rpc(self) -> str:
        """The devnet's URL."""
        return f"http://127.0.0.1:{self.rpc_port}"

    @property
    def providers(self) -> tuple[str, ...]:
        """The names of the providers."""
        return tuple(f"provider-{number}" for number in range(1, len(self._prices) + 1))

    def start(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Bring everything up; Unavailable names the process that did not come, and its last words."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rpc_port = free_port()
        self.start_chain()
        ports = {name: free_port() for name in ("requester", *self.providers)}
        for name, port in ports.items():
            self.made[name] = init(self._config(name, port), light=True)
        say("keys made")
        deployment = deploy_market(self.rpc, SECRETS[0])
        deployment.write(self.folder / "network.toml")
        tokens = {self.made["requester"].wallet: parse_amount(PURSE)}
        fund_wallets(self.rpc, deployment, SECRETS[0], tokens, [made.wallet for made in self.made.values()])
        say(f"contracts deployed on chain {deployment.chain_id}")
        for name in ports:
            self.start_node(name)
        for name in ports:
            self.contact(name)
        say("one requester and two providers are up")

    def start_chain(self) -> None:
        """Start the devnet, or start it again on its data."""
        data = self.folder / "chain"
        self._spawn(
            "devnet", [sys.executable, "-m", "contracts.devnet", "--port", str(self.rpc_port), "--data", str(data)]
        )
        self._wait("devnet", lambda: _answers(self.rpc_port))

    def start_node(self, name: str) -> None:
        """Start a node's process; it is up when `contact` returns."""
        (self.folder / name / "api.json").unlink(missing_ok=True)
        self._spawn(name, [sys.executable, "-m", "cli.main", "up", "--config", str(self.made[name].config)])

    def contact(self, name: str) -> Contact:
        """Wait until the node serves, and say how to reach it."""
        file = self.folder / name / "api.json"
        self._wait(name, file.exists)
        found = json.loads(file.read_text())
        return Contact(found["url"], found["key"], found["peer"], found["wallet"])

    def restart(self, name: str) -> None:
        """Start a process that has ended again, on its own data."""
        self.processes.pop(name, None)
        self.start_chain() if name == "devnet" else self.start_node(name)

    def kill(self, name: str) -> None:
        """End a process without a word, as a power cut would."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """End all processes politely, then for good; containers of the providers go too."""
        for process in self.processes.values():
            process.terminate()
        deadline = time.monotonic() + STOP_WITHIN
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
        for name in list(self.processes):
            self.kill(name)
        self._remove_containers()

    def _remove_containers(self) -> None:
        for name in self.providers:
            if name in self.made:
                remove_containers(self.made[name].identity, self.folder / name)

    def _config(self, name: str, port: int) -> Config:
        role = "requester" if name == "requester" else "provider"
        bootstrap = () if not self.made else (self._address_of("requester"),)
        price = self._prices[self.providers.index(name)] if role == "provider" else "0.04"
        listen = f"/ip4/127.0.0.1/tcp/{port}"
        self._listen[name] = listen
        return Config(
            data_dir=str(self.folder / name),
            roles=(role,),
            name=name,
            api=ApiSettings(port=self._api_port if role == "requester" else 0),
            network=NetworkSettings(listen=(listen,), bootstrap=bootstrap),
            chain=ChainSettings(rpc=self.rpc, deployment=str(self.folder / "network.toml"), confirmations=0),
            provider=ProviderSettings(
                cpu_hour=price,
                accept_risks=self._accept_risks,
                languages=self._languages if name in self.providers[:1] else (),
                builds=self._builds,
                public=PublicSettings(address="127.0.0.1", host="127.0.0.1"),
            ),
            gateway=GatewaySettings(is_on=role == "requester", port=0),
        )

    def _address_of(self, name: str) -> str:
        return f"{self._listen[name]}/p2p/{self.made[name].peer}"

    def _spawn(self, name: str, command: list[str]) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(  # noqa: S603  our own programs
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_die_with_parent
        )
        log.close()

    def _wait(self, name: str, is_up: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_WITHIN
        while not is_up():
            process = self.processes[name]
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"{name} did not start:\n{self.last_words(name)}")
            time.sleep(0.02)

    def last_words(self, name: str) -> str:
        """The end of a process's log."""
        file = self.folder / f"{name}.log"
        return file.read_text(errors="replace")[-2000:] if file.exists() else ""


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now; whoever asks binds it a moment later.

    It is none of those that the kernel gives to everybody who wants just any: such a one may be another's by then.
    """
    for _ in range(len(PORTS)):
        port = PORTS[secrets.randbelow(len(PORTS))]
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise Unavailable(f"no port from {PORTS[0]} to {PORTS[-1]} is free")


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.2).close()
    except OSError:
        return False
    return True


def _die_with_parent() -> None:
    """In the child: a session of its own, so that Ctrl-C reaches the parent alone, and SIGTERM when the parent dies."""
    os.setsid()
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
