"""The asynchronous client, against the real API in its own loop: services, money, and the same jobs."""

from decimal import Decimal

import pytest

from market.services import Service
from neugrid_sdk import AsyncClient, InsufficientFunds, NotFound, TimedOut
from tests.builders import PROVIDER
from tests.node.api.fakes import World, a_done_job, a_job, pods_run, pods_say
from tests.sdk.scripts import DONE, MANY, with_lines, with_many_jobs

pytestmark = pytest.mark.anyio


async def test_a_job_is_posted_looked_at_and_waited_for(aclient: AsyncClient, world: World) -> None:
    job = await aclient.jobs.submit(image="busybox", max_price="1.0")
    assert (await aclient.jobs.get(job.id)).status == "pending"
    world.jobs.put(a_done_job(id=job.id))
    assert (await aclient.jobs.wait(job.id, timeout=5)).has_ended


async def test_waiting_too_long_is_an_error(aclient: AsyncClient, world: World) -> None:
    world.jobs.put(a_job())
    with pytest.raises(TimedOut):
        await aclient.jobs.wait(DONE, timeout=0)


async def test_a_list_goes_over_all_pages(aclient: AsyncClient, world: World) -> None:
    with_many_jobs(world)
    ids = {job.id async for job in aclient.jobs.list(limit=100)}
    assert len(ids) == MANY
    assert len((await aclient.jobs.list(limit=7).page()).items) == 7


async def test_lines_are_followed_and_files_read(aclient: AsyncClient, world: World, tmp_path: object) -> None:
    with_lines(world, "one", "two")
    assert [line.message async for line in aclient.jobs.follow(DONE)] == ["one", "two"]
    assert [line.message async for line in aclient.jobs.logs(DONE)] == ["one", "two"]


async def test_a_deployment_lives_through_all_that_can_be_done_to_it(aclient: AsyncClient, world: World) -> None:
    made = await aclient.deployments.create(template_id="redis", name="cache", replicas=2, max_price_per_hour="0.05")
    assert (made.name, made.replicas, made.max_price_per_hour) == ("cache", 2, Decimal("0.05"))
    assert made.estimated_hourly_cost is not None
    await pods_run(world, made.id)
    assert (await aclient.deployments.get(made.id)).status == "running"
    assert (await aclient.deployments.update(made.id, env={"A_B": "1"})).env["A_B"] == "***"
    assert (await aclient.deployments.scale(made.id, 3)).replicas == 3
    await aclient.deployments.restart(made.id)
    await aclient.deployments.stop(made.id)
    assert (await aclient.deployments.start(made.id)).status in ("pending", "starting")
    assert [found.id async for found in aclient.deployments.list()] == [made.id]
    assert (await aclient.deployments.explain(made.id)).live == 1
    assert (await aclient.deployments.metrics(made.id)).metrics.cpu is not None
    assert (await aclient.deployments.delete(made.id)).id == made.id


async def test_output_of_a_deployment_and_of_its_pods(aclient: AsyncClient, world: World) -> None:
    made = await aclient.deployments.create(custom_image="nginx:1")
    await pods_run(world, made.id)
    await pods_say(world, made.id, "hello")
    (pod,) = [pod async for pod in aclient.pods.list()]
    assert pod.deployment_id == made.id
    assert [line.message async for line in aclient.deployments.logs(made.id)] == ["hello"]
    assert [line.message async for line in aclient.pods.logs(pod.id)] == ["hello"]
    assert (await aclient.pods.get(pod.id)).status == "running"
    await aclient.pods.stop(pod.id)
    await aclient.pods.start(pod.id)
    assert (await aclient.pods.delete(pod.id)).id == pod.id


