"""`neugrid dev`: the whole market stays up in one terminal until Ctrl-C, and leaves nothing behind."""

import asyncio
import json
import shutil
import signal
import tempfile
import threading
from pathlib import Path

from rich.console import Console

from cli.cluster import Cluster
from market.errors import NeugridError
from node.adapters.base_images import ensure_base_images


def run(port: int = 0, *, as_json: bool = False) -> int:
    """Start devnet, requester and two providers, say how to use them, and wait; 1 when one did not start."""
    out = Console(stderr=as_json)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    folder = Path(tempfile.mkdtemp(prefix="neugrid-dev-"))
    cluster = Cluster(folder, api_port=port)
    try:
        asyncio.run(ensure_base_images())
        cluster.start(lambda line: out.print(f"[dim]{line}[/]"))
        _invite(cluster, out, as_json)
        _wait(cluster, stopping, out)
        return 0
    except NeugridError as error:
        out.print(f"[red]{error.message}[/]")
        return 1
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _invite(cluster: Cluster, out: Console, as_json: bool) -> None:
    contact = cluster.contact("requester")
    if as_json:
        print(json.dumps({"url": contact.url, "key": contact.key, "rpc": cluster.rpc}), flush=True)
        return
    out.print(f"\n  API   {contact.url}   (docs at {contact.url}/docs)\n  key   {contact.key}\n  chain {cluster.rpc}\n")
    out.print("Try, in another terminal:\n", highlight=False)
    out.print(f"  export NEUGRID_URL={contact.url} NEUGRID_KEY={contact.key}", highlight=False, soft_wrap=True)
    for command in (
        "neugrid providers",
        "neugrid job submit --image busybox --max-price 0.01 --timeout 5m --wait -- echo hello",
        "neugrid wallet balance",
    ):
        out.print(f"  .venv/bin/{command}", highlight=False, soft_wrap=True)
    out.print("\nCtrl-C ends it.")


def _wait(cluster: Cluster, stopping: threading.Event, out: Console) -> None:
    """Until a signal comes; a process that dies is started again."""
    while not stopping.wait(1.0):
        for name, process in list(cluster.processes.items()):
            if process.poll() is not None:
                out.print(f"[yellow]{name} ended with code {process.returncode}; it is started again[/]")
                cluster.restart(name)
