"""What the runtime promises, on the real engine."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from market.errors import Conflict, ImageNotFound, InvalidParameters, OutputRefused
from market.units import Seconds
from node.adapters.runtime import DockerRuntime
from tests.node.adapters.engines import (
    MIB,
    a_container,
    a_node,
    a_runtime,
    every_line,
    nothing_left,
    python,
    run,
    texts,
)

pytestmark = [pytest.mark.anyio, pytest.mark.docker]


async def test_the_engine_is_fit_and_the_base_images_are_here(runtime: DockerRuntime) -> None:
    health = await runtime.health()
    assert health.is_ok, health.reason
    assert {"busybox:latest", "python:3.11-slim"} <= set(await runtime.images())


async def test_a_command_runs_and_says_how_it_ended(runtime: DockerRuntime) -> None:
    end, lines = await run(runtime, a_container("sh", "-c", "echo out; echo err >&2; exit 3"))
    assert (end.code, end.reason) == (3, "exited")
    assert end.started_at <= end.finished_at
    assert {(line.stream, line.text) for line in lines} == {("stdout", "out"), ("stderr", "err")}


async def test_the_image_of_a_job_says_hello(runtime: DockerRuntime) -> None:
    end, lines = await run(runtime, python("print('Hello')"))
    assert (end.code, texts(lines)) == (0, ["Hello"])


async def test_a_command_that_is_not_in_the_image_is_the_jobs_own_failure(runtime: DockerRuntime) -> None:
    end, _ = await run(runtime, a_container("nonesuch"))
    assert (end.code, end.reason) == (127, "exited")


@pytest.mark.parametrize("command", ["exit 137", "exit 143", "kill -9 $$", "exit 255"])
async def test_a_program_that_ends_as_if_it_were_killed_has_ended_by_itself(
    runtime: DockerRuntime, command: str, tmp_path: Path
) -> None:
    runtime._watch._witness._kills = tmp_path / "none"  # this machine may run short of memory over other tests
    await runtime.warm_up()
    end, _ = await run(runtime, a_container("sh", "-c", command))
    assert end.reason == "exited"
    assert end.code >= 137


async def test_a_kill_by_somebody_else_on_the_engine_is_not_the_programs_doing(runtime: DockerRuntime) -> None:
    await runtime.warm_up()
    spec = a_container("sleep", "60")
    await runtime.start(spec)
    await runtime._engine.call(lambda client: client.kill(spec.name))
    assert (await runtime.wait(spec.name)).reason == "engine"


async def test_an_image_that_nobody_has_is_not_found(runtime: DockerRuntime) -> None:
    with pytest.raises(ImageNotFound):
        await runtime.ensure_image("no-such-image-anywhere:1")
    with pytest.raises(ImageNotFound):
        await runtime.ensure_image("Not An Image")
    with pytest.raises(ImageNotFound):
        await runtime.start(a_container("true", image="127.0.0.1:9/none:1"))


async def test_an_image_is_found_by_name_and_by_id(runtime: DockerRuntime) -> None:
    by_name = await runtime.ensure_image("busybox:latest")
    by_id = await runtime.ensure_image(by_name.id)
    assert by_id.id == by_name.id
    assert by_name.size > MIB


async def test_the_time_limit_is_kept_by_the_runtime(runtime: DockerRuntime) -> None:
    end, _ = await run(runtime, a_container("sleep", "60", timeout=Seconds(1)))
    assert end.reason == "timeout"
    assert 1000 <= end.finished_at - end.started_at < 30_000


async def test_starting_twice_starts_once(runtime: DockerRuntime) -> None:
    spec = a_container("sh", "-c", "echo once")
    first, second = await asyncio.gather(runtime.start(spec), runtime.start(spec))
    end = await runtime.wait(spec.name)
    assert await runtime.start(spec) == end.started_at
    assert first == second
    assert texts(await every_line(runtime, spec.name)) == ["once"]


async def test_a_name_that_another_node_has_is_a_conflict(runtime: DockerRuntime, tmp_path: Path) -> None:
    spec = a_container("true")
    async with a_runtime(a_node(), tmp_path / "other") as other:
        await other.start(spec)
        with pytest.raises(Conflict):
            await runtime.start(spec)


async def test_stopping_asks_first_and_is_told_as_killed(runtime: DockerRuntime) -> None:
    spec = a_container("sh", "-c", "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.1; done")
    await runtime.start(spec)
    async for line in runtime.logs(spec.name):
        assert line.text == "ready"
        break
    await runtime.stop(spec.name)
    assert (await runtime.wait(spec.name)).reason == "killed"
    assert texts(await every_line(runtime, spec.name)) == ["ready", "bye"]


async def test_what_ignores_the_signal_is_killed_after_the_grace(runtime: DockerRuntime) -> None:
    spec = a_container("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    await runtime.start(spec)
    async for _ in runtime.logs(spec.name):
        break
    await runtime.stop(spec.name, grace=1)
    end = await runtime.wait(spec.name)
    assert (end.code, end.reason) == (137, "killed")


async def test_stopping_and_removing_what_is_not_there_is_no_error(runtime: DockerRuntime) -> None:
    await runtime.stop("never-was-a1")
    await runtime.remove("never-was-a1")
    assert (await runtime.wait("never-was-a1")).reason == "engine"


async def test_a_container_that_vanishes_is_the_engines_fault(runtime: DockerRuntime) -> None:
    spec = a_container("sleep", "60")
    await runtime.start(spec)
    waiting = asyncio.create_task(runtime.wait(spec.name))
    await asyncio.sleep(0)
    await runtime.remove(spec.name)
    assert (await waiting).reason == "engine"


async def test_containers_of_the_node_are_listed_and_nobody_elses(runtime: DockerRuntime, tmp_path: Path) -> None:
    spec = a_container("true")
    async with a_runtime(a_node(), tmp_path / "other") as other:
        await other.start(a_container("true"))
        await runtime.start(spec)
        await runtime.wait(spec.name)
        (only,) = await runtime.containers()
    assert (only.name, only.lease, only.running) == (spec.name, spec.lease, False)


async def test_logs_go_on_after_the_lines_that_are_known(runtime: DockerRuntime) -> None:
    spec = a_container("seq", "1", "5")
    await run(runtime, spec)
    assert texts(await every_line(runtime, spec.name, skip=3)) == ["4", "5"]


async def test_a_burst_of_lines_arrives_whole(runtime: DockerRuntime) -> None:
    _, lines = await run(runtime, a_container("seq", "1", "20000"))
    assert texts(lines) == [str(number) for number in range(1, 20_001)]


async def test_inputs_are_readable_and_read_only(runtime: DockerRuntime, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True, mode=0o700)
    (folder / "sub" / "text").write_text("one two\n")
    (folder / "sub" / "text").chmod(0o600)
    script = "wc -w < /input/sub/text; touch /input/x || echo no; rm /input/sub/text || echo no"
    _, lines = await run(runtime, a_container("sh", "-c", f"({script}) 2>/dev/null", inputs=folder))
    assert texts(lines) == ["2", "no", "no"]
    assert (folder / "sub" / "text").read_text() == "one two\n"


async def test_an_input_that_is_a_link_is_refused(runtime: DockerRuntime, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to("/etc/passwd")
    with pytest.raises(InvalidParameters):
        await runtime.start(a_container("true", inputs=tmp_path / "in"))


async def test_outputs_come_back_by_their_digest(runtime: DockerRuntime, tmp_path: Path) -> None:
    script = "mkdir -p /output/d/e; echo one > /output/d/e/1; echo two > /output/2; echo three > /output/3"
    spec = a_container("sh", "-c", script, has_outputs=True)
    await run(runtime, spec)
    found = await runtime.outputs(spec.name, ["d", "2", "missing"], tmp_path / "store", 1000)
    assert [(file.path, file.size) for file in found] == [("2", 4), ("d/e/1", 4)]
    assert found[0].digest == hashlib.sha256(b"two\n").hexdigest()
    assert (tmp_path / "store" / found[0].digest).read_bytes() == b"two\n"


async def test_without_loop_devices_outputs_are_taken_from_a_plain_volume_that_is_watched(
    engine: None, tmp_path: Path
) -> None:
    node, folder = a_node(), tmp_path / "volumes"
    with nothing_left(node, folder):
        async with a_runtime(node, folder, has_loop_devices=False) as runtime:
            spec = a_container("sh", "-c", "echo two > /output/2", has_outputs=True)
            await run(runtime, spec)
            (file,) = await runtime.outputs(spec.name, ["2"], tmp_path / "store", 1000)
            assert file.size == 4
            script = "head -c 20000000 /dev/zero > /output/x; exec sleep 60"
            greedy = a_container("sh", "-c", script, has_outputs=True, disk=MIB)
            assert (await run(runtime, greedy))[0].reason == "killed"


async def test_outputs_of_a_running_container_are_not_taken(runtime: DockerRuntime, tmp_path: Path) -> None:
    spec = a_container("sleep", "60", has_outputs=True)
    await runtime.start(spec)
    with pytest.raises(Conflict):
        await runtime.outputs(spec.name, ["x"], tmp_path, 1000)


async def test_more_output_than_agreed_is_refused(runtime: DockerRuntime, tmp_path: Path) -> None:
    spec = a_container("sh", "-c", "head -c 5000 /dev/zero > /output/x", has_outputs=True)
    await run(runtime, spec)
    with pytest.raises(OutputRefused):
        await runtime.outputs(spec.name, ["x"], tmp_path, 4000)


async def test_a_slot_makes_no_difference_but_speed(engine: None, tmp_path: Path) -> None:
    node = a_node()
    with nothing_left(node, tmp_path / "volumes"):
        async with a_runtime(node, tmp_path / "volumes", slots=1) as runtime:
            await runtime.warm_up()
            both = [a_container("sh", "-c", "ls /sys/class/net; exit 4") for _ in range(2)]
            ends = await asyncio.gather(*(run(runtime, spec) for spec in both))
            assert [(end.code, texts(lines)) for end, lines in ends] == [(4, ["lo"]), (4, ["lo"])]
