"""What the market adds to a container: a job through the whole node, against `docker run --rm` of the same image.

The three take turns, so that all see the same machine; the job's time runs from the POST to the answer of `?wait=`.
"""

import asyncio
import statistics
import subprocess
import time
from typing import Any, Final

import msgspec

from benchmarks.goals import Taken, percentile
from benchmarks.running import a_cluster, await_offers
from benchmarks.web import Line
from cli.cluster import Cluster
from node.adapters.base_images import ensure_base_images

ROUNDS: Final = 30
WARM_UP: Final = 3
BODY: Final = msgspec.json.encode(
    {
        "image": "busybox",
        "command": ["true"],
        "resources": {"cpu": 0.5, "memory": "64Mi"},
        "maxPrice": "0.5",
        "timeout": "5m",
    }
)
DOCKER: Final = ("docker", "run", "--rm", "busybox", "true")
OFFLINE: Final = ("docker", "run", "--rm", "--network", "none", "busybox", "true")
"""What a job gets: no network. It starts sooner, so that it is the harder comparison."""


def measure() -> list[Taken]:
    """The difference of the medians in ms."""
    asyncio.run(ensure_base_images())
    with a_cluster() as cluster:
        await_offers(cluster)
        return asyncio.run(_measure(cluster))


async def _measure(cluster: Cluster) -> list[Taken]:
    contact = cluster.contact("requester")
    line = await Line.open(contact.url, contact.key)
    for _ in range(WARM_UP):
        await _job(line)
    rounds = [(*await _job(line), _run(DOCKER), _run(OFFLINE)) for _ in range(ROUNDS)]
    await line.close()
    ours, agreed, docker, offline = (statistics.median(times) for times in zip(*rounds, strict=True))
    slowest = percentile([times[0] for times in rounds], 0.95)
    remark = f"n={ROUNDS}: {ours:.0f} ms (p95 {slowest:.0f}, agreed after {agreed:.0f})"
    return [Taken(ours - docker, f"{remark}; docker {docker:.0f}, without network {offline:.0f} ms")]


async def _job(line: Line) -> tuple[float, float]:
    """Milliseconds from the sending of a job to the answer that it has succeeded, and to its agreement."""
    begun, sent_at = time.perf_counter(), time.time() * 1000
    job: dict[str, Any] = await line.post("/v1/jobs", BODY)
    job = await line.get(f"/v1/jobs/{job['id']}?wait=60")
    took = (time.perf_counter() - begun) * 1000
    if job["status"] != "success":
        raise RuntimeError(f"the job ended as {job['status']}: {job['error']}")
    return took, job["timings"]["agreed"] - sent_at


def _run(command: tuple[str, ...]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return (time.perf_counter() - begun) * 1000
