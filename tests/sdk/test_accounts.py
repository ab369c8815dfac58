"""Users, billing and webhooks, of both clients of Python, against the real API."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import pytest

from neugrid_sdk import AsyncClient, Client, Conflict, Forbidden, IdempotencyMismatch, InvalidParameters, NotFound
from tests.node.api.fakes import ALICE, BOB, ROOT, ROOT_KEY, World
from tests.sdk.scripts import with_invoice

pytestmark = pytest.mark.anyio
ANN = "ann@example.org"
HOOK = "https://hooks.example/"


@pytest.fixture
def root(url: str) -> Iterator[Client]:
    with Client(ROOT_KEY, url) as client:
        yield client


def test_an_administrator_looks_after_users(root: Client) -> None:
    made = root.users.create(email=ANN, password="correct horse", tier="pro")
    assert (made.email, made.role, made.tier, made.status) == (ANN, "developer", "pro", "active")
    assert root.users.update(made.id, role="admin", is_blocked=True).status == "blocked"
    assert root.users.get(made.id).role == "admin"
    assert {user.id for user in root.users.list(limit=2)} == {ALICE.id, BOB.id, ROOT.id, made.id}
    assert root.users.delete(made.id).id == made.id
    with pytest.raises(NotFound):
        root.users.get(made.id)
    with pytest.raises(Conflict):
        root.users.update(ROOT.id, role="developer")


def test_credits_are_given_once_under_one_key(root: Client) -> None:
    assert root.users.give_credits(ALICE.id, 5).credits == 5
    for _ in range(2):
        assert root.users.give_credits(ALICE.id, 10, idempotency_key="k").credits == 15
    with pytest.raises(IdempotencyMismatch):
        root.users.give_credits(ALICE.id, 11, idempotency_key="k")


def test_a_user_knows_himself_and_nobody_else(client: Client) -> None:
    me = client.users.me()
    assert (me.user.id, me.scopes) == (ALICE.id, ("read", "compute", "money", "account"))
    assert client.users.update(ALICE.id, name="Al").name == "Al"
    with pytest.raises(Forbidden):
        list(client.users.list())
    with pytest.raises(NotFound):
        client.users.get(BOB.id)


def test_use_and_invoices(client: Client, world: World) -> None:
    with_invoice(world)
    found = client.billing.usage()
    assert (found.usage.runs, found.cost.total, found.currency) == (0, 0, "TUSD")
    (invoice,) = client.billing.invoices()
    assert (invoice.amount, invoice.usage.compute_hours, invoice.status) == (Decimal("1.5"), 1.0, "paid")
    assert isinstance(invoice.due_date, date)
    assert client.billing.invoice("inv_1") == invoice
    with pytest.raises(InvalidParameters):
        client.billing.usage("2026-13")


def test_a_webhook_from_first_to_last(client: Client) -> None:
    made = client.webhooks.create(HOOK, ["agent.created", "job.*"])
    assert made.secret.startswith("whsec_")
    assert made.secret not in repr(made)
    assert [hook.id for hook in client.webhooks.list()] == [made.id]
    assert client.webhooks.update(made.id, is_active=False).status == "disabled"
    assert client.webhooks.get(made.id).events == ("agent.created", "job.*")
    assert client.webhooks.rotate(made.id).secret != made.secret
    sent = client.webhooks.test(made.id)
    assert (sent.event, sent.status, sent.tries) == ("webhook.test", "pending", ())
    assert [each.id for each in client.webhooks.deliveries(made.id)] == [sent.id]
    assert client.webhooks.retry(sent.id).id == sent.id
    assert client.webhooks.delete(made.id).id == made.id
    with pytest.raises(InvalidParameters):
        client.webhooks.create("http://hooks.example/")


async def test_the_same_is_awaited(operator: AsyncClient, aclient: AsyncClient, world: World) -> None:
    with_invoice(world)
    user = await operator.users.create(email=ANN, password="correct horse")
    assert user.id in {each.id async for each in operator.users.list(limit=1)}
    assert (await operator.users.give_credits(user.id, 5)).credits == 205
    assert (await aclient.users.me()).user.id == ALICE.id
    assert [invoice.id async for invoice in aclient.billing.invoices()] == ["inv_1"]
    hook = await aclient.webhooks.create(HOOK, secret="whsec_" + "A" * 32)
    sent = await aclient.webhooks.test(hook.id)
    assert (await aclient.webhooks.deliveries(hook.id).page()).total == 1
    assert (await aclient.webhooks.retry(sent.id)).status == "pending"
