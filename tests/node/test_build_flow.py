"""Builds between whole nodes on fakes: a project, its build at a provider, the image back, and a pod that runs it."""

import hashlib
from pathlib import Path

import pytest

from market.errors import NotFound
from market.jobs import Job, JobState
from market.services import Service
from market.workloads import Source
from node.actions.build_steps import BuildSteps
from node.actions.projects import BuildWish
from node.assembly import Node
from node.ports import BuildEnd
from node.records import Account, Project
from tests.fakes import MemoryStorage
from tests.node.test_market_flow import ACCOUNT, in_a_world, until
from tests.world import World, image_of

URL = "https://git.example.org/team/web"


async def a_project(buyer: Node) -> Project:
    await buyer.engine.storage.write(lambda tx: tx.put(ACCOUNT))
    return await buyer.projects.create(ACCOUNT, "web", Source(url=URL))


async def posted(buyer: Node, project: Project, **wish: int) -> Job:
    job, _ = await buyer.jobs.submit(ACCOUNT, buyer.projects.order(ACCOUNT, project.id, BuildWish(**wish)))
    assert job is not None
    return job


async def built(buyer: Node, project: Project, **wish: int) -> Job:
    return await buyer.jobs.wait(ACCOUNT, (await posted(buyer, project, **wish)).id, 60)


def services(node: Node) -> list[Service]:
    return node.engine.storage.find(Service)


