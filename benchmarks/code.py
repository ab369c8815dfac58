"""Code in fresh sandboxes: how long an answer takes and how many come in a second, against the bare engine.

The pool and `docker run --rm` of the same image, which compiles and runs the same, take turns, so that both see the
same machine. The bare engine creates, starts and removes containers without network as fast as it can.
"""

import asyncio
import statistics
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from benchmarks.goals import Taken, percentile
from node.adapters.base_images import ensure_base_images
from node.adapters.docker_engine.calls import Engine
from node.adapters.sandboxes.docker import DockerSandboxes, ensure_language_images
from node.adapters.sandboxes.languages import load_languages
from node.adapters.sandboxes.settings import SandboxSettings
from node.ports import CodeSpec

ROUNDS: Final = 20
RUNS: Final = 40
BLOCKS: Final = 3
AT_ONCE: Final = 4
WAITING: Final = 12
PROGRAMS: Final = {
    "python": "print(1)",
    "javascript": "console.log(1)",
    "cpp": "#include <bits/stdc++.h>\nint main() { std::cout << 1 << std::endl; }",
    "java": "public class Main { public static void main(String[] a) { System.out.println(1); } }",
}


def measure() -> list[Taken]:
    """In the order of the goals."""
    return asyncio.run(_measure())


async def _measure() -> list[Taken]:
    await asyncio.to_thread(lambda: asyncio.run(ensure_base_images()))
    await ensure_language_images(tuple(PROGRAMS))
    memory = await _memory()
    async with _sandboxes(idle=9, at_once=1) as sandboxes:
        answers = [await _answers(sandboxes, language) for language in PROGRAMS]
        refill = await _refill(sandboxes)
    return [*answers, await _sustained(), refill, memory]


@asynccontextmanager
async def _sandboxes(idle: int, at_once: int) -> AsyncIterator[DockerSandboxes]:
    node = f"bench-{uuid.uuid4().hex[:8]}"
    sandboxes = DockerSandboxes(SandboxSettings(node=node, idle_memory=idle * 24, at_once=at_once, patience=30))
    try:
        await sandboxes.warm_up()
        yield sandboxes
    finally:
        await sandboxes.close()


async def _answers(sandboxes: DockerSandboxes, language: str) -> Taken:
    ours, cold = [], []
    for _ in range(ROUNDS):
        ours.append(await _timed(lambda: _run(sandboxes, language)))
        await sandboxes.warm_up()
        cold.append(await _timed(lambda: asyncio.to_thread(docker_run, language)))
    docker = statistics.median(cold)
    remark = f"n={ROUNDS}, p95 {percentile(ours, 0.95):.0f}; `docker run --rm` {docker:.0f} ms"
    return Taken(statistics.median(ours), remark)


async def _run(sandboxes: DockerSandboxes, language: str) -> None:
    found = await sandboxes.run(CodeSpec(id="cod_000001", language=language, code=PROGRAMS[language]))
    if found.runs[0].stdout != "1\n":
        raise RuntimeError(f"{language} answered {found.runs[0]}")


def docker_run(language: str) -> None:
    """The same source, compiled and run by the same commands."""
    languages = load_languages()
    dialect = languages.dialects[language]
    steps = [" ".join(step).replace("{code}", "/tmp") for step in (dialect.compile, dialect.run) if step]
    script = f"cd /tmp && cat >{dialect.file} && {' && '.join(steps)}"
    limits = ["--network", "none", "--memory", "256m", "--cpus", "1", "--tmpfs", "/tmp:exec"]
    command = ["docker", "run", "--rm", "-i", *limits, languages.reference(language), "sh", "-c", script]
    subprocess.run(command, input=PROGRAMS[language].encode(), check=True, capture_output=True)


async def _refill(sandboxes: DockerSandboxes) -> Taken:
    """From an answer to the moment at which as many wait as before."""
    times = []
    for _ in range(ROUNDS):
        await _run(sandboxes, "python")
        times.append(await _timed(sandboxes.warm_up))
    return Taken(statistics.median(times), f"n={ROUNDS}, p95 {percentile(times, 0.95):.0f}")


async def _sustained() -> Taken:
    """Runs a second over starts a second, in turns."""
    engine = Engine(workers=AT_ONCE)
    ours, bare = [], []
    async with _sandboxes(idle=WAITING, at_once=AT_ONCE) as sandboxes:
        await _rate(lambda: _run(sandboxes, "python"))
        for _ in range(BLOCKS):
            bare.append(await _rate(lambda: engine.call(_cycle)))
            ours.append(await _rate(lambda: _run(sandboxes, "python")))
    engine.close()
    runs, starts = statistics.median(ours), statistics.median(bare)
    return Taken(runs / starts, f"{runs:.1f} runs/s, create + start + remove {starts:.1f}/s, {AT_ONCE} at once")


async def _rate(work: Callable[[], Awaitable[Any]]) -> float:
    begun, left = time.perf_counter(), iter(range(RUNS))

    async def worker() -> None:
        for _ in left:
            await work()

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return RUNS / (time.perf_counter() - begun)


def _cycle(client: Any) -> None:
    wanted = {"Image": "busybox:latest", "Cmd": ["sleep", "60"], "HostConfig": {"NetworkMode": "none"}}
    made = client.create_container_from_config(wanted, f"bench-{uuid.uuid4().hex[:12]}")
    client.start(made)
    client.remove_container(made, force=True)


async def _memory() -> Taken:
    """What the machine's available memory falls by, for each of some sandboxes that wait."""
    before = _available()
    async with _sandboxes(idle=WAITING, at_once=WAITING) as sandboxes:
        await asyncio.gather(*(_run(sandboxes, "python") for _ in range(WAITING)))
        await sandboxes.warm_up()
        count = sum(sandboxes.waiting.values())
        return Taken((before - _available()) / count / 1000, f"{count} waiting, the slots that they are in included")


def _available() -> int:
    """kB that a new program could have."""
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable"))


async def _timed(work: Callable[[], Awaitable[Any]]) -> float:
    """Milliseconds."""
    begun = time.perf_counter()
    await work()
    return (time.perf_counter() - begun) * 1000
