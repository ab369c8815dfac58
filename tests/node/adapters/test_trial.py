"""A real start as evidence: what the container says of itself and what the engine says of it, and the verdict."""

import asyncio
import re
from pathlib import Path
from typing import Any

import docker
import pytest

from market.offers import Gpu
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.settings import SECCOMP, read_seccomp
from node.adapters.docker_engine.trial import LABEL, Trial, Trials, judge_gvisor, judge_limits, judge_profile
from node.adapters.inspection.inspector import InspectionSettings, LocalInspector
from node.ports import Finding
from tests.builders import a_gpu
from tests.node.adapters.engines import a_node, there_are

pytestmark = pytest.mark.anyio
NODE = a_node()
"""Others on this engine may try theirs at the same time."""


@pytest.fixture
async def trial(engine: None) -> Trial:
    return await Trials(Engine(), read_seccomp(SECCOMP), node=NODE).run("hardened")


def left() -> list[Any]:
    client = docker.APIClient(version="auto")
    found = there_are(client, filters={"label": f"neugrid.node={NODE}"})
    client.close()
    return found


@pytest.mark.docker
async def test_the_next_trial_of_a_node_removes_the_one_that_its_engine_died_over(engine: None) -> None:
    docker_engine, node = Engine(), a_node()
    trials = Trials(docker_engine, read_seccomp(SECCOMP), node=node)
    config = {"Image": "busybox:latest", "Cmd": ["true"], "Labels": {"neugrid.node": node}}
    await docker_engine.call(lambda client: client.create_container_from_config(config, f"{LABEL}-{node}"))
    try:
        await trials.run("hardened")
        labels = {"label": f"neugrid.node={node}"}
        assert await docker_engine.call(lambda client: client.containers(all=True, filters=labels)) == []
    finally:
        docker_engine.close()


@pytest.mark.docker
async def test_the_profile_and_its_limits_are_proved_by_a_start_that_leaves_nothing(trial: Trial) -> None:
    assert judge_profile(trial).status == "ok", judge_profile(trial)
    assert judge_limits(trial).status == "ok", judge_limits(trial)
    assert left() == []


@pytest.mark.docker
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("status CapEff:\t0000000000000000", "status CapEff:\t00000000a80425fb", "capabilities"),
        ("status NoNewPrivs:\t1", "status NoNewPrivs:\t0", "new privileges"),
        ("status Seccomp:\t2", "status Seccomp:\t0", "unfiltered"),
        (r"^uid \d+$", "uid 0", "root"),
        ("mount overlay / overlay ro", "mount overlay / overlay rw", "writable places /"),
    ],
)
async def test_a_container_that_has_more_than_the_profile_gives_has_failed(
    trial: Trial, old: str, new: str, said: str
) -> None:
    lines = tuple(re.sub(old, new, line) for line in trial.lines)
    assert lines != trial.lines
    found = judge_profile(Trial(lines=lines, inspected=trial.inspected))
    assert found.status == "failed"
    assert said in found.message


@pytest.mark.docker
async def test_a_container_that_says_nothing_has_proved_nothing(trial: Trial) -> None:
    silent = Trial(lines=(), inspected=trial.inspected)
    assert [judge_profile(silent).status, judge_limits(silent).status] == ["failed", "failed"]


def a_trial(oom: bool = True, processes: int = 317, memory: int = 160 * 2**20, kernel: str = "4.4.0") -> Trial:
    asked = {"Memory": memory, "PidsLimit": 320}
    inspected = {"State": {"OOMKilled": oom, "ExitCode": 0}, "HostConfig": asked}
    return Trial(lines=(f"processes {processes}", f"kernel {kernel}"), inspected=inspected)


@pytest.mark.parametrize(
    ("trial", "status"),
    [
        (a_trial(), "ok"),
        (a_trial(oom=False), "failed"),
        (a_trial(processes=1000), "failed"),
        (a_trial(processes=0), "failed"),
        (a_trial(memory=0), "failed"),
    ],
)
def test_limits_that_do_not_hold_have_failed(trial: Trial, status: str) -> None:
    assert judge_limits(trial).status == status


def test_a_runtime_that_shows_the_hosts_kernel_is_no_gvisor() -> None:
    assert judge_gvisor(a_trial(), "6.18.44").status == "ok"
    assert judge_gvisor(a_trial(kernel="6.18.44"), "6.18.44").status == "failed"
    assert judge_gvisor(a_trial(kernel=""), "6.18.44").status == "failed"


async def found(folder: Path, isolation: str, *gpus: Gpu) -> dict[str, Finding]:
    settings = InspectionSettings(folder=folder, isolation=isolation, gpus=lambda: gpus)
    return {finding.check: finding for finding in await LocalInspector(settings).inspect()}


@pytest.mark.docker
async def test_this_machine_is_looked_over(engine: None, tmp_path: Path) -> None:
    async with asyncio.timeout(150):  # it takes one second where nobody else is at work
        findings = await found(tmp_path, "hardened")
    assert {"engine", "runc-version", "hardened", "limits", "disk", "clock", "cgroups"} <= set(findings)
    assert findings["isolation"].status == "ok"


@pytest.mark.docker
async def test_a_tier_that_is_not_here_is_not_sold(engine: None, tmp_path: Path) -> None:
    assert (await found(tmp_path, "gpu"))["isolation"].message == "gpu can not be sold: there is no GPU"
    with_gpu = await found(tmp_path, "hardened", a_gpu())
    assert with_gpu["isolation"].status == "ok"
    assert "isolation" in with_gpu["gpus"].message, "GPUs are a tier of their own"
