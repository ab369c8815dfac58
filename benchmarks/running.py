"""A market of real processes for the time of a benchmark: devnet, one requester, two providers."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cli.client import Client
from cli.cluster import Cluster

OFFERS_WITHIN: Final = 60.0


@contextmanager
def a_cluster(languages: tuple[str, ...] = ()) -> Iterator[Cluster]:
    """The running market; all of it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="neugrid-bench-", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(Path(folder), languages=languages)
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
