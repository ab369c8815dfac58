"""Users, money and webhooks from the command line, against the real API."""

import io
from collections.abc import Callable
from typing import Any

import pytest

from node.records import Invoice, Payout
from tests.builders import NOW, PROVIDER
from tests.cli.conftest import Said
from tests.node.api.fakes import ALICE, ROOT, ROOT_KEY, World

Run = Callable[..., Said]
ANN = "ann@example.org"
HOOK = "https://hooks.example/"


@pytest.fixture
def root(real: Run) -> Run:
    """The operator."""
    return lambda *words: real(*words, key=ROOT_KEY)


def test_a_user_is_let_in_with_a_password_that_is_shown_once(root: Run, world: World, served: Any) -> None:
    said = root("users", "create", ANN, "--tier", "pro")
    fields = dict(line.split(None, 1) for line in said.out.splitlines())
    assert (said.code, fields["email"], fields["tier"]) == (0, ANN, "pro")
    assert served.call(world.people.sign_in.by_password(ANN, fields["password"])).account.id == fields["id"]
    assert fields["password"] not in root("users", "show", fields["id"]).out
    assert ANN in root("users", "list").out
    assert root("users", "create", ANN).code == 5


def test_a_password_of_ones_own_comes_by_the_input(
    root: Run, world: World, served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse\n"))
    assert "password" not in root("users", "create", ANN, "--password-stdin", "--json").json
    assert served.call(world.people.sign_in.by_password(ANN, "correct horse"))
    assert root("users", "create", "bob@example.org", "--password-stdin").code == 2


def test_an_operator_gives_himself_a_way_in_by_the_page(root: Run, world: World, served: Any) -> None:
    assert root("users", "email", ROOT.id, "root@example.org", "--json").json["email"] == "root@example.org"
    password = root("users", "password", "root@example.org", "--json").json["password"]
    assert served.call(world.people.sign_in.by_password("root@example.org", password)).account.id == ROOT.id


def test_a_user_is_changed_by_his_email_or_his_id(root: Run) -> None:
    id = root("users", "create", ANN, "--json").json["id"]
    assert root("users", "role", ANN, "admin", "--json").json["role"] == "admin"
    assert root("users", "tier", id, "enterprise", "--json").json["tier"] == "enterprise"
    assert root("users", "disable", ANN.upper(), "--json").json["status"] == "blocked"
    assert root("users", "enable", id, "--json").json["status"] == "active"
    assert root("users", "credits", ANN, "50", "--json").json == {"user_id": id, "credits": 250}
    assert root("users", "delete", ANN).out == f"{ANN} is deleted\n"
    assert root("users", "show", ANN).code == 4
    assert root("users", "role", ALICE.id, "king").code == 2


def test_users_are_for_administrators(real: Run) -> None:
    for words in (("list",), ("create", ANN), ("credits", ALICE.id, "5"), ("role", ALICE.id, "admin")):
        assert real("users", *words).code == 3


def test_a_user_sees_his_money(real: Run, root: Run, world: World) -> None:
    root("users", "credits", ALICE.id, "5")
    said = real("billing", "balance")
    assert [line.split() for line in said.out.splitlines()] == [
        ["balance", "1000000.0"],
        ["held", "0.0"],
        ["credits", "5"],
        ["currency", "TUSD"],
        ["depositAddress", PROVIDER],
    ]
    assert "usage compute_hours  0.0" in real("billing", "usage").out
    assert real("billing", "usage", "2026-13").code == 2
    assert [line["amount"] for line in real("billing", "deposits", "--json").json] == ["1000000.0"]
    assert ALICE.id in real("billing", "deposits").out
    assert real("billing", "payouts").out == "no payouts\n"
    paid: dict[str, Any] = {"to": PROVIDER, "amount": 2_500_000, "created_at": NOW}
    world.storage.put(Payout(id="pay_1", account=ALICE.id, **paid))
    [line] = real("billing", "payouts").out.splitlines()[1:]
    assert line.split()[:4] == ["pay_1", "pending", "2.5", "TUSD"]
    assert [each["id"] for each in real("billing", "payouts", "--json").json] == ["pay_1"]
    assert real("billing", "withdraw").code == 5


def test_months_that_are_over_have_invoices(real: Run, world: World) -> None:
    assert real("billing", "invoices").out == "no invoices\n"
    fields = {"seconds": 3600, "storage": 0, "runs": 2, "credits": 2, "due_at": NOW, "created_at": NOW}
    world.storage.put(Invoice(id="inv_1", account=ALICE.id, period="2025-01", amount=1_500_000, **fields))  # type: ignore[arg-type]
    assert "2025-01" in real("billing", "invoices").out
    assert "usage compute_hours  1.0" in real("billing", "invoice", "inv_1").out
    assert real("billing", "invoice", "inv_2").code == 4


def test_a_webhook_lives_through_all_that_can_be_done_to_it(real: Run) -> None:
    made = real("webhooks", "add", HOOK, "--event", "agent.created", "--event", "job.*", "--json").json
    assert (made["events"], made["secret"].startswith("whsec_")) == (["agent.created", "job.*"], True)
    id = made["id"]
    assert "agent.created job.*" in real("webhooks", "list").out
    assert made["secret"] not in real("webhooks", "show", id).out
    assert real("webhooks", "disable", id, "--json").json["status"] == "disabled"
    assert real("webhooks", "enable", id, "--json").json["status"] == "active"
    rotated = real("webhooks", "rotate", id).out.strip()
    assert rotated.startswith("whsec_")
    assert rotated != made["secret"]
    assert real("webhooks", "remove", id).out == f"{id} is removed\n"
    assert real("webhooks", "list").out == "no webhooks\n"


def test_deliveries_of_a_webhook_are_seen_and_tried_again(real: Run) -> None:
    id = real("webhooks", "add", HOOK, "--json").json["id"]
    assert real("webhooks", "deliveries", id).out == "nothing was sent yet\n"
    said = real("webhooks", "test", id).out
    delivery = said.split()[0]
    assert said == f"{delivery} is on its way\n"
    assert "webhook.test" in real("webhooks", "deliveries", id).out
    assert real("webhooks", "retry", delivery, "--json").json["id"] == delivery
    assert [each["id"] for each in real("webhooks", "deliveries", id, "--json").json] == [delivery]


def test_what_is_no_webhook_is_refused(real: Run) -> None:
    for words in (("http://hooks.example/",), (HOOK, "--event", "moon.landed")):
        assert real("webhooks", "add", *words).code == 2
    assert real("webhooks", "test", "whk_none").code == 4
