"""What the runtime promises, on a swarm of two machines: the port's own tests, and what is a swarm's alone."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from market.errors import Conflict, ImageNotFound, InvalidParameters, Unavailable
from market.units import MilliCpu
from market.workloads import Egress
from node.adapters.clock import SystemClock
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.trial import LABEL
from node.adapters.images.limits import ImageLimits
from node.adapters.swarm.images import LABEL as BRINGING
from node.adapters.swarm.inspection import SwarmInspectionSettings, SwarmInspector
from node.adapters.swarm.measuring import SwarmCapacity
from node.config import Config, ProviderSettings
from node.outfit import open_outfit
from node.ports import Finding
from node.ports.inspection import RISKS
from tests.builders import resources
from tests.node.adapters.engines import MIB, a_container, a_node, every_line, run, texts, user_in
from tests.node.adapters.registries import a_registry
from tests.node.adapters.swarms import OnSwarm, Swarm, a_swarm, a_swarm_runtime, until

# The port's tests that can be passed without files: they run here as they are, on this module's `runtime`.
from tests.node.adapters.test_runtime import (  # noqa: F401
    test_a_burst_of_lines_arrives_whole,
    test_a_command_runs_and_says_how_it_ended,
    test_a_command_that_is_not_in_the_image_is_the_jobs_own_failure,
    test_a_container_that_vanishes_is_the_engines_fault,
    test_an_image_is_found_by_name_and_by_id,
    test_an_image_that_nobody_has_is_not_found,
    test_logs_go_on_after_the_lines_that_are_known,
    test_starting_twice_starts_once,
    test_stopping_and_removing_what_is_not_there_is_no_error,
    test_stopping_asks_first_and_is_told_as_killed,
    test_the_time_limit_is_kept_by_the_runtime,
    test_what_ignores_the_signal_is_killed_after_the_grace,
)

pytestmark = [pytest.mark.anyio, pytest.mark.docker]


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    with a_swarm(tmp_path_factory.mktemp("swarm") / "engines") as swarm:
        yield swarm


@pytest.fixture
async def runtime(swarm: Swarm, anyio_backend: str) -> AsyncIterator[OnSwarm]:
    async with a_swarm_runtime(swarm, a_node(), patience=2.0) as runtime:
        yield runtime


async def test_the_swarm_is_fit(runtime: OnSwarm) -> None:
    health = await runtime.health()
    assert health.is_ok, health.reason
    assert "busybox:latest" in await runtime.images()


async def test_work_runs_only_on_machines_that_are_for_sale(swarm: Swarm, runtime: OnSwarm) -> None:
    end, _ = await run(runtime, a_container("true"))
    assert end.code == 0
    assert len(swarm.clients[1].containers(all=True)) == 1
    assert swarm.clients[0].containers(all=True) == []


async def test_too_much_memory_is_told_as_that(runtime: OnSwarm) -> None:
    end, _ = await run(runtime, a_container("tail", "/dev/zero", memory=32 * MIB))
    assert (end.code, end.reason) == (137, "oom")


async def test_the_container_has_no_network_no_privileges_and_a_root_that_it_can_not_write(runtime: OnSwarm) -> None:
    script = "ls /sys/class/net; grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; touch /x || id -u"
    spec = a_container("sh", "-c", f"({script}) 2>/dev/null")
    _, lines = await run(runtime, spec)
    assert texts(lines) == ["lo", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", user_in(spec)]


async def test_the_environment_is_no_template_of_the_machines(runtime: OnSwarm) -> None:
    env = {"A": "{{.Node.Hostname}}", "B": "{{nope", "C": 'x {{ "}}" }} {{{{ y', "DOCKER_RESOURCE_GPU": "all"}
    script = 'echo "$A"; echo "$B"; echo "$C"; echo "$DOCKER_RESOURCE_GPU"'
    _, lines = await run(runtime, a_container("sh", "-c", script, env=env))
    assert texts(lines) == [env["A"], env["B"], env["C"], ""]


async def test_what_a_swarm_can_not_give_is_refused_before_anything_runs(runtime: OnSwarm, tmp_path: Path) -> None:
    wrong = ({"has_outputs": True}, {"inputs": tmp_path}, {"egress": Egress(policy="web")})
    for changes in wrong:
        with pytest.raises(InvalidParameters):
            await runtime.start(a_container("true", **changes))
    assert await runtime.containers() == ()


async def test_what_fits_on_no_machine_is_withdrawn(runtime: OnSwarm) -> None:
    huge = replace(a_container("true"), resources=resources(cpu=MilliCpu(1_000_000)))
    with pytest.raises(Unavailable, match="insufficient resources"):
        await runtime.start(huge)
    assert await runtime.containers() == ()


async def test_an_image_that_no_machine_has_is_not_found(swarm: Swarm, runtime: OnSwarm) -> None:
    here = swarm.clients[0]
    id = an_image(here, "busybox", "mine")
    with pytest.raises(ImageNotFound):
        await runtime.start(a_container("true", image=id))
    here.remove_image(id, force=True)
    assert await runtime.containers() == ()


async def test_a_name_of_another_node_in_the_swarm_is_a_conflict(swarm: Swarm, runtime: OnSwarm) -> None:
    spec = a_container("sleep", "60")
    async with a_swarm_runtime(swarm, a_node()) as other:
        await other.start(spec)
        with pytest.raises(Conflict):
            await runtime.start(spec)
        assert await runtime.containers() == ()
        await runtime.stop(spec.name)
        (theirs,) = await other.containers()
        assert theirs.running


async def test_a_node_that_was_restarted_finds_its_work_and_says_the_same(swarm: Swarm) -> None:
    node = a_node()
    async with a_swarm_runtime(swarm, node) as before:
        runs, ended = a_container("sleep", "60"), a_container("sh", "-c", "echo done; exit 4")
        await before.start(runs)
        first, _ = await run(before, ended)
        async with a_swarm_runtime(swarm, node) as after:
            assert {item.name: item.running for item in await after.containers()} == {
                runs.name: True,
                ended.name: False,
            }
            again = await after.wait(ended.name)
            assert (again.code, again.reason, again.finished_at) == (first.code, first.reason, first.finished_at)
            assert texts(await every_line(after, ended.name)) == ["done"]
            await after.stop(runs.name)
            assert (await before.wait(runs.name)).reason == "killed"


async def test_an_image_of_a_registry_is_pulled_by_every_machine_before_it_is_needed(
    swarm: Swarm, tmp_path: Path
) -> None:
    node, (manager, worker) = a_node(), swarm.clients
    with a_registry(tmp_path / "registry", *swarm.namespaces) as registry:
        only_there = an_image(worker, f"{registry.host}/tool", "1")
        worker.push(f"{registry.host}/tool", "1")
        worker.remove_image(only_there, force=True)
        limits = ImageLimits(registries=(registry.host,), keep_free=0)
        async with a_swarm_runtime(swarm, node, images=limits) as runtime:
            image = await runtime.ensure_image(f"{registry.host}/tool:1")
            (pinned,) = manager.inspect_image(image.id)["RepoDigests"]
            assert worker.inspect_image(pinned)["Id"] == image.id
            end, lines = await run(runtime, a_container("echo", "here", image=image.id))
            assert (end.code, texts(lines)) == (0, ["here"])
        until(lambda: not swarm.left(f"{BRINGING}-{node}"))
        for client in swarm.clients:
            client.remove_image(pinned, force=True)


async def test_a_share_of_the_freest_machine_is_measured_and_what_runs_is_added(swarm: Swarm) -> None:
    node = a_node()
    capacity = SwarmCapacity(Engine(swarm.address), node)
    before, hardware = await capacity.measure()
    described = swarm.clients[1].info()
    assert (before.cpu, before.memory) == (described["NCPU"] * 1000, described["MemTotal"])
    assert (before.disk, hardware.cpu_model) == (0, "swarm of 1: x86_64")
    async with a_swarm_runtime(swarm, node) as runtime:
        await runtime.start(a_container("sleep", "60"))
        assert (await capacity.measure())[0] == before
        (others, _) = await SwarmCapacity(Engine(swarm.address), "another").measure()
        assert before.cpu - others.cpu == 1000


async def test_every_machine_is_tried_and_nothing_of_it_stays(swarm: Swarm, tmp_path: Path) -> None:
    settings = SwarmInspectionSettings(folder=tmp_path, address=swarm.address)
    found = {finding.check: finding for finding in await SwarmInspector(settings).inspect()}
    assert found["swarm"].status == found["machine"].status == found["isolation"].status == "ok", found
    assert found["runc-version"].status == found["containerd-version"].status == "failed"
    assert set(refused(found)) <= set(RISKS)
    until(lambda: not swarm.left(LABEL))


async def test_a_provider_is_outfitted_with_the_swarm_that_its_engine_manages(
    swarm: Swarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", swarm.address)
    sells = ProviderSettings(runtime="swarm", isolation="swarm", share=500)
    config = Config(data_dir=str(tmp_path), roles=("provider",), provider=sells)
    async with AsyncExitStack() as stack:
        outfit = await open_outfit(stack, config, bytes(31) + b"\x01", SystemClock())
        assert (await outfit.runtime.health()).is_ok
        total, _ = await outfit.machine.measure()
        assert total.cpu == swarm.clients[1].info()["NCPU"] * 500
        assert (outfit.is_cluster, outfit.lacks) == (True, ("files", "probes"))
        assert [await source() for source in outfit.abilities] == [("service",)]
        assert outfit.inspector is not None
        found = {finding.check: finding for finding in await outfit.inspector.inspect()}
        assert found["isolation"].message == "sold as swarm"


async def test_an_engine_without_a_swarm_is_not_fit_for_one(engine: None, tmp_path: Path) -> None:
    (finding,) = await SwarmInspector(SwarmInspectionSettings(folder=tmp_path)).inspect()
    assert (finding.check, finding.status) == ("swarm", "failed")


def an_image(client: Any, name: str, tag: str) -> str:
    """An image that only that engine has; its id."""
    made = client.create_container("busybox:latest", ["true"])["Id"]
    id: str = client.commit(made, name, tag)["Id"]
    client.remove_container(made)
    return id


def refused(found: dict[str, Finding]) -> list[str]:
    """What an operator would have to take upon itself."""
    return [check for check, finding in found.items() if finding.status == "failed"]


async def test_an_engine_that_is_restarted_under_a_task_is_infrastructure(swarm: Swarm, runtime: OnSwarm) -> None:
    spec = a_container("sh", "-c", "echo one; exec sleep 60")
    await runtime.start(spec)
    async for _ in runtime.logs(spec.name):  # what an engine that is killed has not taken yet is lost
        break
    swarm.worker.end(signal.SIGKILL)
    swarm.worker.start()
    assert (await runtime.wait(spec.name)).reason == "engine"
    assert texts(await every_line(runtime, spec.name)) == ["one"]


async def test_a_machine_that_is_lost_is_infrastructure_and_its_work_is_not_moved(swarm: Swarm) -> None:
    async with a_swarm_runtime(swarm, a_node()) as runtime:
        spec = a_container("sleep", "300")
        await runtime.start(spec)
        following = asyncio.create_task(every_line(runtime, spec.name))
        swarm.worker.end(signal.SIGKILL)
        swarm.sell("manager")
        try:
            end = await runtime.wait(spec.name)
            assert (end.code, end.reason) == (255, "engine")
            assert await following == []
            (gone,) = await runtime.containers()
            assert not gone.running
            assert (await runtime.health()).is_ok
            assert swarm.clients[0].containers(all=True) == []
        finally:
            swarm.worker.start()
            swarm.sell("manager", is_sold=False)
        until(lambda: all(item["Status"]["State"] == "ready" for item in swarm.machines()))
