"""Output of what stays up, on the real engine: it never stops, and reading goes on where it was."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from market.dialogue import LogPlace
from market.units import Seconds
from node.adapters.docker_engine.logs import MISSING
from node.adapters.runtime import DockerRuntime
from node.ports import LogLine
from tests.node.adapters.engines import a_container, a_node, a_runtime, every_line, nothing_left

pytestmark = [pytest.mark.anyio, pytest.mark.docker]
BOTH = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo out $i; echo err $i >&2; done"
MUCH = "x=$(head -c 999 /dev/zero | tr '\\0' x); yes $x | head -n 45000"
"""45 MB, of which the engine keeps at most 32 MiB."""


def ends_of(lines: Sequence[LogLine]) -> tuple[LogPlace, ...]:
    """Where the lines end in each stream."""
    found: dict[str, LogPlace] = {}
    for line in lines:
        last = found.get(line.stream)
        count = last.count + 1 if last is not None and last.at == line.at else 1
        found[line.stream] = LogPlace(line.stream, line.at, count)
    return tuple(found.values())


async def read(runtime: DockerRuntime, name: str, after: Sequence[LogPlace] = (), most: int = 10**9) -> list[LogLine]:
    lines: list[LogLine] = []
    async for line in runtime.logs(name, after=after):
        lines.append(line)
        if len(lines) == most:
            break
    return lines


async def test_what_has_no_time_limit_may_write_beyond_every_limit(engine: None, tmp_path: Path) -> None:
    node = a_node()
    with nothing_left(node, tmp_path):
        async with a_runtime(node, tmp_path, log_limit=1000) as runtime:
            service = a_container("seq", "5000", timeout=Seconds(0), disk=0)
            job = a_container("seq", "5000", disk=0)
            for spec in (service, job):
                await runtime.start(spec)
            assert [line.text for line in await every_line(runtime, service.name)] == [str(n) for n in range(1, 5001)]
            assert "limit" in (await every_line(runtime, job.name))[-1].text


async def test_reading_goes_on_at_any_line_without_gap_or_double(runtime: DockerRuntime) -> None:
    spec = a_container("sh", "-c", BOTH, timeout=Seconds(0))
    await runtime.start(spec)
    whole = await read(runtime, spec.name)
    assert len(whole) == 600
    for most in (1, 2, 77, 300, 599, 600):
        first = whole[:most]
        rest = await read(runtime, spec.name, ends_of(first))
        assert first + rest == whole


async def test_lines_that_the_engine_no_longer_has_are_told_as_missing(runtime: DockerRuntime) -> None:
    spec = a_container("sh", "-c", f"echo first; sleep 0.3; {MUCH}; echo last", timeout=Seconds(0))
    await runtime.start(spec)
    first = await read(runtime, spec.name, most=1)
    whole = await read(runtime, spec.name, ends_of(first))
    again = await read(runtime, spec.name, ends_of(first))
    assert [line.text for line in first] == ["first"]
    assert whole[-1].text == "last"
    assert (again[0].stream, again[0].text) == ("node", MISSING)
    assert again[-1].text == "last"
    assert len(again) < 45_000
