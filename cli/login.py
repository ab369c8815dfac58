"""`neugrid login`, `logout`, `whoami`: this machine is let in from a browser (RFC 8628), and keeps the key it gets."""

import ipaddress
import platform
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from cli.logins import forget_login, keep_login, read_logins
from cli.remote import LOCAL, Remote, address_of, connected, print_fields, print_json, say
from market.errors import Forbidden, InvalidParameters, NeugridError, NotFound, RateLimited, Unauthorized, Unavailable

if TYPE_CHECKING:
    from cli.client import Client

MAX_NAME: Final = 64
SLOWER: Final = 5
LONGEST: Final = 60.0
"""Seconds between two questions, at most, while the node does not answer."""


def login(
    node: Annotated[str, Parameter(help="Address of the node; default is that of other commands.")] = "",
    /,
    *,
    name: Annotated[str, Parameter(help="What the page calls this machine.")] = "",
    scope: Annotated[
        tuple[str, ...], Parameter(negative="", help="What it may: read, compute, money, account, admin; default all.")
    ] = (),
    plain_http: Annotated[bool, Parameter(negative="", help="Send keys over http to another machine.")] = False,
    remote: Remote = LOCAL,
) -> None:
    """Sign in with a browser: prints a page and a code, and waits until you allow it there."""
    url = _address(node, remote)
    before = read_logins().key_of(url)
    with _client(url) as client:
        _must_be_safe(url, plain_http)
        started = client.start_login(name or f"neugrid at {platform.node()}"[:MAX_NAME], scope)
        say(f"Open {url}/device?user_code={started['user_code']}")
        say(f"and allow this machine, if the page shows {started['user_code']}.")
        key = _collected(client, started)
    try:
        keep_login(url, key)
    except OSError:
        _end(url, key)  # nobody would ever use it
        raise
    if before:
        _end(url, before)
    with _client(url, key) as client:
        me = client.me()
    print_json({"url": url, **me}) if remote.json else print(f"signed in at {url} as {_name(me)}")


def logout(
    node: Annotated[str, Parameter(help="Address of the node; default is the one that you use.")] = "",
    /,
    *,
    local: Annotated[bool, Parameter(negative="", help="Only forget the key; the node is not told.")] = False,
    remote: Remote = LOCAL,
) -> None:
    """Revoke the key that `login` got, and forget it."""
    known = read_logins()
    url = (node or remote.url or known.current).rstrip("/")
    key = known.key_of(url)
    if not key:
        raise NotFound(f"you are not signed in at {url}" if url else "you are not signed in at any node", url=url)
    if not local:
        with suppress(Unauthorized):  # it was revoked before, or is over
            _sign_out(url, key)
    forget_login(url)
    print_json({"url": url, "signedOut": True}) if remote.json else print(f"signed out at {url}")


def whoami(*, remote: Remote = LOCAL) -> None:
    """Who you are at the node, and what your key may."""
    with connected(remote) as client:
        found = {"url": client.url, **client.me()}
    if remote.json:
        print_json(found)
        return
    fields = {**found["user"], "scopes": " ".join(found["scopes"]), "credential": found["credential"]}
    print_fields([("node", found["url"]), *fields.items()])


def _collected(client: "Client", started: dict[str, Any]) -> str:
    """The key, once somebody let this machine in (RFC 8628, 3.5)."""
    pause, end = float(started["interval"]), time.monotonic() + started["expires_in"]
    while time.monotonic() + pause < end:
        time.sleep(pause)
        try:
            return client.collect_key(started["device_code"])
        except (Unavailable, RateLimited):
            pause = min(2 * pause, LONGEST)
        except NeugridError as refusal:
            pause += _more(refusal)
    raise Unauthorized("nobody let this machine in in time: begin again")


def _more(refusal: NeugridError) -> int:
    """How much longer to wait between questions; what ends the waiting is raised."""
    if refusal.code == "AUTHORIZATION_PENDING":
        return 0
    if refusal.code == "SLOW_DOWN":
        return SLOWER
    if refusal.code == "ACCESS_DENIED":
        raise Forbidden("this machine was not let in") from refusal
    if refusal.code == "EXPIRED_TOKEN":
        raise Unauthorized(refusal.message) from refusal
    raise refusal


def _address(node: str, remote: Remote) -> str:
    return (node or address_of(remote)[0]).rstrip("/")


def _must_be_safe(url: str, is_told: bool) -> None:
    """A key is for its node alone: nobody on the way may read it."""
    from httpx import URL  # read as it is dialled

    if URL(url).scheme == "http" and not is_told and not _is_loopback(URL(url).host):
        raise InvalidParameters(
            f"{url} is not encrypted: use https, or say --plain-http where nobody else is on the way",
            field="node", value=url, expected="https",
        )  # fmt: skip


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _end(url: str, key: str) -> None:
    """Revoke a key that nobody needs; that it is good for a while longer is no reason to fail."""
    with suppress(NeugridError):
        _sign_out(url, key)


def _sign_out(url: str, key: str) -> None:
    with _client(url, key) as client:
        client.sign_out()


def _client(url: str, key: str = "") -> "Client":
    from cli.client import Client

    return Client(url, key)


def _name(me: dict[str, Any]) -> str:
    user = me["user"]
    return str(user["email"] or user["wallet"] or user["name"])
