"""One market of real processes for all end-to-end tests: devnet, a requester, two providers, on loopback."""

import asyncio
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.client import Client
from cli.cluster import Cluster
from node.adapters.base_images import ensure_base_images


@pytest.fixture(scope="session")
def images() -> None:
    """The base images, pulled or built; skips where no engine answers."""
    if subprocess.run(["docker", "version"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no Docker engine answers: run .ci/engine.sh")
    asyncio.run(ensure_base_images())


@pytest.fixture(scope="session")
def market(images: None) -> Iterator["Market"]:
    folder = Path(tempfile.mkdtemp(prefix="neugrid-e2e-"))
    cluster = Cluster(folder, languages=("python",))
    try:
        cluster.start()
        market = Market(cluster)
        market.until(lambda: len(market.buyer.providers()) == 2, "two offers in the book")
        yield market
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Market:
    """The cluster as tests see it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    @property
    def buyer(self) -> Client:
        return self.client("requester")

    def client(self, name: str) -> Client:
        contact = self.cluster.contact(name)
        return Client(contact.url, contact.key)

    def submit(self, *command: str, **changes: Any) -> dict[str, Any]:
        body = {
            "image": "busybox",
            "command": list(command) or ["true"],
            "resources": {"cpu": 0.5, "memory": "64Mi"},
            "maxPrice": "10",
            "timeout": "5m",
        }
        return self.buyer.submit({**body, **changes})

    def finished(self, job: dict[str, Any], within: float = 100) -> dict[str, Any]:
        return self.until(lambda: _if(self.buyer.job(job["id"]), "finishedAt"), f"the end of {job['id']}", within)

    def running(self, job: dict[str, Any]) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            now = self.buyer.job(job["id"])
            return now if now["status"] == "running" else None

        return self.until(look, f"{job['id']} running")

    def provider_of(self, job: dict[str, Any]) -> str:
        """The name of the process that holds the job."""
        address = job["provider"].removeprefix("prov_")
        return next(n for n in self.cluster.providers if self.cluster.made[n].identity.endswith(address))

    def until(self, check: Callable[[], Any], what: str, within: float = 100) -> Any:
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            found = check()
            if found:
                return found
            time.sleep(0.05)
        pytest.fail(f"waited {within} s for {what}")


def _if(job: dict[str, Any], field: str) -> dict[str, Any] | None:
    return job if job[field] else None
