"""Signing in: the device flow against the real API, what is kept of it, and who gets the key."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.logins import keep_login, read_logins
from cli.remote import HOME, Remote, address_of
from market.errors import ConfigError
from node.records import ApiKey, DeviceLogin
from tests.cli.conftest import Said
from tests.cli.fakes import FakeNode, broken, in_turn, ok, problem
from tests.node.api.fakes import ALICE, World
from tests.served import Served

Run = Callable[..., Said]
LOCAL = "http://127.0.0.1:8080"
STARTED = {"device_code": "d", "user_code": "BCDF-GHJK", "expires_in": 600, "interval": 5}
ME = {"user": {"name": "ann", "email": "ann@example.org", "wallet": None}, "scopes": ["read"], "credential": "key_1"}
START, COLLECT, SHOW, END = (
    "POST /v1/auth/device",
    "POST /v1/auth/device/token",
    "GET /v1/auth/me",
    "POST /v1/auth/logout",
)


def pending(error: str) -> Any:
    """RFC 8628's refusal."""
    return ok({"error": error, "error_description": "not yet"}, 400)


@pytest.fixture
def slept(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A node that lets one in, and how long was waited between the questions."""
    node.routes |= {START: ok(STARTED), COLLECT: ok({"access_token": "ng_live_x"}), SHOW: ok(ME), END: ok({})}
    pauses: list[float] = []
    monkeypatch.setattr("cli.login.time.sleep", pauses.append)
    return pauses


class Person:
    """Who sits at the browser, and decides while the command line waits."""

    def __init__(self, served: Served, world: World) -> None:
        self.served = served
        self.world = world
        self.allows = True

    def decide(self, _: float) -> None:
        for waiting in self.world.storage.find(DeviceLogin):
            if not waiting.account and not waiting.is_denied:
                devices = self.world.people.devices
                self.served.call(devices.decide(ALICE, waiting.user_code, is_let_in=self.allows))


@pytest.fixture
def person(served: Served, world: World, monkeypatch: pytest.MonkeyPatch) -> Person:
    person = Person(served, world)
    monkeypatch.setattr("cli.login.time.sleep", person.decide)
    return person


def test_who_is_let_in_works_with_every_command_until_he_signs_out(person: Person, real: Run) -> None:
    url = person.served.url
    said = real("login", url, "--name", "laptop", key="")
    assert (said.code, said.out) == (0, f"signed in at {url} as alice\n")
    assert f"Open {url}/device?user_code=" in said.err
    names = [key["name"] for key in real("keys", "list", "--json", key="").json]
    assert set(names) == {"first", "laptop"}
    who = real("whoami", "--json", key="").json
    assert (who["url"], who["user"]["id"], "money" in who["scopes"]) == (url, ALICE.id, True)
    assert real("logout", key="").out == f"signed out at {url}\n"
    assert [key.name for key in person.world.storage.find(ApiKey, account=ALICE.id)] == ["first"]
    assert read_logins().keys == {}
    assert real("logout", key="").code == 4


def test_a_machine_has_one_key_of_a_node_however_often_it_signs_in(person: Person, real: Run) -> None:
    for name in ("one", "two"):
        assert real("login", person.served.url, "--name", name, key="").code == 0
    assert {key.name for key in person.world.storage.find(ApiKey, account=ALICE.id)} == {"first", "two"}


def test_a_lesser_login_may_less_and_can_still_sign_out(person: Person, real: Run) -> None:
    real("login", person.served.url, "--scope", "read", key="")
    assert real("whoami", "--json", key="").json["scopes"] == ["read"]
    assert real("keys", "create", "ci", key="").code == 3
    assert real("logout", key="").code == 0


def test_who_is_refused_keeps_nothing(person: Person, real: Run) -> None:
    person.allows = False
    said = real("login", person.served.url, key="")
    assert (said.code, said.err.splitlines()[-1]) == (3, "neugrid: this machine was not let in")
    assert read_logins().keys == {}


def test_the_node_is_asked_as_often_as_it_says(neugrid: Run, node: FakeNode, slept: list[float]) -> None:
    away = problem(503, "SERVICE_UNAVAILABLE")
    answers = (pending("authorization_pending"), pending("slow_down"), pending("authorization_pending"), away, broken)
    node.routes[COLLECT] = in_turn(*answers, ok({"access_token": "ng_live_x"}))
    assert neugrid("login", LOCAL).code == 0
    assert slept == [5, 5, 10, 10, 20, 40]


def test_a_code_that_is_over_ends_the_waiting(neugrid: Run, node: FakeNode, slept: list[float]) -> None:
    node.routes[COLLECT] = pending("expired_token")
    assert (neugrid("login", LOCAL).code, len(slept)) == (3, 1)
    node.routes[START] = ok({**STARTED, "expires_in": 4})
    assert (neugrid("login", LOCAL).code, len(slept)) == (3, 1)


def test_what_is_kept_is_for_nobody_elses_eyes(neugrid: Run, slept: list[float], tmp_path: Path) -> None:
    neugrid("login", LOCAL)
    file = tmp_path / "config/neugrid/logins.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [each.name for each in file.parent.iterdir()] == ["logins.json"]
    assert json.loads(file.read_text()) == {"current": LOCAL, "keys": {LOCAL: "ng_live_x"}}
    file.chmod(0o640)
    assert neugrid("whoami", url="").code == 2
    file.chmod(0o600)
    file.write_text("[]")
    with pytest.raises(ConfigError, match="can not be read"):
        read_logins()


def test_a_key_that_can_not_be_kept_is_revoked(
    neugrid: Run, node: FakeNode, slept: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("cli.logins.os.fsync", full)
    assert neugrid("login", LOCAL).code == 74
    assert node.requests[-1].url.path == "/v1/auth/logout"
    assert list((tmp_path / "config/neugrid").iterdir()) == []


@pytest.mark.parametrize(
    ("url", "words", "code"),
    [
        ("http://192.0.2.7:8080", (), 2),
        ("http://localhost.example.org", (), 2),
        ("http://127.0.0.1@example.org", (), 2),
        ("http://[", (), 2),
        ("http://192.0.2.7:8080", ("--plain-http",), 0),
        ("https://node.example.org", (), 0),
        ("http://localhost:8080/", (), 0),
        ("http://[::1]:8080", (), 0),
    ],
)
def test_a_key_travels_in_the_clear_only_where_that_was_said(
    neugrid: Run, node: FakeNode, slept: list[float], url: str, words: tuple[str, ...], code: int
) -> None:
    assert neugrid("login", url, *words).code == code
    assert bool(node.requests) is (code == 0)


def test_a_key_goes_to_its_own_node_alone(node: FakeNode, tmp_path: Path) -> None:
    keep_login("https://one.example", "ng_live_1")
    keep_login("https://two.example", "ng_live_2")
    assert address_of(Remote()) == ("https://two.example", "ng_live_2")
    assert address_of(Remote(url="https://one.example/")) == ("https://one.example/", "ng_live_1")
    assert address_of(Remote(url="https://one.example.org"))[1] == ""
    assert address_of(Remote(url="http://one.example"))[1] == ""
    assert address_of(Remote(key="ng_live_3")) == ("https://two.example", "ng_live_3")


def test_a_data_directory_that_is_named_goes_before_a_login(node: FakeNode, tmp_path: Path) -> None:
    (tmp_path / "api.json").write_text(json.dumps({"url": LOCAL, "key": "ng_live_local"}))
    keep_login("https://one.example", "ng_live_1")
    assert address_of(Remote(data_dir=tmp_path)) == (LOCAL, "ng_live_local")
    assert address_of(Remote(data_dir=HOME))[1] == "ng_live_1"


def test_a_key_that_could_not_be_revoked_is_kept_unless_that_is_wanted(
    neugrid: Run, node: FakeNode, slept: list[float]
) -> None:
    neugrid("login", LOCAL)
    node.routes[END] = broken
    assert neugrid("logout", url="").code == 8
    assert read_logins().key_of(LOCAL)
    assert neugrid("logout", "--local", url="").code == 0
    assert read_logins().keys == {}


def test_a_key_that_was_revoked_elsewhere_is_forgotten(neugrid: Run, node: FakeNode, slept: list[float]) -> None:
    neugrid("login", LOCAL)
    node.routes[END] = problem(401, "UNAUTHORIZED")
    assert (neugrid("logout", url="").code, read_logins().current) == (0, "")
