"""What a provider believes its requesters: the workload it sold, renewals in measure, and only vouchers that count."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from market.billing import PROVIDER_FAULTS, USER_FAULTS
from market.dialogue import Cancel, Commit, Covered, Pay, Release, Renew, Renewal, Signed, Statement
from market.errors import ImageNotFound, ImageRefused, NeugridError, OutputRefused, RateLimited, Unavailable
from market.leases import LEASE_TERM, MARGIN, PREPARE_WITHIN, UNPAID_GRACE, LeaseState
from market.messages import Kind
from market.provision_events import (
    CleanUp,
    PreparationFailed,
    PrepareWorkload,
    SendReceipt,
    StartWorkload,
    StopWorkload,
    VoucherAccepted,
    WorkloadPrepared,
    WorkloadStarted,
)
from market.units import GIB, Amount
from market.workloads import spec_digest
from node.actions.inputs import place
from node.actions.provisioning import ENGINE_WITHIN
from node.actions.usage import Usage
from tests.builders import DIGEST, NOW, a_file, a_receipt, a_workload, resources
from tests.node.actions.stage import LEASE, Stage, staged

S = LeaseState
COMMIT = Commit(LEASE, a_workload(), "nonce", "00" * 65)

# --- commits -------------------------------------------------------------------------------------------------------


def test_a_commit_brings_the_workload(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.OFFERED)
        await stage.say("seller", Kind.COMMIT, stage.commit(), "buyer")
        assert (stage.stored("seller").state, stage.stored("seller").workload) == (S.ACCEPTED, a_workload())

    staged(tmp_path, play)


@pytest.mark.parametrize("by", ["stranger", "seller"])
def test_a_lease_that_draws_on_the_channel_of_another_is_refused(tmp_path: Path, by: str) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.OFFERED)
        await stage.is_refused("BAD_SIGNATURE", "seller", Kind.COMMIT, stage.commit(by=by), "buyer")
        await stage.is_refused("BAD_SIGNATURE", "seller", Kind.COMMIT, COMMIT, "buyer")

    staged(tmp_path, play)


def test_a_repeated_commit_changes_nothing(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.RUNNING)
        rows = stage.rows("seller")
        await stage.say("seller", Kind.COMMIT, COMMIT, "buyer")
        assert stage.rows("seller") == rows

    staged(tmp_path, play)


@pytest.mark.parametrize(
    ("message", "by", "code"),
    [
        (replace(COMMIT, workload=a_workload(image="miner")), "buyer", "SPEC_MISMATCH"),
        (replace(COMMIT, nonce="other nonce"), "buyer", "SPEC_MISMATCH"),
        (COMMIT, "stranger", "NOT_FOUND"),
        (replace(COMMIT, lease="lse_000009"), "buyer", "NOT_FOUND"),
    ],
    ids=["another workload", "another nonce", "foreign lease", "no lease"],
)
def test_a_commit_that_was_not_agreed_on_is_refused(tmp_path: Path, message: Commit, by: str, code: str) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.OFFERED)
        await stage.is_refused(code, "seller", Kind.COMMIT, message, by)

    staged(tmp_path, play)


@pytest.mark.parametrize(
    "workload", [a_workload(resources=resources(memory=64 * GIB)), a_workload(timeout=3600)], ids=["machine", "time"]
)
def test_a_workload_that_wants_more_than_was_sold_is_refused_though_its_digest_fits(
    tmp_path: Path, workload: Any
) -> None:
    async def play(stage: Stage) -> None:
        agreed = stage.terms(spec_digest=spec_digest(workload, "nonce"))
        await stage.lease("seller", S.OFFERED, terms=agreed)
        await stage.is_refused("SPEC_MISMATCH", "seller", Kind.COMMIT, replace(COMMIT, workload=workload), "buyer")

    staged(tmp_path, play)


def test_a_commit_after_the_offer_was_let_go_is_refused(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.SETTLED)
        await stage.is_refused("LEASE_GONE", "seller", Kind.COMMIT, COMMIT, "buyer")

    staged(tmp_path, play)


# --- release, cancel, renew ----------------------------------------------------------------------------------------


def test_a_held_offer_can_be_released_or_cancelled(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        for kind, message in ((Kind.RELEASE, Release(LEASE)), (Kind.CANCEL, Cancel(LEASE))):
            await stage.lease("seller", S.OFFERED)
            await stage.say("seller", kind, message, "buyer")
            assert stage.stored("seller").code == "RELEASED"

    staged(tmp_path, play)


def test_a_committed_lease_can_not_be_released(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.RUNNING)
        await stage.is_refused("INVALID_TRANSITION", "seller", Kind.RELEASE, Release(LEASE), "buyer")

    staged(tmp_path, play)


@pytest.mark.parametrize(
    ("kind", "message"), [(Kind.RELEASE, Release(LEASE)), (Kind.CANCEL, Cancel(LEASE))], ids=["release", "cancel"]
)
def test_nobody_ends_the_lease_of_another(tmp_path: Path, kind: Kind, message: Any) -> None:
    async def play(stage: Stage) -> None:
        for state in (S.OFFERED, S.RUNNING):
            await stage.lease("seller", state)
            await stage.is_refused("NOT_FOUND", "seller", kind, message, "stranger")

    staged(tmp_path, play)


def test_a_cancelled_lease_is_stopped_and_a_second_cancel_is_no_error(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.RUNNING)
        await stage.say("seller", Kind.CANCEL, Cancel(LEASE), "buyer")
        rows = stage.rows("seller")
        await stage.say("seller", Kind.CANCEL, Cancel(LEASE), "buyer")
        assert stage.rows("seller") == rows
        assert stage.stored("seller").state is S.CANCELLED

    staged(tmp_path, play)


@pytest.mark.parametrize("asked", [NOW + LEASE_TERM, 2**53], ids=["a term", "for ever"])
def test_a_renewal_extends_by_a_term_and_no_more(tmp_path: Path, asked: int) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.RUNNING, until=NOW)
        answer = await stage.say("seller", Kind.RENEW, Renew((Renewal(LEASE, asked),)), "buyer")
        phase = {"lease": LEASE, "state": "running", "started_at": NOW, "health": "", "direct": [], "pulled": 0}
        assert answer["phases"] == [phase]
        assert stage.stored("seller").until == NOW + LEASE_TERM - MARGIN

    staged(tmp_path, play)


def test_leases_are_renewed_together_and_foreign_ones_are_unknown(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.RUNNING)
        rows = stage.rows("seller")
        renew = Renew((Renewal(LEASE, 2**53), Renewal("lse_000009", 2**53)))
        answer = await stage.say("seller", Kind.RENEW, renew, "stranger")
        assert [phase["state"] for phase in answer["phases"]] == ["unknown", "unknown"]
        assert stage.rows("seller") == rows

    staged(tmp_path, play)


def test_a_renewal_does_not_bring_an_ended_lease_back(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.LOST)
        answer = await stage.say("seller", Kind.RENEW, Renew((Renewal(LEASE, 2**53),)), "buyer")
        assert answer["phases"][0]["state"] == "lost"
        assert stage.stored("seller").until == NOW + 30_000

    staged(tmp_path, play)


# --- payments ------------------------------------------------------------------------------------------------------


def test_a_voucher_that_covers_the_bill_settles_the_lease(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.FINISHED, due=Amount(500))
        await stage.say("seller", Kind.PAY, Pay(stage.signed(500)), "buyer")
        assert (stage.stored("seller").state, stage.stored("seller").paid) == (S.SETTLED, 500)
        channel = stage.stored_channel("seller")
        assert (channel.promised, channel.credited, len(channel.signature)) == (500, 500, 65)

    staged(tmp_path, play)


def test_a_replayed_voucher_is_taken_and_credits_nothing_twice(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.FINISHED, due=Amount(500))
        for _ in range(2):
            await stage.say("seller", Kind.PAY, Pay(stage.signed(300)), "buyer")
        assert (stage.stored("seller").paid, stage.stored_channel("seller").credited) == (300, 300)

    staged(tmp_path, play)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"channel": DIGEST}, "BAD_SIGNATURE"),
        ({"signature": "11" * 65}, "BAD_SIGNATURE"),
        ({"signature": ""}, "BAD_SIGNATURE"),
        ({"cumulative": 400}, "BAD_SIGNATURE"),
        ({"paid": 301}, "VOUCHER_TOO_LOW"),
        ({"lease": "lse_000009"}, "NOT_FOUND"),
    ],
    ids=["another channel", "no signature", "empty", "raised", "more than promised", "another lease"],
)
def test_a_voucher_that_promises_something_else_is_refused(tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.FINISHED, due=Amount(500))
        await stage.is_refused(code, "seller", Kind.PAY, Pay(stage.signed(300, **changes)), "buyer")

    staged(tmp_path, play)


def test_a_voucher_of_a_stranger_or_above_the_deposit_is_refused(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.FINISHED, due=Amount(500))
        await stage.is_refused("NOT_FOUND", "seller", Kind.PAY, Pay(stage.signed(300)), "stranger")
        await stage.is_refused("VOUCHER_TOO_HIGH", "seller", Kind.PAY, Pay(stage.signed(1_000_001)), "buyer")

    staged(tmp_path, play)


def test_one_promise_does_not_pay_two_leases(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.FINISHED, due=Amount(300))
        other = await stage.lease("seller", S.FINISHED, due=Amount(300), id="lse_000002")
        await stage.say("seller", Kind.PAY, Pay(stage.signed(300)), "buyer")
        twice = Pay(stage.signed(300, lease=other.id))
        await stage.is_refused("VOUCHER_TOO_LOW", "seller", Kind.PAY, twice, "buyer")
        await stage.say("seller", Kind.PAY, Pay(stage.signed(600, 300, lease=other.id)), "buyer")
        assert stage.stored("seller", other.id).state is S.SETTLED

    staged(tmp_path, play)


def test_money_that_comes_after_the_settlement_is_kept(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.SETTLED, due=Amount(500))
        for _ in range(2):
            await stage.say("seller", Kind.PAY, Pay(stage.signed(500)), "buyer")
        assert (stage.stored_channel("seller").promised, stage.stored_channel("seller").credited) == (500, 0)
        assert stage.seller.funding.unclaimed_amount() == 500

    staged(tmp_path, play)


# --- usage ---------------------------------------------------------------------------------------------------------


async def states_usage(stage: Stage, answer: Any) -> None:
    """The seller states 40 s of use, and the buyer answers so."""

    async def covered(envelope: Any, message: Statement) -> Covered:
        return Covered(answer(stage, message))

    stage.buyer.peers.on(Kind.STATEMENT, Statement, covered)
    lease = await stage.lease("seller", S.RUNNING)
    stage.clock.advance(UNPAID_GRACE + 10_000)
    usage = Usage(stage.seller.engine, stage.seller.peers, {}, stage.seller.funding)
    await usage.state_usage(lease, stage.clock.now())


def nothing(stage: Stage, message: Statement) -> None:
    return None


def a_crumb(stage: Stage, message: Statement) -> Signed:
    return stage.signed(1)


def forged(stage: Stage, message: Statement) -> Signed:
    return stage.signed(message.due, signature="11" * 65)


def too_much(stage: Stage, message: Statement) -> Signed:
    return stage.signed(10**7)


@pytest.mark.parametrize("answer", [nothing, a_crumb, forged, too_much])
def test_a_requester_that_does_not_pay_for_the_grace_is_worked_for_no_more(tmp_path: Path, answer: Any) -> None:
    async def play(stage: Stage) -> None:
        await states_usage(stage, answer)
        assert (stage.stored("seller").state, stage.stored("seller").code) == (S.FAILED, "UNPAID")

    staged(tmp_path, play)


def test_a_requester_that_pays_what_is_stated_is_worked_for_on(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await states_usage(stage, lambda stage, message: stage.signed(message.due))
        assert (stage.stored("seller").state, stage.stored("seller").paid) == (S.RUNNING, 40 * 2001)

    staged(tmp_path, play)


# --- effects -------------------------------------------------------------------------------------------------------


def test_an_image_that_does_not_exist_is_the_requesters_fault(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stage.runtime.unknown_images.add("busybox:latest")
        await stage.lease("seller", S.PULLING)
        failed = await stage.perform("seller", PrepareWorkload(subject=LEASE))
        assert isinstance(failed, PreparationFailed)
        assert failed.code == "IMAGE_NOT_FOUND"

    staged(tmp_path, play)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ImageRefused("too large"), "IMAGE_REFUSED"),
        (ImageNotFound("no registry answered"), "IMAGE_NOT_FOUND"),
        (RateLimited("the budget is used up"), "PULL_LIMIT"),
    ],
)
def test_a_refused_image_is_the_requesters_fault_and_a_used_up_budget_is_not(
    tmp_path: Path, error: NeugridError, code: str
) -> None:
    async def play(stage: Stage) -> None:
        asked: list[str] = []

        async def refuse(reference: str, *, requester: str = "") -> Any:
            asked.append(requester)
            raise error

        stage.runtime.ensure_image = refuse  # type: ignore[method-assign]
        await stage.lease("seller", S.PULLING)
        failed = await stage.perform("seller", PrepareWorkload(subject=LEASE))
        assert isinstance(failed, PreparationFailed)
        assert (failed.code, failed.message) == (code, error.message)
        assert asked == [stage.stored("seller").terms.requester]
        assert (code in PROVIDER_FAULTS, code in USER_FAULTS) == (True, code != "PULL_LIMIT")

    staged(tmp_path, play)


def test_inputs_come_from_the_requester_and_lie_where_they_belong(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stored = stage.buyer.files.put(b"words")
        workload = a_workload(inputs=(a_file(path="a/b.txt", digest=stored.digest, size=5),))
        for owner, state in (("buyer", S.ACCEPTED), ("seller", S.PULLING)):
            await stage.lease(owner, state, workload=workload)
        assert isinstance(await stage.perform("seller", PrepareWorkload(subject=LEASE)), WorkloadPrepared)
        assert (tmp_path / "seller/leases" / LEASE / "input/a/b.txt").read_bytes() == b"words"
        await stage.perform("seller", CleanUp(subject=LEASE))
        assert not (tmp_path / "seller/leases" / LEASE).exists()

    staged(tmp_path, play)


def test_a_digest_that_others_brought_opens_nothing_until_it_is_brought_again(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        others = stage.seller.lent.put(b"somebody else's")
        workload = a_workload(inputs=(a_file(path="in", digest=others.digest, size=15),))
        for owner, state in (("buyer", S.ACCEPTED), ("seller", S.PULLING)):
            await stage.lease(owner, state, workload=workload)
        failed = await stage.perform("seller", PrepareWorkload(subject=LEASE))
        assert isinstance(failed, PreparationFailed)
        assert not (tmp_path / "seller/leases" / LEASE / "input/in").exists()

        stage.buyer.files.put(b"somebody else's")
        assert isinstance(await stage.perform("seller", PrepareWorkload(subject=LEASE)), WorkloadPrepared)
        stage.buyer.files.path(others.digest).unlink()
        assert isinstance(await stage.perform("seller", PrepareWorkload(subject=LEASE)), WorkloadPrepared), "it has"

    staged(tmp_path, play)


def test_an_engine_that_stays_away_gives_the_job_up_to_others(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        async def away(reference: str, *, requester: str = "") -> Any:
            raise Unavailable("the container engine does not answer")

        stage.runtime.ensure_image = away  # type: ignore[method-assign]
        await stage.lease("seller", S.PULLING, deadline=NOW + PREPARE_WITHIN)
        with pytest.raises(Unavailable):
            await stage.perform("seller", PrepareWorkload(subject=LEASE))
        stage.clock.advance(ENGINE_WITHIN)
        failed = await stage.perform("seller", PrepareWorkload(subject=LEASE))
        assert isinstance(failed, PreparationFailed)
        assert failed.code == "INFRASTRUCTURE"

    staged(tmp_path, play)


def test_inputs_that_the_requester_does_not_give_are_missing(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        workload = a_workload(inputs=(a_file(),))
        await stage.lease("seller", S.PULLING, workload=workload)
        failed = await stage.perform("seller", PrepareWorkload(subject=LEASE))
        assert isinstance(failed, PreparationFailed)
        assert failed.code == "INPUT_MISSING"

    staged(tmp_path, play)


def test_an_input_path_that_leaves_its_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"evil")
    folder = tmp_path / "lease" / "input"
    with pytest.raises(OutputRefused):
        place(tmp_path / "source", folder, a_file(path="../../escaped"))
    assert not (tmp_path / "escaped").exists()


def test_starting_twice_starts_one_container(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.STARTING)
        events = [await stage.perform("seller", StartWorkload(subject=LEASE)) for _ in range(2)]
        assert events == [WorkloadStarted(at=NOW)] * 2
        assert stage.runtime.started == [f"{LEASE}-a1"]

    staged(tmp_path, play)


def test_a_lease_that_ended_while_its_container_started_leaves_no_container(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.STARTING)
        start = stage.runtime.start

        async def slow(spec: Any) -> Any:
            at = await start(spec)
            await stage.say("seller", Kind.CANCEL, Cancel(LEASE), "buyer")
            return at

        stage.runtime.start = slow  # type: ignore[method-assign]
        assert await stage.perform("seller", StartWorkload(subject=LEASE)) is None
        assert stage.runtime.containers_by_name == {}

    staged(tmp_path, play)


def test_a_receipt_of_a_stopped_lease_goes_out_after_its_container_stopped(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        lease = await stage.lease("seller", S.LOST, receipt=a_receipt())
        assert await stage.perform("seller", SendReceipt(subject=LEASE)) is not None
        assert stage.runtime.stopped[lease.container].is_set()

    staged(tmp_path, play)


def test_a_receipt_is_counter_signed_or_given_up_when_nothing_is_owed(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        for due, answer in ((0, VoucherAccepted(paid=Amount(0))), (50, None)):
            await stage.lease("seller", S.FINISHED, due=Amount(due), receipt=a_receipt(due=due))
            assert await stage.perform("seller", SendReceipt(subject=LEASE)) == answer

    staged(tmp_path, play)


def test_stopping_and_cleaning_up_may_be_repeated(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.CANCELLED)
        effects = [StopWorkload(subject=LEASE), CleanUp(subject=LEASE)]
        await asyncio.gather(*(stage.perform("seller", effect) for effect in (*effects, *effects)))

    staged(tmp_path, play)


def test_a_renewal_that_extends_by_nothing_is_answered_and_not_written(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.RUNNING, until=NOW)
        renewal = Renew((Renewal(LEASE, NOW + LEASE_TERM),))
        await stage.say("seller", Kind.RENEW, renewal, "buyer")
        rows = stage.rows("seller")
        stage.clock.advance(900)
        answer = await stage.say("seller", Kind.RENEW, Renew((Renewal(LEASE, NOW + 10**6),)), "buyer")
        assert (answer["phases"][0]["state"], stage.rows("seller")) == ("running", rows)

    staged(tmp_path, play)


def test_a_workload_that_would_be_written_too_often_is_refused(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        large = a_workload(command=("x" * 32_000,) * 9)
        await stage.lease("seller", S.OFFERED, terms=stage.terms(large))
        await stage.is_refused("WORKLOAD_TOO_LARGE", "seller", Kind.COMMIT, replace(COMMIT, workload=large), "buyer")

    staged(tmp_path, play)
