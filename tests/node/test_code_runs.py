"""Code between whole nodes on fakes: a standing lease, many runs, payment by the run that succeeded."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from market.errors import Conflict, IdempotencyMismatch, InvalidParameters, NotFound, Unavailable
from market.job_events import CancelAsked
from market.jobs import DONE, Job
from market.leases import Lease
from market.runs import Run, RunState
from market.units import Timestamp
from node.actions.answers import Idempotency
from node.actions.runner import DOCUMENTED, language_of
from node.actions.standing import GATEWAY, GIVES_WAY, USED_WITHIN
from node.adapters.sandboxes.languages import load_languages
from node.assembly import Node
from node.ports import CodeRun
from node.records import Account, Pending
from tests.fakes import MemoryStorage
from tests.node.test_market_flow import ACCOUNT, a_new_job, in_a_world, until
from tests.world import World

OTHER = Account(id="user_2", name="other", created_at=Timestamp(0))


async def ran(node: Node, code: str, inputs: tuple[str, ...] = ("",)) -> Run:
    run = await node.runner.submit(ACCOUNT, "python", code, inputs)
    return await node.runner.wait(ACCOUNT, run.id, 60)


def _interpreted(code: str, stdin: str) -> CodeRun:
    if code == "1/0":
        return CodeRun(exit_code=1, error="RuntimeError")
    return CodeRun(stdout="hi\n")


def leases(node: Node, side: str) -> list[Lease]:
    return node.engine.storage.find(Lease, side=side)


def test_code_runs_on_one_standing_lease_and_only_success_is_paid(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        sandboxes = world.sandboxes["seller"]
        sandboxes.programs["python"] = _interpreted
        good = [await ran(buyer, "print('hi')") for _ in range(5)]
        bad = await ran(buyer, "1/0")
        assert [run.results[0].stdout for run in good] == ["hi\n"] * 5
        assert {run.state for run in good} == {RunState.SUCCEEDED}
        assert (bad.state, bad.error) == (RunState.FAILED, "RuntimeError")
        (lease,) = leases(buyer, "requester")
        assert (lease.runs, lease.terms.unit, len({run.lease for run in good})) == (5, "run", 1)
        await buyer.engine.handle("Job", lease.job, CancelAsked())
        await until(lambda: leases(buyer, "requester")[0].state == "settled")
        paid = leases(buyer, "requester")[0].paid
        assert paid == 5 * lease.terms.rate // 10**9
        await until(lambda: world.nodes["seller"].funding.unclaimed_amount() == paid)

    in_a_world(tmp_path, play)


def test_a_lease_that_runs_no_code_any_more_is_given_back(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        await ran(buyer, "first")
        standing = buyer.runner._standing
        await standing.extend()
        assert [lease.state for lease in leases(buyer, "requester")] == ["running"]
        (lease,) = leases(buyer, "requester")
        standing._used[lease.id] -= USED_WITHIN
        await standing.extend()
        await until(lambda: leases(buyer, "requester")[0].state == "settled")
        assert leases(buyer, "requester")[0].paid == lease.terms.rate // 10**9
        again = await ran(buyer, "later")
        assert (again.state, again.lease != lease.id) == (RunState.SUCCEEDED, True)

    in_a_world(tmp_path, play)


def test_an_idle_lease_gives_way_at_once_to_an_order_that_waits_for_its_room(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        await ran(buyer, "first")
        standing = buyer.runner._standing
        (lease,) = leases(buyer, "requester")
        standing._used[lease.id] -= GIVES_WAY
        await standing.extend()
        assert leases(buyer, "requester")[0].state == "running", "nothing waits"
        seller = world.nodes["seller"].selling
        assert seller is not None
        job, _ = await buyer.jobs.submit(ACCOUNT, a_new_job(resources=replace(seller.total, disk=0), cap=50_000_000))
        assert job is not None
        await until(lambda: bool(buyer.jobs.get(ACCOUNT, job.id).reasons))
        await standing.extend()
        await until(lambda: buyer.jobs.get(ACCOUNT, job.id).state in DONE)
        assert buyer.jobs.get(ACCOUNT, job.id).state == "success"
        await until(lambda: leases(buyer, "requester")[0].state == "settled")

    in_a_world(tmp_path, play)


def test_a_run_that_is_cancelled_in_a_sandbox_stays_cancelled_and_unpaid(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        await ran(buyer, "warm")
        sandboxes = world.sandboxes["seller"]
        sandboxes.gate.clear()
        run = await buyer.runner.submit(ACCOUNT, "python", "slow")
        await until(lambda: run.id in [spec.id for spec in sandboxes.specs])
        assert (await buyer.runner.cancel(ACCOUNT, run.id)).state is RunState.CANCELLED
        sandboxes.gate.set()
        await until(lambda: not buyer.runner.is_running(run))
        events = [entry.event async for entry in buyer.runner.events(ACCOUNT, run.id)]
        assert (buyer.runner.get(ACCOUNT, run.id).state, events[-1]) == (RunState.CANCELLED, "RunCancelled")
        assert leases(buyer, "requester")[0].runs == 1
        with pytest.raises(Conflict):
            await buyer.runner.cancel(ACCOUNT, run.id)
        assert (await ran(buyer, "after")).state is RunState.SUCCEEDED

    in_a_world(tmp_path, play)


def test_a_process_without_a_book_knows_the_languages_that_the_node_remembers(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        await until(buyer.runner.languages)
        await buyer.runner.remember_languages()
        offered = buyer.runner.languages()
        await world.kill("seller")
        for offer in list(buyer.book.book.offers()):
            buyer.book.book.remove_offer(offer.id)
        assert buyer.book.languages() == {}
        assert buyer.runner.languages() == offered
        await buyer.runner.remember_languages()
        assert buyer.runner.languages() == {}

    in_a_world(tmp_path, play)


def test_a_language_is_unavailable_while_nobody_offers_it_and_refused_when_there_is_none(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        await until(buyer.runner.languages)
        await world.kill("seller")
        for offer in list(buyer.book.book.offers()):
            buyer.book.book.remove_offer(offer.id)
        await buyer.runner.remember_languages()
        for known in ("python", "Java"):
            with pytest.raises(Unavailable, match="later"):
                await buyer.runner.submit(ACCOUNT, known, "x")
        with pytest.raises(InvalidParameters):
            await buyer.runner.submit(ACCOUNT, "cobol", "x")

    in_a_world(tmp_path, play)


def test_a_language_is_one_of_those_offered_or_known() -> None:
    words = load_languages().words()
    assert [language_of(word, {"cpp": 1}, words) for word in ("cpp", "C++", "cc")] == ["cpp"] * 3
    assert set(DOCUMENTED) <= set(words.values())
    for known in ("java", "JS", "rb"):
        with pytest.raises(Unavailable):
            language_of(known, {"cpp": 1}, words)
    with pytest.raises(InvalidParameters):
        language_of("rb", {"cpp": 1}, {})


def test_every_input_has_a_run_of_its_own(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        run = await ran(buyer, "echo", ("one", "two"))
        assert [result.stdout for result in run.results] == ["hello one\n", "hello two\n"]

    in_a_world(tmp_path, play)


def test_many_runs_at_once_share_what_the_lease_has_and_each_runs_once(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        found = await asyncio.gather(*(ran(buyer, f"{number}") for number in range(30)))
        assert {run.state for run in found} == {RunState.SUCCEEDED}
        assert sorted(spec.id for spec in world.sandboxes["seller"].specs) == sorted(run.id for run in found)

    in_a_world(tmp_path, play)


def test_a_provider_that_dies_under_a_run_loses_it_to_another(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        first = await ran(buyer, "warm")
        await world.add("other", MemoryStorage(), sells=True, cpu_price=3_000)
        await until(lambda: len(list(buyer.book.book.offers())) == 2)
        world.sandboxes["seller"].gate.clear()
        run = await buyer.runner.submit(ACCOUNT, "python", "slow")
        await until(lambda: run.id in [spec.id for spec in world.sandboxes["seller"].specs])
        await world.kill("seller")
        world.sandboxes["seller"].gate.set()
        run = await buyer.runner.submit(ACCOUNT, "python", "after")
        run = await buyer.runner.wait(ACCOUNT, run.id, 60)
        assert (run.state, run.lease != first.lease) == (RunState.SUCCEEDED, True)

    in_a_world(tmp_path, play)


def test_a_run_that_never_left_is_tried_again_and_that_is_no_attempt(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        await ran(buyer, "warm")
        await world.kill("seller")
        run = await buyer.runner.submit(ACCOUNT, "python", "cut off")
        await until(lambda: any(effect.attempts for effect in buyer.engine.storage.find(Pending, subject=run.id)))
        waiting = buyer.runner.get(ACCOUNT, run.id)
        assert (waiting.state, waiting.attempt) == (RunState.QUEUED, 1)

    in_a_world(tmp_path, play)


def test_a_language_that_nobody_offers_is_refused_and_a_foreign_run_is_none(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        with pytest.raises(InvalidParameters, match="python"):
            await buyer.runner.submit(ACCOUNT, "cobol", "x")
        run = await ran(buyer, "x")
        with pytest.raises(NotFound):
            buyer.runner.get(OTHER, run.id)

    in_a_world(tmp_path, play)


def test_the_jobs_behind_the_sandboxes_are_nobodys(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        await ran(buyer, "x")
        assert buyer.jobs.list(ACCOUNT) == ([], 0)
        assert [job.account for job in buyer.engine.storage.find(Job)] == [GATEWAY]

    in_a_world(tmp_path, play)


def test_a_repeated_key_runs_once_however_often_it_comes_at_the_same_time(tmp_path: Path) -> None:
    async def play(world: World, buyer: Node) -> None:
        await until(lambda: "python" in buyer.runner.languages())
        key = Idempotency(key="k", route="runner", body_digest="d", render=lambda run: (200, run.id.encode()))
        asked = [buyer.runner.submit_once(ACCOUNT, "python", "first", ("",), key) for _ in range(100)]
        answers = await asyncio.gather(*asked)
        made = [run.id for run, _ in answers if run is not None]
        assert len(made) == 1
        assert {answer.body for _, answer in answers if answer is not None} == {made[0].encode()}
        other = Idempotency(key="k", route="runner", body_digest="e", render=lambda run: (200, b""))
        with pytest.raises(IdempotencyMismatch):
            await buyer.runner.submit_once(ACCOUNT, "python", "second", ("",), other)
        await buyer.runner.wait(ACCOUNT, made[0], 60)

    in_a_world(tmp_path, play)
