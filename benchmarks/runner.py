"""Code through the whole market, from the POST to its result: against `docker run --rm` of the same image, in turns."""

import asyncio
import statistics
import time
from typing import Any, Final

import msgspec

from benchmarks.code import PROGRAMS, docker_run
from benchmarks.goals import Taken, percentile
from benchmarks.running import a_cluster, await_offers
from benchmarks.web import Line
from cli.cluster import Cluster
from node.adapters.base_images import ensure_base_images
from node.adapters.sandboxes.docker import ensure_language_images

ROUNDS: Final = 20
SUBMIT: Final = "/api/v1/runner/submit?wait=30"
AT_ONCE: Final = 4
RUNS: Final = 40
OFFERED_WITHIN: Final = 60.0


def measure() -> list[Taken]:
    """The ratio of the medians for each language, then runs a second."""
    asyncio.run(ensure_base_images())
    asyncio.run(ensure_language_images(tuple(PROGRAMS)))
    with a_cluster(languages=tuple(PROGRAMS)) as cluster:
        await_offers(cluster)
        return asyncio.run(_measure(cluster))


async def _measure(cluster: Cluster) -> list[Taken]:
    contact = cluster.contact("requester")
    line = await Line.open(contact.url, contact.key)
    await _offered(line)
    taken = [await _against_docker(line, language) for language in PROGRAMS]
    await line.close()
    return [*taken, await _sustained(contact.url, contact.key)]


async def _offered(line: Line) -> None:
    """Until every language is offered, and one run has brought a standing lease."""
    deadline = time.monotonic() + OFFERED_WITHIN
    while time.monotonic() < deadline:
        found = await line.get("/v1/languages")
        if {language["name"] for language in found["languages"]} >= set(PROGRAMS):
            await _run(line, "python")
            return
        await asyncio.sleep(0.2)
    raise TimeoutError("the languages were not offered")


async def _against_docker(line: Line, language: str) -> Taken:
    ours, cold = [], []
    await _run(line, language)
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        await asyncio.to_thread(docker_run, language)
        cold.append((time.perf_counter() - begun) * 1000)
        ours.append(await _run(line, language))
    mine, docker = statistics.median(ours), statistics.median(cold)
    remark = f"n={ROUNDS}: {mine:.0f} ms (p95 {percentile(ours, 0.95):.0f}); `docker run --rm` {docker:.0f} ms"
    return Taken(mine / docker, remark)


async def _sustained(url: str, key: str) -> Taken:
    left, begun = iter(range(RUNS)), time.perf_counter()

    async def worker() -> None:
        line = await Line.open(url, key)
        for _ in left:
            await _run(line, "python")
        await line.close()

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return Taken(RUNS / (time.perf_counter() - begun), f"python, {AT_ONCE} clients, a fresh sandbox for each run")


async def _run(line: Line, language: str) -> float:
    """Milliseconds from the POST to the result."""
    begun = time.perf_counter()
    posted: dict[str, Any] = await line.post(
        SUBMIT, msgspec.json.encode({"code": PROGRAMS[language], "language": language})
    )
    found = await line.get(f"/api/v1/runner/{posted['data']['jobId']}/result")
    took = (time.perf_counter() - begun) * 1000
    if found["data"]["stdout"] != "1\n":
        raise RuntimeError(f"{language} answered {found['data']}")
    return took
