"""Who asks, and may he: the guards of the routes. A credential comes as X-API-Key or as Bearer.

It is an API key or the token of somebody who signed in; streams may carry it as `?token=`, because browsers can send
no header there.
"""

from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.handlers.base import BaseRouteHandler
from litestar.openapi.spec import SecurityRequirement

from market.audit import Actor
from market.errors import NeugridError, RateLimited, Unauthorized
from node.actions.access import Caller
from node.actions.acting import ACTING
from node.actions.callers import Callers
from node.api.errors import PROFILE, REQUEST_ID
from node.api.limits import ANONYMOUS, GENERAL, Limiter, standing_of
from node.api.places import client_at
from node.ports import Standing

Connection = ASGIConnection[Any, Any, Any, Any]
TOLD: Final = "neugrid.standing"
"""Where guards leave in the ASGI scope which window the answer's headers tell of, and the time; the edge adds them."""
REVOKED: Final = 4401
"""The code of the close of a WebSocket whose credentials..."""
GONE: Final = "these credentials are good no longer"
SECURITY: Final[list[SecurityRequirement]] = [{"apiKey": []}, {"bearer": []}]


class Access:
    """Lets in who has a credential with this scope, within the limits of its tier; the caller is the request's `auth`.

    Where only the body shows what a request is, `later` holds the actions as one of which its handler counts it.

    Raises Unauthorized, Forbidden, RateLimited.
    """

    def __init__(self, scope: str, action: str = GENERAL, later: tuple[str, ...] = ()) -> None:
        self.scope = scope
        self.action = action
        self.later = later

    async def __call__(self, connection: Connection, _: BaseRouteHandler) -> None:
        if _method(connection) == "OPTIONS":
            return
        caller = _caller(connection, _credentials_of(connection))
        connection.scope["user"], connection.scope["auth"] = caller.account, caller
        connection.scope[PROFILE] = caller.profile  # type: ignore[typeddict-unknown-key]
        _act(connection, caller)
        _count(connection, caller.account.id, caller.account.tier, self.action)
        caller.must(self.scope)


class Open:
    """Lets everybody in; whoever brings a credential must bring a right one. The user is None without."""

    scope = ""
    later: tuple[str, ...] = ()

    def __init__(self, action: str = GENERAL) -> None:
        self.action = action

    async def __call__(self, connection: Connection, _: BaseRouteHandler) -> None:
        if _method(connection) == "OPTIONS":
            return
        credentials = _credentials_of(connection)
        caller = _caller(connection, credentials) if credentials else None
        connection.scope["user"] = caller.account if caller else None
        connection.scope["auth"] = caller
        _act(connection, caller)
        if caller:
            connection.scope[PROFILE] = caller.profile  # type: ignore[typeddict-unknown-key]
            _count(connection, caller.account.id, caller.account.tier, self.action)
        else:
            _count(connection, _nobody(connection), ANONYMOUS, self.action)


signed_in: Final = Access("read")
computes: Final = Access("compute")
submits_jobs: Final = Access("compute", later=("deploy", "code-submit"))
deploys: Final = Access("compute", "deploy")
powers: Final = Access("compute", "power")
uploads: Final = Access("compute", "upload")
submits_code: Final = Access("compute", "code-submit")
pays: Final = Access("money", "withdraw")
manages: Final = Access("account")
lets_in: Final = Access("account", "auth")
"""Where a credential brings a wallet or a device in: what can be guessed there is guessed slowly."""
makes_keys: Final = Access("account", "key-create")
administers: Final = Access("admin")
known_or_not: Final = Open()
signs_in: Final = Open("auth")


def count_as(connection: Connection, action: str) -> None:
    """Count a request that a guard has let in as what its body shows it to be; RateLimited."""
    account = connection.scope["user"]
    _count(connection, account.id, account.tier, action, is_counted=True)


def profile_of(connection: Connection, callers: Callers) -> str:
    """The platform whose errors the caller reads, by the credential alone: nobody is let in by it, nothing counted."""
    try:
        return next((callers.profile_of(each) for each in _credentials_of(connection)), "")
    except NeugridError:  # no credentials that are any, or a storage that is away: the answer must come nonetheless
        return ""


def address_of(connection: Connection) -> str:
    """The address that the request came from."""
    client = connection.client
    return client.host if client else ""


def _nobody(connection: Connection) -> str:
    """As whom those are counted who bring no credentials, or wrong ones."""
    return f"ip:{client_at(address_of(connection))}"


def _act(connection: Connection, caller: Caller | None) -> None:
    """What this request does from now on is done by its caller."""
    ACTING.set(
        Actor(
            account=caller.account.id if caller else "",
            credential=caller.credential if caller else "",
            address=address_of(connection),
            request=str(connection.scope.get(REQUEST_ID, "")),
        )
    )


def _method(connection: Connection) -> str:
    return str(connection.scope.get("method", ""))


def _credentials_of(connection: Connection) -> list[str]:
    headers = connection.headers
    found = [headers.get("x-api-key", "")]
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        found.append(token.strip())
    elif scheme:
        raise Unauthorized("expected Authorization: Bearer <key>", expected="Bearer")
    if _is_stream(connection, headers.get("accept", "")):
        found.append(connection.query_params.get("token", ""))
    return [each for each in dict.fromkeys(found) if each]


def _is_stream(connection: Connection, accept: str) -> bool:
    if connection.scope["type"] == ScopeType.WEBSOCKET:
        return True
    return _method(connection) == "GET" and "text/event-stream" in accept


def _caller(connection: Connection, credentials: list[str]) -> Caller:
    if not credentials:
        raise Unauthorized("a key is needed: send X-API-Key: <key> or Authorization: Bearer <key>")
    try:
        callers: list[Caller] = [connection.app.state.services.people.callers.of(each) for each in credentials]
    except Unauthorized:
        _count(connection, _nobody(connection), ANONYMOUS, GENERAL)  # who guesses is soon silent
        raise
    if any(caller.account.id != callers[0].account.id for caller in callers):
        raise Unauthorized("the headers name different accounts")
    return callers[0]


def _count(connection: Connection, who: str, tier: str, action: str, *, is_counted: bool = False) -> None:
    limiter: Limiter = connection.app.state.limiter
    now = connection.app.state.services.clock.now()
    try:
        standing = (limiter.hit_also if is_counted else limiter.hit)(who, tier, action, now)
    except RateLimited as refusal:
        _tell(connection, standing_of(refusal), now)
        raise
    if standing is not None:
        _tell(connection, standing, now)


def _tell(connection: Connection, standing: Standing, now: int) -> None:
    """Leave the window with the least room; of two that are full the later one refuses."""
    scope: Any = connection.scope
    told: tuple[Standing, int] | None = scope.get(TOLD)
    if told is None or standing.remaining <= told[0].remaining:
        scope[TOLD] = standing, now
