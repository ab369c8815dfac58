"""`neugrid dev`: the whole market stays up in one terminal until Ctrl-C, and leaves nothing behind."""

import asyncio
import json
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Final

from rich.console import Console

from cli.client import Client
from cli.cluster import Cluster
from cli.workplace import workplace
from node.adapters.base_images import ensure_base_images

SOLD_WITHIN: Final = 20.0
SCRIPTS: Final = ("python", "javascript", "bash", "ruby", "perl", "lua")
"""The languages of one image, which is made in a quarter of a minute where it is missing."""
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def run(port: int = 0, *, as_json: bool = False) -> int:
    """Start devnet, requester and two providers, say how to use them, and wait for Ctrl-C; then 0."""
    out = Console(stderr=as_json)
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    try:
        with workplace("dev") as folder:
            _stay_up(Cluster(folder, api_port=port, languages=SCRIPTS, builds=True), out, as_json)
    except KeyboardInterrupt:
        pass
    return 0


def _stay_up(cluster: Cluster, out: Console, as_json: bool) -> None:
    try:
        asyncio.run(ensure_base_images())
        cluster.start(lambda line: out.print(f"[dim]{line}[/]"))
        _until_sold(cluster)
        _invite(cluster, out, as_json)
        _watch(cluster, out)
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        cluster.stop()


def _until_sold(cluster: Cluster) -> None:
    """Wait until every provider has an offer in the requester's book: each looks its machine over before."""
    contact, deadline = cluster.contact("requester"), time.monotonic() + SOLD_WITHIN
    with Client(contact.url, contact.key) as client:
        while len(client.providers()) < len(cluster.providers) and time.monotonic() < deadline:
            time.sleep(0.05)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _invite(cluster: Cluster, out: Console, as_json: bool) -> None:
    contact = cluster.contact("requester")
    if as_json:
        print(json.dumps({"url": contact.url, "key": contact.key, "rpc": cluster.rpc}), flush=True)
        return
    out.print(f"\n  API   {contact.url}   (docs at {contact.url}/docs)\n  key   {contact.key}\n  chain {cluster.rpc}\n")
    out.print("Try, in another terminal:\n", highlight=False)
    out.print(f"  export NEUGRID_URL={contact.url} NEUGRID_KEY={contact.key}", highlight=False, soft_wrap=True)
    for words in (
        "providers",
        "job submit --image busybox --max-price 0.01 --timeout 5m --wait -- echo hello",
        "wallet balance",
    ):
        out.print(f"  {_program()} {words}", highlight=False, soft_wrap=True)
    out.print("\nCtrl-C ends it.")


def _program() -> str:
    """How this very program is called from here."""
    beside = Path(sys.executable).with_name("neugrid")
    if not beside.exists() or shutil.which("neugrid") == str(beside):
        return "neugrid"
    return str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)


def _watch(cluster: Cluster, out: Console) -> None:
    """Until a signal comes; a process that dies is started again."""
    while True:
        time.sleep(1.0)
        for name, process in list(cluster.processes.items()):
            if process.poll() is not None:
                out.print(f"[yellow]{name} ended with code {process.returncode}; it is started again[/]")
                cluster.restart(name)
