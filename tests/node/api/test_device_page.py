"""The page at /device in a real browser: a person lets a device in, and nobody else can make him."""

from collections.abc import Iterator
from typing import Any

import pytest

from market.signing import Signer
from market.siwe import digest_of_text, read_message, write_message
from node.actions.accounts import Wishes
from node.actions.device_sign_in import DevicePending
from node.adapters.clock import SystemClock
from node.api.limits import Limiter
from node.records import DeviceLogin, Session
from tests.chromium import Browser, Tab
from tests.node.api.fakes import CHAIN_ID, World
from tests.served import Served

EMAIL, PASSWORD = "ann@example.org", "correct horse"
WALLET = """window.ethereum = { request: ({ method, params }) => new Promise(done => {
  if (method === "eth_requestAccounts") return done(["%s"]);
  window.asked = params;
  window.sign = done;
}) };"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    served = Served(World(port=3).app)
    served.start()
    yield served
    served.stop()


class Desk:
    """A device that waits, Ann who has an account, and the page that is open before her."""

    def __init__(self, served: Served, tab: Tab) -> None:
        self.world = World()
        self.world.clock.time = SystemClock().now()
        self.served = served
        self.tab = tab
        served.app.app.state.services = self.world.services
        served.app.app.state.limiter = Limiter({})
        self.ann = served.call(self.world.people.accounts.create(Wishes(email=EMAIL, password=PASSWORD)))
        self.login = self.wait()

    def wait(self, name: str = "laptop", *scopes: str) -> DeviceLogin:
        self.login, self.code = self.served.call(self.world.people.devices.start(name, "192.0.2.7", scopes))
        return self.login

    def open(self) -> Tab:
        self.tab.open(f"{self.served.url}/device?user_code={self.login.user_code}")
        return self.tab

    def sign_in(self) -> Tab:
        tab = self.open()
        tab.fill("email", EMAIL)
        tab.fill("password", PASSWORD)
        tab.press("Enter")
        tab.shows("Let this device in?")
        return tab

    def collect(self) -> Any:
        """The key; or why there is none."""
        try:
            return self.served.call(self.world.people.devices.collect(self.code))[1]
        except DevicePending as pending:
            return pending.reason


@pytest.fixture
def desk(served: Served, browser: Browser) -> Desk:
    return Desk(served, browser.tab())


def test_a_device_is_let_in_with_the_keyboard_alone(desk: Desk) -> None:
    desk.wait("laptop", "read", "compute")
    tab = desk.open()
    for word in (EMAIL, PASSWORD):
        tab.write(word)
        tab.press("Tab")
    tab.press("Enter")
    tab.shows("Let this device in?")
    said = tab.value("document.getElementById('ask').innerText")
    assert all(word in said for word in ("laptop", "192.0.2.7", desk.login.user_code, EMAIL, "run and change jobs"))
    assert "your balance" not in said
    tab.press("Tab")
    tab.press("Enter")
    tab.shows("The device is let in")
    assert desk.world.people.callers.of(desk.collect()).scopes == {"read", "compute"}


def test_the_page_leaves_no_session_and_asks_no_other_server(desk: Desk) -> None:
    tab = desk.sign_in()
    tab.click("allow")
    tab.shows("The device is let in")
    tab.until("performance.getEntriesByType('resource').some(each => each.name.endsWith('/logout'))")
    assert desk.world.storage.find(Session) == []
    assert tab.value("document.cookie.length + localStorage.length + sessionStorage.length") == 0
    assert tab.asked()
    assert all(url.startswith(desk.served.url) for url in tab.asked())
    assert tab.complaints() == []


def test_a_device_that_is_refused_gets_nothing(desk: Desk) -> None:
    tab = desk.sign_in()
    tab.click("refuse")
    tab.shows("The device was refused")
    assert desk.collect() == "access_denied"


def test_what_was_typed_wrong_is_said_and_can_be_mended(desk: Desk) -> None:
    tab = desk.open()
    tab.fill("code", "BBBB-BBBB")
    tab.fill("email", EMAIL)
    tab.fill("password", "wrong")
    tab.press("Enter")
    tab.shows("Email or password is wrong.")
    tab.fill("password", PASSWORD)
    tab.press("Enter")
    tab.shows("No device waits with this code.")
    assert not tab.value("document.getElementById('password').checkVisibility()")
    tab.fill("code", desk.login.user_code.lower().replace("-", " "))
    tab.press("Enter")
    tab.shows("Let this device in?")


def test_what_was_decided_elsewhere_is_said(desk: Desk) -> None:
    tab = desk.sign_in()
    desk.served.call(desk.world.people.devices.decide(desk.ann, desk.login.user_code, is_let_in=False))
    tab.click("allow")
    tab.shows("This was decided before.")
    assert desk.collect() == "access_denied"


def test_a_session_that_has_ended_meanwhile_is_said(desk: Desk) -> None:
    tab = desk.sign_in()
    [session] = desk.world.storage.find(Session)
    desk.served.call(desk.world.people.sign_in.end(desk.ann, session.id))
    tab.click("allow")
    tab.shows("You are signed out.")
    assert tab.names("textbox") == ["Code", "Email", "Password"]
    assert desk.collect() == "authorization_pending"


def test_what_an_account_may_not_it_is_not_asked_to_allow(desk: Desk) -> None:
    desk.wait("laptop", "admin")
    tab = desk.sign_in()
    tab.shows("your account may not do what it asks for")
    assert tab.names("button") == ["Refuse"]


def test_a_problem_leaves_the_focus_where_it_was(desk: Desk) -> None:
    tab = desk.open()
    tab.fill("email", EMAIL)
    tab.fill("password", "wrong")
    tab.press("Tab")
    tab.press("Enter")
    tab.shows("Email or password is wrong.")
    assert tab.value("document.activeElement.textContent") == "Continue"


def test_who_types_over_plain_http_is_warned(desk: Desk) -> None:
    warning = "document.getElementById('plain').checkVisibility()"
    assert desk.open().value(warning) is False
    desk.tab.open(desk.served.url.replace("127.0.0.1", "node.test") + "/device")
    assert desk.tab.value(warning) is True


def test_the_name_of_a_device_is_text(desk: Desk) -> None:
    name = "<img src=x onerror='document.title=1'>"
    desk.wait(name)
    tab = desk.sign_in()
    assert tab.value("document.getElementById('name').textContent") == name
    assert tab.value("document.images.length") == 0


@pytest.mark.parametrize("number", range(3))
def test_a_wallet_signs_in_with_a_message_that_wallets_understand(desk: Desk, number: int) -> None:
    wallet = Signer(bytes([7 + number]) * 32)
    desk.tab.before(WALLET % wallet.address)
    tab = desk.open()
    tab.click("wallet")
    tab.until("window.sign")
    written, account = tab.value("window.asked")
    text = bytes.fromhex(written.removeprefix("0x")).decode()
    found = read_message(text)
    assert (account, found.address, found.chain) == (wallet.address, wallet.address, CHAIN_ID)
    assert text.splitlines()[1] == write_message(found).splitlines()[1]
    tab.value(f"window.sign('0x{wallet.sign(digest_of_text(text)).hex()}')")
    tab.shows("Let this device in?")
    tab.click("allow")
    tab.shows("The device is let in")


def test_without_a_wallet_none_is_offered(desk: Desk) -> None:
    assert desk.open().names("button") == ["Continue"]


def test_everything_has_a_name_for_who_does_not_see_it(desk: Desk) -> None:
    tab = desk.open()
    assert tab.names("textbox") == ["Code", "Email", "Password"]
    tab = desk.sign_in()
    assert tab.names("button") == ["Allow", "Refuse"]
    assert tab.names("heading") == ["Let this device in?"]
    assert tab.value("document.activeElement.textContent") == "Let this device in?"


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (1280, "dark")])
def test_it_fits_on_a_phone_and_a_desktop(desk: Desk, width: int, scheme: str) -> None:
    desk.wait("a" * 64)
    desk.tab.looks(width, 640, scheme)
    tab = desk.sign_in()
    assert tab.value("document.documentElement.scrollWidth") <= width


def test_no_page_may_frame_it_not_even_one_of_the_node(desk: Desk) -> None:
    tab = desk.tab
    tab.open(f"{desk.served.url}/v1/version")
    frame = "Object.assign(document.createElement('iframe'), { src: '/device', onload: done })"
    tab.value(f"new Promise(done => document.body.append({frame})).then(() => 1)")
    assert tab.frames() == ["chrome-error://chromewebdata/"]
