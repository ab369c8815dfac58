"""Services of accounts and the jobs behind their pods, effect by effect."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from market.errors import IdempotencyMismatch, InsufficientFunds, InvalidParameters, NotFound, QuotaExceeded
from market.job_events import LeaseAgreed, WorkloadBegan, WorkloadDone
from market.jobs import Job, JobState
from market.leases import LeaseState
from market.ledger import MONEY, user_account
from market.machines import Event
from market.orders import Constraints
from market.service_events import LaunchPod, RetirePod
from market.services import Pod, Service, ServiceState
from market.units import Amount, Rate
from market.workloads import Port, Volume, WorkloadKind
from node.actions import services as actions
from node.actions.answers import Idempotency
from node.actions.pods import pod_job
from node.actions.services import Amendment, NewService
from node.actions.siblings import Siblings
from node.records import Balance, Entry, Pending
from tests.builders import NOW, PROVIDER, REQUESTER, a_job, a_lease, a_service, a_workload, an_address
from tests.fakes import MemoryStorage
from tests.node.actions.stage import ACCOUNT, Stage, staged

OTHER = replace(ACCOUNT, id="user_2")
VOLUME = Volume(name="data", path="/data", size=2**22)


def a_new_service(**changes: Any) -> NewService:
    workload = a_workload(kind=WorkloadKind.SERVICE, command=("serve",), env={"KEY": "secret"})
    return replace(NewService(name="web", workload=workload, cap=Amount(1000), term=60), **changes)


def played(tmp_path: Any, play: Callable[[Stage], Awaitable[None]]) -> None:
    staged(tmp_path, play)  # type: ignore[arg-type]


async def made(stage: Stage, **changes: Any) -> Service:
    service, _ = await stage.buyer.hosting.create(ACCOUNT, a_new_service(**changes))
    assert service is not None
    return service


async def launched(stage: Stage, service: Service) -> list[Job]:
    """The jobs of all pods, posted as the engine would."""
    for pod in service.pods:
        await stage.perform("buyer", launch(service, pod))
    return stage.storages["buyer"].find(Job, service=service.id)


def launch(service: Service, pod: Pod) -> LaunchPod:
    return LaunchPod(subject=service.id, attempt=int(pod.job.rpartition("x")[2]), job=pod.job, pod=pod.id)


def retire(service: Service, pod: Pod) -> RetirePod:
    return RetirePod(subject=service.id, attempt=int(pod.job.rpartition("x")[2]), job=pod.job)


async def happen(stage: Stage, job: str, *events: Event) -> None:
    for event in events:
        await stage.buyer.engine.handle("Job", job, event)


def running(lease: str = "lse_000001", provider: str = PROVIDER) -> tuple[Event, Event]:
    return LeaseAgreed(lease=lease, provider=provider, rate=Rate(1)), WorkloadBegan(lease=lease, at=NOW)


# --- jobs behind pods ---


def test_a_launch_posts_one_job_however_often_it_is_performed(tmp_path: Any) -> None:
    async def play(stage: Stage) -> None:
        service = await made(stage)
        (job,) = await launched(stage, service)
        assert await launched(stage, service) == [job]
        assert (job.id, job.account, job.cap, job.term) == (service.pods[0].job, ACCOUNT.id, 1000, 60)
        assert (job.workload.timeout, job.workload.env, job.workload.owner) == (60, {"KEY": "secret"}, "")
        assert len(stage.storages["buyer"].find(Pending, effect="PlaceJob")) == 1

    played(tmp_path, play)


def test_what_happens_to_the_job_is_seen_by_the_service(tmp_path: Any) -> None:
    async def play(stage: Stage) -> None:
        service = await made(stage)
        (job,) = await launched(stage, service)
        await happen(stage, job.id, *running())
        found = stage.buyer.hosting.get(ACCOUNT, service.id)
        assert (found.state, found.pods[0].lease, found.pods[0].home) == (ServiceState.RUNNING, "lse_000001", PROVIDER)

    played(tmp_path, play)


def test_a_retired_job_is_cancelled_and_one_that_has_ended_is_no_error(tmp_path: Any) -> None:
    async def play(stage: Stage) -> None:
        service = await made(stage)
        (job,) = await launched(stage, service)
        await stage.buyer.hosting.stop(ACCOUNT, service.id)
        for _ in range(2):
            await stage.perform("buyer", retire(service, service.pods[0]))
        found = stage.storages["buyer"].get(Job, job.id)
        assert found is not None
        assert found.state is JobState.CANCELLED
        assert stage.buyer.hosting.get(ACCOUNT, service.id).state is ServiceState.STOPPED

    played(tmp_path, play)


@pytest.mark.parametrize("is_retired_first", [True, False])
def test_a_launch_that_was_taken_back_posts_nothing(tmp_path: Any, is_retired_first: bool) -> None:
    async def play(stage: Stage) -> None:
        service = await made(stage)
        await stage.buyer.hosting.stop(ACCOUNT, service.id)
        effects = [retire(service, service.pods[0]), launch(service, service.pods[0])]
        for effect in effects if is_retired_first else effects[::-1]:
            await stage.perform("buyer", effect)
        assert stage.storages["buyer"].find(Job, service=service.id) == []
        assert stage.buyer.hosting.get(ACCOUNT, service.id).state is ServiceState.STOPPED

    played(tmp_path, play)


def test_pods_are_placed_in_turn_each_away_from_its_siblings() -> None:
    async def play() -> None:
        storage, pods = MemoryStorage(), [Pod(id=f"pod_{n}", generation=2, job=f"job_x{n}") for n in range(5)]
        for number, fields in ((2, {"job": ""}), (3, {"generation": 1}), (4, {"is_leaving": True})):
            pods[number] = replace(pods[number], provider=an_address(9), **fields)
        siblings, log = Siblings(storage), list[str]()
        await storage.write(lambda tx: tx.put(a_service(pods=tuple(pods))))

        async def place(pod: Pod, provider: str) -> None:
            async with siblings.turn(pod_job(a_service(), pod, "", NOW)) as taken:
                log.append(f"{pod.id} sees {' '.join(taken)}")
                pods[pods.index(pod)] = replace(pod, provider=provider)
                await storage.write(lambda tx: tx.put(a_service(pods=tuple(pods))))

        await asyncio.gather(place(pods[0], PROVIDER), place(pods[1], REQUESTER))
        assert log == ["pod_0 sees ", f"pod_1 sees {PROVIDER}"]
        async with siblings.turn(a_job()) as taken:
            assert taken == ()

    asyncio.run(play())


def test_a_pod_with_volumes_goes_back_to_them_under_a_name_that_nobody_else_can_guess() -> None:
    service = a_service(
        secret="s1", workload=a_workload(volumes=(VOLUME,)), constraints=Constraints(only=(REQUESTER, PROVIDER))
    )
    first, second = (Pod(id=f"pod_{number}", generation=1, job=f"job_x{number}", home=PROVIDER) for number in (1, 2))
    job = pod_job(service, first, "", NOW)
    assert job.constraints.only == (PROVIDER,)
    assert len(job.workload.owner) == 64
    owners = {
        job.workload.owner,
        pod_job(service, second, "", NOW).workload.owner,
        pod_job(replace(service, secret="s2"), first, "", NOW).workload.owner,
    }
    assert len(owners) == 3
    assert pod_job(service, replace(first, home=""), "", NOW).constraints.only == (REQUESTER, PROVIDER)
    assert pod_job(replace(service, workload=a_workload()), first, "", NOW).constraints.only == (REQUESTER, PROVIDER)


def test_jobs_of_pods_are_no_jobs_of_their_user(tmp_path: Any) -> None:
    async def play(stage: Stage) -> None:
        (job,) = await launched(stage, await made(stage))
        assert stage.buyer.jobs.list(ACCOUNT) == ([], 0)
        for ask in (stage.buyer.jobs.get, stage.buyer.jobs.logs, stage.buyer.jobs.results):
            with pytest.raises(NotFound):
                ask(ACCOUNT, job.id)
        with pytest.raises(NotFound):
            await stage.buyer.jobs.cancel(ACCOUNT, job.id)

    played(tmp_path, play)


# --- what it costs ---


def test_the_cost_is_the_sum_over_all_pods_and_grows_while_they_run(tmp_path: Any) -> None:
    async def play(stage: Stage) -> None:
        hosting, storage = stage.buyer.hosting, stage.storages["buyer"]
        service = await made(stage, replicas=2)
        first, second = await launched(stage, service)
        assert hosting.cost(service) == 0
        lease = a_lease("requester", id="lse_000001", job=first.id, state=LeaseState.RUNNING, paid=Amount(30))
        await stage.put("buyer", lease)
        await happen(stage, first.id, *running())
        assert hosting.cost(service) == 30
        await stage.put("buyer", replace(lease, paid=Amount(45)))
        assert hosting.cost(service) == 45
        done = {"exit_code": 1, "code": "", "message": "", "started_at": NOW, "ended_at": NOW, "seconds": 5}
        await happen(stage, first.id, WorkloadDone(lease="lse_000001", due=Amount(50), **done))
        assert hosting.cost(service) == 50
        await stage.put("buyer", replace(lease, paid=Amount(50), state=LeaseState.SETTLED))
        assert [hosting.cost(service), hosting.cost(service)] == [50, 50]
        await stage.put("buyer", replace(lease, id="lse_000002", job=second.id, paid=Amount(7)))
        await happen(stage, second.id, *running("lse_000002"))
        assert hosting.cost(service) == 57
        assert storage.count(Job, service=service.id) == 2

    played(tmp_path, play)


# --- whose it is, and how much of it there may be ---


def test_a_service_of_somebody_else_is_like_one_that_does_not_exist(tmp_path: Any) -> None:
    async def play(stage: Stage) -> None:
        hosting = stage.buyer.hosting
        service = await made(stage)
        pod = service.pods[0].id
        assert hosting.pod(ACCOUNT, pod)[1] == service.pods[0]
        for ask in (hosting.stop, hosting.start, hosting.restart, hosting.delete):
            with pytest.raises(NotFound):
                await ask(OTHER, service.id)
        for ask_pod in (hosting.start_pod, hosting.stop_pod, hosting.delete_pod):
            with pytest.raises(NotFound):
                await ask_pod(OTHER, pod)
        assert hosting.list(OTHER) == []
        assert hosting.get(ACCOUNT, service.id) == service

    played(tmp_path, play)


def test_a_repeated_key_answers_the_first_time_again(tmp_path: Any) -> None:
    async def play(stage: Stage) -> None:
        hosting = stage.buyer.hosting
        once = Idempotency(key="k", route="r", body_digest="d", render=lambda made: (201, made.id.encode()))
        service, _ = await hosting.create(ACCOUNT, a_new_service(), once)
        again, answer = await hosting.create(ACCOUNT, a_new_service(), once)
        assert service is not None
        assert answer is not None
        assert (again, answer.status, answer.body) == (None, 201, service.id.encode())
        with pytest.raises(IdempotencyMismatch):
            await hosting.create(ACCOUNT, a_new_service(), replace(once, body_digest="e"))
        assert len(hosting.list(ACCOUNT)) == 1

    played(tmp_path, play)


def test_caps_of_jobs_and_services_are_held_against_one_wallet(tmp_path: Any) -> None:
    async def play(stage: Stage) -> None:
        hosting = stage.buyer.hosting
        await stage.buyer.wallets.refresh_funds()
        funds = stage.buyer.wallets.funds()
        assert funds is not None
        service = await made(stage, cap=Amount(funds // 2), replicas=2)
        with pytest.raises(InsufficientFunds):
            await made(stage, cap=Amount(funds))
        with pytest.raises(InsufficientFunds):
            await hosting.scale(ACCOUNT, service.id, 3)
        assert hosting.get(ACCOUNT, service.id).replicas == 2
        await hosting.scale(ACCOUNT, service.id, 1)
        await made(stage, cap=Amount(funds // 2))
        assert len(hosting.list(ACCOUNT)) == 2
        with pytest.raises(InsufficientFunds):
            await hosting.update(ACCOUNT, service.id, Amendment(cap=Amount(funds)))
        await hosting.delete(ACCOUNT, service.id)
        await made(stage, cap=Amount(funds // 2))

    played(tmp_path, play)


def test_large_settings_of_an_accounts_services_are_counted_together(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "MAX_SETTINGS", 100_000)
    large, larger = (
        a_workload(kind=WorkloadKind.SERVICE, env=dict.fromkeys("ABC"[:count], "x" * 20_000)) for count in (2, 3)
    )

    async def play(stage: Stage) -> None:
        hosting = stage.buyer.hosting
        first, second = await made(stage, workload=large), await made(stage, workload=large)
        with pytest.raises(QuotaExceeded, match="all services of an account may have 100000 bytes together"):
            await made(stage, workload=large)
        await made(stage)
        with pytest.raises(QuotaExceeded):
            await hosting.update(ACCOUNT, first.id, Amendment(amend=lambda _: larger))
        assert hosting.get(ACCOUNT, first.id).workload == large
        await hosting.delete(ACCOUNT, second.id)
        await hosting.update(ACCOUNT, first.id, Amendment(amend=lambda _: larger))

    played(tmp_path, play)


def test_what_runs_of_users_without_money_is_stopped_and_what_stands_is_not_read(tmp_path: Any) -> None:
    async def play(stage: Stage) -> None:
        storage, hosting = stage.buyer.engine.storage, stage.buyer.hosting
        service, standing = await made(stage), await made(stage)
        await hosting.stop(ACCOUNT, standing.id)
        account = user_account(ACCOUNT.id)
        await stage.put("buyer", Balance(id=f"{account}/{MONEY}", account=account, currency=MONEY, amount=-1))
        read: list[str] = []
        find = storage.find

        def noted(noun: Any, **where: Any) -> list[Any]:
            found = find(noun, **where)
            read.extend(each.id for each in found if noun is Service)
            return found

        storage.find = noted  # type: ignore[method-assign]
        await hosting.stop_unpaid()
        assert not hosting.get(ACCOUNT, service.id).is_wanted
        await hosting.stop_unpaid()
        assert read == [service.id]

    played(tmp_path, play)


def test_an_account_may_have_so_many_services_and_no_more(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "MAX_SERVICES", 2)

    async def play(stage: Stage) -> None:
        first = await made(stage)
        await made(stage)
        with pytest.raises(QuotaExceeded):
            await made(stage)
        await stage.buyer.hosting.delete(ACCOUNT, first.id)
        await made(stage)

    played(tmp_path, play)


def test_a_workload_that_is_too_large_is_refused_also_as_a_change(tmp_path: Any) -> None:
    large = {f"A{number}": "x" * 30_000 for number in range(10)}

    async def play(stage: Stage) -> None:
        with pytest.raises(InvalidParameters):
            await made(stage, workload=a_workload(env=large))
        service = await made(stage)
        change = Amendment(amend=lambda workload: replace(workload, env=large), replicas=2)
        with pytest.raises(InvalidParameters):
            await stage.buyer.hosting.update(ACCOUNT, service.id, change)
        assert stage.buyer.hosting.get(ACCOUNT, service.id) == service

    played(tmp_path, play)


def test_a_change_names_what_it_changes(tmp_path: Any) -> None:
    async def play(stage: Stage) -> None:
        service = await made(stage)
        ports = (Port(port=80),)
        change = Amendment(name="other", replicas=2, amend=lambda workload: replace(workload, ports=ports))
        after = await stage.buyer.hosting.update(ACCOUNT, service.id, change)
        assert (after.name, after.replicas, after.workload.ports, after.cap) == ("other", 2, ports, service.cap)
        assert after.generation == 2
        events = [entry.event for entry in stage.storages["buyer"].find(Entry, subject=service.id)]
        assert events == ["Created", "UpdateAsked", "ScaleAsked"]

    played(tmp_path, play)
