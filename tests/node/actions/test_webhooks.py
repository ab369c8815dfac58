"""Webhooks in the node: on their way with the event itself, tried until they arrive, and given up in the end."""

import asyncio
import json
from typing import Any

import pytest

from market.errors import NotFound, QuotaExceeded, RateLimited, Unavailable
from market.job_events import CancelAsked
from market.jobs import post_job
from market.webhooks import DELAYS, sign
from node.actions import webhooks
from node.actions.happenings import Happenings
from node.actions.webhooks import LOOKS_AT_ONCE, Webhooks, Wishes, tell
from node.adapters.seal import NodeSeal
from node.engine import Engine
from node.loops.delivering import GIVEN_UP, KEPT, Courier
from node.performers import MACHINES
from node.records import Account, Delivery, Webhook
from tests.builders import NOW
from tests.fakes import FakeClock, MemoryStorage
from tests.node.adapters.samples import a_job
from tests.node.api.fakes import FakePosts

ANN = Account(id="user_ann", name="ann", created_at=NOW)
EVE = Account(id="user_eve", name="eve", created_at=NOW)
URL = "https://hooks.example/in"


def run(work: Any) -> Any:
    return asyncio.run(work)


class Office:
    """An engine, one webhook of Ann, and a courier."""

    def __init__(self, *events: str) -> None:
        self.storage, self.clock, self.posts, self.seal = MemoryStorage(), FakeClock(), FakePosts(), NodeSeal(bytes(32))
        happenings = Happenings(tell)
        self.engine = Engine(self.storage, self.clock, MACHINES, (happenings.fold,))
        self.webhooks = Webhooks(self.engine, happenings, self.posts, self.seal)
        self.courier = Courier(self.engine, self.posts, self.seal)
        self.webhook, self.secret = run(self.webhooks.create(ANN, URL, events, None))

    def happens(self, id: str = "job_1", account: str = ANN.id) -> None:
        run(self.engine.transact(lambda changes: changes.create(*post_job(a_job(id, account=account)))))

    def carry(self) -> None:
        async def play() -> None:
            await self.courier.carry()
            await self.courier.carried()

        run(play())

    def delivery(self) -> Delivery:
        [delivery] = self.storage.find(Delivery)
        return delivery

    def now(self) -> Webhook:
        return self.webhooks.get(ANN, self.webhook.id)


def test_an_event_is_on_its_way_with_its_own_transaction_and_arrives_signed() -> None:
    office = Office("job.*")
    office.happens()
    assert office.delivery().state == "pending"
    office.carry()
    [(url, headers, body)] = office.posts.posted
    told = json.loads(body)
    assert (url, told["event"], told["type"], told["data"]["job_id"]) == (URL, "job.created", "job.created", "job_1")
    signature = sign([office.secret], headers["webhook-id"], int(headers["webhook-timestamp"]), body)
    assert headers["webhook-signature"] == signature
    assert office.delivery().state == "delivered"
    office.carry()
    assert len(office.posts.posted) == 1


def test_what_is_refused_leaves_nothing_on_its_way() -> None:
    office = Office()
    office.happens()
    with pytest.raises(Exception, match="taken"):
        office.happens()
    assert office.storage.count(Delivery) == 1


def test_nobody_is_told_of_anothers_things_or_of_what_he_does_not_want() -> None:
    office = Office("job.cancelled")
    office.happens()
    office.happens("job_2", EVE.id)
    assert office.storage.count(Delivery) == 0
    run(office.engine.handle("Job", "job_1", CancelAsked()))
    assert office.delivery().event == "job.cancelled"


def test_a_webhook_that_does_not_answer_is_tried_over_a_day_and_then_given_up() -> None:
    office = Office()
    office.posts.answers = [0, 500, 302, 0, 404, 500, 0, 500]
    office.happens()
    ids = []
    for delay in (0, *DELAYS):
        office.clock.advance(delay * 1000 - 1)
        office.carry()
        office.clock.advance(1)
        office.carry()
        ids.append(office.posts.posted[-1][1]["webhook-id"])
    assert (office.delivery().state, office.delivery().attempts, len(office.posts.posted)) == ("failed", 8, 8)
    assert len(set(ids)) == 1, "the receiver knows a repeat by its id"
    assert [status for _, status, _ in office.delivery().answers] == [0, 500, 302, 0, 404, 500, 0, 500]
    assert (office.now().failures, office.now().is_active) == (1, True)


def test_who_gives_up_too_often_or_is_gone_is_not_told_any_more() -> None:
    office = Office()
    office.posts.answers = [410]
    office.happens()
    office.carry()
    assert (office.delivery().state, office.now().is_active) == ("failed", False)
    office.happens("job_2")
    assert office.storage.count(Delivery) == 1
    again = run(office.webhooks.update(ANN, office.webhook.id, Wishes(is_active=True)))
    assert (again.is_active, again.failures) == (True, 0)
    assert GIVEN_UP > 1


