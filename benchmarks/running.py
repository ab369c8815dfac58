"""A market of real processes for the time of a benchmark: devnet, one requester, two providers."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from cli.client import Client
from cli.cluster import Cluster
from market.errors import Unavailable

OFFERS_WITHIN: Final = 60.0
ANSWER_WITHIN: Final = 60.0


@contextmanager
def a_cluster(**wanted: Any) -> Iterator[Cluster]:
    """The running market, with what `Cluster` takes; all of it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="neugrid-bench-", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(Path(folder), **wanted)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


def await_offers(cluster: Cluster) -> None:
    """Wait until the requester's book holds an offer of every provider."""
    contact = cluster.contact("requester")
    with Client(contact.url, contact.key) as client:
        deadline = time.monotonic() + OFFERS_WITHIN
        while len(client.providers()) < len(cluster.providers):
            if time.monotonic() > deadline:
                said = "\n".join(map(cluster.last_words, cluster.providers))
                raise TimeoutError(f"the providers' offers did not come: {said}")
            time.sleep(0.1)


def start_time(cluster: Cluster, name: str, path: str) -> float:
    """Seconds from the start of a node's process, on its own data, to its first answer to `path`."""
    cluster.processes[name].terminate()
    cluster.processes[name].wait()
    begun = time.monotonic()
    cluster.restart(name)
    url = cluster.contact(name).url
    while time.monotonic() < begun + ANSWER_WITHIN:
        try:
            httpx.get(f"{url}{path}").raise_for_status()
            return time.monotonic() - begun
        except httpx.HTTPError:
            time.sleep(0.01)
    raise Unavailable(f"{name} did not answer")