def test_a_project_is_built_and_its_image_comes_back_and_runs_as_a_pod(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        project = await a_project(buyer)
        job = await built(buyer, project)
        assert (job.state, job.exit_code) == (JobState.SUCCEEDED, 0)
        [spec] = world.builders["seller"].specs
        assert (spec.source.url, spec.egress.policy) == (URL, "web")
        content = buyer.jobs.result_path(ACCOUNT, job.id, "image.tar").read_bytes()
        assert content == b"image of web"
        steps = BuildSteps(buyer.engine.storage)
        assert [(step.name, step.status) for step in steps.of(job)] == [(f"clone {URL}", "done"), ("RUN make", "done")]
        await until(lambda: [pod.state for service in services(buyer) for pod in service.pods] == ["running"])
        [service] = services(buyer)
        assert (service.kind, service.name, service.origin) == ("pod", "web", project.id)
        image = "sha256:" + hashlib.sha256(content).hexdigest()
        runs = [spec for spec, _ in world.runtimes["seller"].containers_by_name.values()]
        assert [(spec.image, spec.inputs, spec.env) for spec in runs] == [(image, None, {"PORT": "8080"})]

    in_a_world(tmp_path, play)


def test_a_later_build_renews_the_pod_and_keeps_what_its_user_changed(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        project = await a_project(buyer)
        await built(buyer, project)
        await until(lambda: services(buyer))
        [service] = services(buyer)
        await buyer.hosting.scale(ACCOUNT, service.id, 2)
        world.builders["seller"].ends["web"] = image_of("other", tmp_path / "seller" / "lent")
        job = await built(buyer, project)
        await until(lambda: services(buyer)[0].workload.image != service.workload.image)
        assert [service.replicas for service in services(buyer)] == [2]
        assert services(buyer)[0].workload.image == f"archive:{buyer.jobs.results(ACCOUNT, job.id)[0].digest}"

    in_a_world(tmp_path, play)


def test_a_gpu_is_wanted_by_the_pod_and_not_by_the_build(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        project = await a_project(buyer)
        job = await built(buyer, project, gpus=1, vram=8 * 2**30)
        assert job.workload.resources.gpus == 0
        await until(lambda: services(buyer))
        wanted = services(buyer)[0].workload.resources
        assert (wanted.gpus, wanted.vram) == (1, 8 * 2**30)

    in_a_world(tmp_path, play)


def test_a_later_build_brings_the_gpus_that_were_ordered_with_it(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        project, gpus = await a_project(buyer), list[tuple[int, int]]()
        for number, wish in enumerate(({}, {"gpus": 1, "vram": 8 * 2**30}, {}, {"gpus": 0})):
            image = image_of(f"version {number}", tmp_path / "seller" / "lent")
            world.builders["seller"].ends["web"] = image
            job = await built(buyer, project, **wish)
            archive = f"archive:{buyer.jobs.results(ACCOUNT, job.id)[0].digest}"
            await until(lambda archive=archive: [each.workload.image for each in services(buyer)] == [archive])
            wanted = services(buyer)[0].workload.resources
            gpus.append((wanted.gpus, wanted.vram))
        assert gpus == [(0, 0), (1, 8 * 2**30), (1, 8 * 2**30), (0, 0)]

    in_a_world(tmp_path, play)


@pytest.mark.parametrize("code", ["BUILD_FAILED", "CLONE_FAILED", "BUILD_TOO_LARGE", "OUT_OF_MEMORY", "TIMEOUT"])
def test_a_build_that_fails_is_told_and_not_tried_elsewhere(tmp_path: Path, code: str) -> None:
    async def play(world: World, buyer: Node) -> None:
        await world.add("second", MemoryStorage(), sells=True, cpu_price=3_000)
        await until(lambda: len(list(buyer.book.book.offers())) == 2)
        end = BuildEnd(code=code, message="step 2 (RUN make): it ended with exit code 2\nlast", exit_code=2)
        for builder in world.builders.values():
            builder.ends["web"] = end
        job = await built(buyer, await a_project(buyer))
        assert (job.state, job.code, job.message, job.exit_code) == (JobState.FAILED, code, end.message, 2)
        assert (job.attempt, job.cost > 0) == (1, True)
        assert sum(len(builder.specs) for builder in world.builders.values()) == 1
        steps = BuildSteps(buyer.engine.storage).of(job)
        assert [step.status for step in steps] == ["done", "failed"]
        assert services(buyer) == []

    in_a_world(tmp_path, play)


def test_a_cancelled_build_is_ended_at_its_provider(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        builder = world.builders["seller"]
        builder.gate.clear()
        job = await posted(buyer, await a_project(buyer))
        await until(lambda: buyer.jobs.get(ACCOUNT, job.id).state is JobState.RUNNING)
        await buyer.jobs.cancel(ACCOUNT, job.id)
        await until(lambda: builder.cancelled == [builder.specs[0].name])

    in_a_world(tmp_path, play)


def test_a_provider_that_begins_anew_gives_its_build_up_to_another(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        builder = world.builders["seller"]
        builder.gate.clear()
        job = await posted(buyer, await a_project(buyer))
        await until(lambda: buyer.jobs.get(ACCOUNT, job.id).state is JobState.RUNNING)
        storage = world.nodes["seller"].engine.storage
        await world.kill("seller")
        builder.gate.set()
        await world.add("seller", storage, sells=True)
        job = await buyer.jobs.wait(ACCOUNT, job.id, 60)
        assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
        assert builder.specs[0].name in builder.swept

    in_a_world(tmp_path, play)


def test_a_builder_that_breaks_gives_its_build_up_to_another(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        await world.add("second", MemoryStorage(), sells=True, cpu_price=3_000)
        await until(lambda: len(list(buyer.book.book.offers())) == 2)
        world.builders["seller"].breaks.add("web")
        job = await built(buyer, await a_project(buyer))
        assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)

    in_a_world(tmp_path, play)


def test_projects_are_their_accounts_own(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        project = await a_project(buyer)
        other = Account(id="user_2", name="other", created_at=ACCOUNT.created_at)
        assert buyer.projects.list(ACCOUNT) == [project]
        assert buyer.projects.list(other) == []
        with pytest.raises(NotFound):
            buyer.projects.order(other, project.id, BuildWish())
        with pytest.raises(NotFound):
            await buyer.projects.delete(other, project.id)
        await buyer.projects.delete(ACCOUNT, project.id)
        with pytest.raises(NotFound):
            buyer.projects.get(ACCOUNT, project.id)

    in_a_world(tmp_path, play)