def test_a_delivery_is_tried_again_by_hand() -> None:
    office = Office()
    office.posts.answers = [410]
    office.happens()
    office.carry()
    run(office.webhooks.update(ANN, office.webhook.id, Wishes(is_active=True)))
    run(office.webhooks.retry(ANN, office.delivery().id))
    office.carry()
    assert office.delivery().state == "delivered"
    with pytest.raises(NotFound):
        run(office.webhooks.retry(EVE, office.delivery().id))


def test_for_a_day_after_a_rotation_both_secrets_sign() -> None:
    office = Office()
    _, fresh = run(office.webhooks.rotate(ANN, office.webhook.id))
    for expected in ([fresh, office.secret], [fresh]):
        run(office.webhooks.test(ANN, office.webhook.id))
        office.carry()
        _, headers, body = office.posts.posted[-1]
        told = sign(expected, headers["webhook-id"], int(headers["webhook-timestamp"]), body)
        assert headers["webhook-signature"] == told
        office.clock.advance(86_400_000)


def test_a_test_is_sent_whatever_is_wanted_and_once() -> None:
    office = Office("agent.created")
    delivery = run(office.webhooks.test(ANN, office.webhook.id))
    office.carry()
    assert (office.delivery().id, office.delivery().event, len(office.posts.posted)) == (delivery.id, "webhook.test", 1)


def test_secrets_lie_sealed_in_the_database_and_open_with_the_nodes_key_alone() -> None:
    office = Office()
    assert office.secret not in str(office.storage._tables)
    with pytest.raises(Unavailable):
        NodeSeal(b"other".ljust(32)).open(office.now().secret, office.webhook.id)
    with pytest.raises(Unavailable):
        office.seal.open(office.now().secret, "another webhook")


def test_who_deletes_a_webhook_is_told_nothing_more() -> None:
    office = Office()
    office.happens()
    run(office.webhooks.delete(ANN, office.webhook.id))
    office.carry()
    assert (office.posts.posted, office.storage.count(Delivery)) == ([], 0)


def test_webhooks_are_their_owners_alone_and_not_without_number(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office()
    for work in (
        office.webhooks.update(EVE, office.webhook.id, Wishes(url=URL)),
        office.webhooks.delete(EVE, office.webhook.id),
        office.webhooks.rotate(EVE, office.webhook.id),
        office.webhooks.test(EVE, office.webhook.id),
    ):
        with pytest.raises(NotFound):
            run(work)
    with pytest.raises(NotFound):
        office.webhooks.deliveries(EVE, office.webhook.id, limit=1)
    monkeypatch.setattr(webhooks, "MAX_WEBHOOKS", 1)
    with pytest.raises(QuotaExceeded):
        run(office.webhooks.create(ANN, URL, (), None))


def test_who_has_all_the_webhooks_he_may_have_looks_no_address_up(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office()
    monkeypatch.setattr(webhooks, "MAX_WEBHOOKS", 1)
    with pytest.raises(QuotaExceeded):
        run(office.webhooks.create(ANN, "https://10.0.0.1/", (), None))
    with pytest.raises(NotFound):
        run(office.webhooks.update(EVE, office.webhook.id, Wishes(url="https://10.0.0.1/")))


def test_few_addresses_of_an_account_are_looked_at_at_a_time() -> None:
    office = Office()

    async def play() -> None:
        office.posts.silence = asyncio.Event()
        waiting = [asyncio.create_task(office.webhooks.create(ANN, URL, (), None)) for _ in range(LOOKS_AT_ONCE)]
        await asyncio.sleep(0)
        with pytest.raises(RateLimited):
            await office.webhooks.create(ANN, URL, (), None)
        with pytest.raises(RateLimited):
            await office.webhooks.update(ANN, office.webhook.id, Wishes(url=URL))
        others = asyncio.create_task(office.webhooks.create(EVE, URL, (), None))
        await asyncio.sleep(0)
        office.posts.silence.set()
        await asyncio.gather(*waiting, others)
        await office.webhooks.create(ANN, URL, (), None)

    run(play())
    assert len(office.webhooks.list(ANN)) == LOOKS_AT_ONCE + 2


def test_a_page_of_deliveries_reads_no_more_than_it_shows() -> None:
    office = Office()
    for i in range(5):
        office.clock.advance(1)
        office.happens(f"job_{i}")
    ids = [delivery.id for delivery in reversed(office.storage.find(Delivery))]
    read = list[int]()
    find = office.storage.find

    def reading(noun: Any, **where: Any) -> list[Any]:
        found = find(noun, **where)
        read.append(len(found))
        return found

    office.storage.find = reading  # type: ignore[method-assign, assignment]
    first, total = office.webhooks.deliveries(ANN, office.webhook.id, limit=2)
    behind, _ = office.webhooks.deliveries(ANN, office.webhook.id, limit=2, after=(first[-1].created_at, first[-1].id))
    later, _ = office.webhooks.deliveries(ANN, office.webhook.id, limit=2, offset=4)
    assert [delivery.id for delivery in (*first, *behind, *later)] == ids
    assert (total, read) == (5, [2, 2, 1])


def test_old_deliveries_are_forgotten() -> None:
    office = Office()
    office.happens()
    office.carry()
    office.clock.advance(KEPT + 1)
    run(office.courier.sweep())
    assert office.storage.count(Delivery) == 0