async def test_an_agent_in_its_own_casing(aclient: AsyncClient, world: World) -> None:
    agent = await aclient.agents.create(
        name="my-agent", image="app:1", config={"cpu": "1.0", "replicas": 2}, environment={"LOG_LEVEL": "info"}
    )
    assert (agent.status, agent.replicas, agent.config.cpu) == ("deploying", 2, "1.0")
    assert (await aclient.agents.update(agent.id, config={"memory": "2Gi"})).config.memory == "2Gi"
    assert (await aclient.agents.scale(agent.id, 1)).replicas == 1
    await aclient.agents.stop(agent.id)
    await aclient.agents.start(agent.id)
    await aclient.agents.restart(agent.id)
    assert [found.name async for found in aclient.agents.list(sort="name:asc")] == ["my-agent"]
    assert (await aclient.agents.list(limit=1).page()).total == 1
    await aclient.agents.delete(agent.id)
    with pytest.raises(NotFound):
        await aclient.agents.get(agent.id)


async def test_a_deployment_is_created_once_under_one_key(aclient: AsyncClient, world: World) -> None:
    ids = {(await aclient.deployments.create(custom_image="a", idempotency_key="k")).id for _ in range(2)}
    assert (len(ids), len(list(world.storage.find(Service)))) == (1, 1)


async def test_projects_templates_files(aclient: AsyncClient, world: World) -> None:
    project = await aclient.projects.create(repo_url="https://git.example.org/app.git", ref="main")
    assert (project.name, (await aclient.projects.get(project.id)).ref) == ("app", "main")
    assert [found.id async for found in aclient.projects.list()] == [project.id]
    assert (await aclient.projects.delete(project.id)).id == project.id
    names = {template.id async for template in aclient.templates.list()}
    assert "redis" in names
    assert (await aclient.templates.get("redis")).image
    stored = await aclient.files.upload(b"abc")
    assert [(file.digest, file.size) async for file in aclient.files.list()] == [(stored.digest, 3)]
    assert (await aclient.files.delete(stored.digest)).id == stored.digest
    assert world.files.stored == [b"abc"]


async def test_the_market(aclient: AsyncClient) -> None:
    providers = [provider async for provider in aclient.providers.list(gpu=False, min_reputation=100)]
    assert [provider.gpu for provider in providers] == [False]
    assert (await aclient.providers.get(PROVIDER)).offers
    assert (await aclient.market.prices()).cpu.min is not None
    assert (await aclient.market.stats()).providers == 2


async def test_the_wallet_of_the_node(operator: AsyncClient) -> None:
    assert (await operator.wallet.balance()).balance == Decimal("12.5")
    assert (await operator.wallet.earnings()).withdrawable == 5
    made = await operator.wallet.withdraw(amount=Decimal("1.25"), idempotency_key="w")
    assert (made.amount, (await operator.wallet.withdrawal(made.id)).status) == (Decimal("1.25"), "confirmed")
    assert [found async for found in operator.wallet.withdrawals(limit=1)] == [made]
    with pytest.raises(InsufficientFunds) as caught:
        await operator.wallet.withdraw(amount="100")
    assert caught.value.status == 402
    assert [found["gasUsed"] async for found in operator.wallet.transactions()] == [21_000]
    assert [refund.amount for refund in await operator.wallet.refund()] == [Decimal("1.5")]


async def test_a_user_sees_what_he_may_spend(aclient: AsyncClient) -> None:
    found = await aclient.wallet.balance()
    assert (found.balance, found.held, found.deposit_address) == (1_000_000, 0, PROVIDER)
    assert (await aclient.wallet.earnings()).total == 0


async def test_keys_are_told_once_and_shown_nowhere(aclient: AsyncClient) -> None:
    key = await aclient.keys.create("ci", "90d")
    assert key.key is not None
    assert (key.key.startswith("ng_live_"), key.key in repr(key)) == (True, False)
    assert "ci" in [found.name async for found in aclient.keys.list()]
    assert (await aclient.keys.revoke(key.id)).id == key.id


async def test_the_node_itself(aclient: AsyncClient) -> None:
    health = await aclient.health()
    assert (health.status, health.docker) == ("ok", {"available": True})
    assert (await aclient.version()).api
    assert repr(aclient) == "AsyncClient(base_url='http://node')"
