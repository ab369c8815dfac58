"""The life of a service between whole nodes on fakes: real engines, rules and messages, fake world."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from market.jobs import Job
from market.ledger import CHAIN, Transfer, between, paid_account, user_account
from market.resources import Resources
from market.services import Pod, Service, ServiceState, is_up, regions_of
from market.units import GIB, Amount, Bytes, MilliCpu, Timestamp
from market.workloads import Workload, WorkloadKind
from node.actions.ledger import balance, held_by, post, sums
from node.actions.service_logs import Output
from node.actions.services import Amendment, NewService
from node.adapters.clock import SystemClock
from node.assembly import Node
from node.ports import Exit, Tx
from node.records import Account
from tests.fakes import MemoryStorage
from tests.node.test_market_flow import ACCOUNT, until
from tests.world import World

S = ServiceState


def a_new_service(**changes: Any) -> NewService:
    workload = Workload(
        kind=WorkloadKind.SERVICE,
        image="web:1",
        command=("serve",),
        resources=Resources(cpu=MilliCpu(1000), memory=Bytes(GIB)),
        timeout=600,
    )
    return replace(NewService(name="web", workload=workload, cap=Amount(3_000_000), term=600), **changes)


def between_two_sellers(tmp_path: Path, play: Callable[[World, Node], Awaitable[None]]) -> None:
    async def run() -> None:
        world = World(SystemClock(), tmp_path)
        try:
            await world.add("first", MemoryStorage(), sells=True)
            await world.add("second", MemoryStorage(), sells=True)
            buyer = await world.add("buyer", MemoryStorage(), sells=False)
            await until(lambda: len([o for o in buyer.book.book.offers() if "service" in o.capabilities]) == 2)
            await play(world, buyer)
        finally:
            await world.close()

    asyncio.run(run())


async def up(buyer: Node, **changes: Any) -> Service:
    service, _ = await buyer.hosting.create(ACCOUNT, a_new_service(**changes))
    assert service is not None
    return await reaching(buyer, service.id, S.RUNNING)


async def reaching(buyer: Node, id: str, state: ServiceState) -> Service:
    await until(lambda: found(buyer, id).state is state)
    return found(buyer, id)


def found(buyer: Node, id: str) -> Service:
    service = buyer.engine.storage.get(Service, id)
    assert service is not None
    return service


def containers(world: World) -> list[str]:
    return [
        " ".join(spec.command) for runtime in world.runtimes.values() for spec, _ in runtime.containers_by_name.values()
    ]


def test_a_service_spreads_over_providers_speaks_costs_and_ends(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        service = await up(buyer, replicas=2)
        sellers = {world.nodes[name].peers.signer.address for name in ("first", "second")}
        assert {pod.provider for pod in service.pods} == sellers
        assert regions_of(service) == ("local",)
        output = Output(buyer.engine, buyer.hosting)
        await until(lambda: len(output.last(ACCOUNT, service.id, tail=10)) == 2)
        assert [line.text for line in output.last(ACCOUNT, service.id, service.pods[0].id, tail=10)] == ["hello"]
        await until(lambda: buyer.hosting.cost(service) > 0)
        assert buyer.jobs.list(ACCOUNT) == ([], 0)
        await buyer.hosting.scale(ACCOUNT, service.id, 3)
        service = await reaching(buyer, service.id, S.RUNNING)
        assert len({pod.provider for pod in service.pods}) == 2
        await buyer.hosting.delete(ACCOUNT, service.id)
        await until(lambda: not containers(world) and not found(buyer, service.id).pods)
        jobs = buyer.engine.storage.find(Job, service=service.id)
        await until(lambda: buyer.hosting.cost(service) >= 3 * 2001)
        assert len(jobs) == 3

    between_two_sellers(tmp_path, play)


def test_a_stopped_service_comes_back_in_its_places(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        service = await up(buyer)
        before = [pod.id for pod in service.pods]
        await buyer.hosting.stop(ACCOUNT, service.id)
        await reaching(buyer, service.id, S.STOPPED)
        await until(lambda: not containers(world))
        await buyer.hosting.start(ACCOUNT, service.id)
        after = await reaching(buyer, service.id, S.RUNNING)
        assert [pod.id for pod in after.pods] == before
        assert after.pods[0].ends == 0
        assert len(containers(world)) == 1

    between_two_sellers(tmp_path, play)


def test_a_new_version_comes_up_before_the_old_one_goes(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        service = await up(buyer)
        least: list[int] = []
        buyer.engine.listen(lambda ids: least.append(sum(is_up(pod) for pod in found(buyer, service.id).pods)))
        amend = Amendment(amend=lambda workload: replace(workload, command=("serve", "2")))
        await buyer.hosting.update(ACCOUNT, service.id, amend)
        await until(lambda: containers(world) == ["serve 2"])
        assert min(least) == 1
        assert found(buyer, service.id).state is S.RUNNING

    between_two_sellers(tmp_path, play)


def test_a_service_that_fails_again_and_again_is_an_error_until_it_is_mended(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        for runtime in world.runtimes.values():
            runtime.ends["crash"] = Exit(code=3, reason="exited", started_at=Timestamp(0), finished_at=Timestamp(10))
        workload = replace(a_new_service().workload, command=("crash",))
        service, _ = await buyer.hosting.create(ACCOUNT, a_new_service(workload=workload))
        assert service is not None
        failed = await reaching(buyer, service.id, S.ERROR)
        pod: Pod = failed.pods[0]
        assert (pod.ends, pod.code) == (3, "EXIT_CODE")
        mend = Amendment(amend=lambda broken: replace(broken, command=("serve",)))
        await buyer.hosting.update(ACCOUNT, service.id, mend)
        mended = await reaching(buyer, service.id, S.RUNNING)
        assert [pod.id for pod in mended.pods] == [pod.id]

    between_two_sellers(tmp_path, play)


def test_a_node_that_was_away_goes_on_with_its_services(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        service = await up(buyer)
        storage = buyer.engine.storage
        await world.kill("buyer")
        again = await world.add("buyer", storage, sells=False)
        await again.hosting.stop(ACCOUNT, service.id)
        await reaching(again, service.id, S.STOPPED)
        await until(lambda: not containers(world))

    between_two_sellers(tmp_path, play)


def test_a_user_pays_for_a_service_out_of_what_is_held_and_has_the_rest_again_in_the_end(tmp_path: Path) -> None:
    ann = Account(id="user_ann", name="ann", created_at=Timestamp(0))
    deposit = between(CHAIN, user_account(ann.id), 4 * 3_000_000)

    async def play(world: World, buyer: Node) -> None:
        storage, hosting = buyer.engine.storage, buyer.hosting

        def has() -> tuple[int, int]:
            return balance(storage, user_account(ann.id)), held_by(storage, ann)

        def open_account(tx: Tx) -> None:
            tx.put(ann)
            post(tx, Transfer(id="d", kind="deposit", subject="d", postings=deposit), 0)

        await storage.write(open_account)
        service, _ = await hosting.create(ann, a_new_service(replicas=2))
        assert service is not None
        await reaching(buyer, service.id, S.RUNNING)
        paid = balance(storage, paid_account(ann.id))
        assert has() == (2 * 3_000_000, 2 * 3_000_000 - paid)
        newer = Amendment(amend=lambda workload: replace(workload, command=("serve", "2")))
        await hosting.update(ann, service.id, newer)
        await until(lambda: containers(world) == ["serve 2", "serve 2"])
        await hosting.delete(ann, service.id)
        await until(lambda: has()[1] == 0 and not containers(world))
        cost = balance(storage, paid_account(ann.id))
        assert cost == hosting.cost(service) >= 4 * 2001
        assert (has()[0], sums(storage)["money"]) == (4 * 3_000_000 - cost, 0)

    between_two_sellers(tmp_path, play)
