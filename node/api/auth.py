"""Who asks: the guards of the routes. A key comes as X-API-Key or as Bearer; streams may carry it as `?token=`."""

from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.openapi.spec import SecurityRequirement

from market.errors import RateLimited, Unauthorized
from node.api.limits import SlidingWindow, Standing, headers_of
from node.records import Account

Connection = ASGIConnection[Any, Any, Any, Any]
HEADERS: Final = "neugrid.headers"
"""Where guards leave response headers in the ASGI scope; the edge adds them."""
SECURITY: Final[list[SecurityRequirement]] = [{"apiKey": []}, {"bearer": []}]


async def signed_in(connection: Connection, _: BaseRouteHandler) -> None:
    """Let in a known key within its limit; the account is the request's user. Raises Unauthorized, RateLimited."""
    if _method(connection) == "OPTIONS":
        return
    account = _account(connection, _keys_of(connection))
    _count(connection, account.id)
    connection.scope["user"] = account


async def known_or_not(connection: Connection, _: BaseRouteHandler) -> None:
    """Let everybody in; whoever brings a key must bring a right one. The user is None without."""
    if _method(connection) == "OPTIONS":
        return
    keys = _keys_of(connection)
    account = _account(connection, keys) if keys else None
    client = connection.client
    _count(connection, account.id if account else f"ip:{client.host if client else ''}")
    connection.scope["user"] = account


def _method(connection: Connection) -> str:
    return str(connection.scope.get("method", ""))


def _keys_of(connection: Connection) -> list[str]:
    headers = connection.headers
    found = [headers.get("x-api-key", "")]
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        found.append(token.strip())
    elif scheme:
        raise Unauthorized("expected Authorization: Bearer <key>", expected="Bearer")
    if _method(connection) == "GET" and "text/event-stream" in headers.get("accept", ""):
        found.append(connection.query_params.get("token", ""))
    return [key for key in dict.fromkeys(found) if key]


def _account(connection: Connection, keys: list[str]) -> Account:
    if not keys:
        raise Unauthorized("a key is needed: send X-API-Key: <key> or Authorization: Bearer <key>")
    services = connection.app.state.services
    now = services.clock.now()
    accounts: list[Account] = [services.accounts.authenticate(key, now) for key in keys]
    if any(account.id != accounts[0].id for account in accounts):
        raise Unauthorized("the headers name different accounts")
    return accounts[0]


def _count(connection: Connection, key: str) -> None:
    window: SlidingWindow = connection.app.state.window
    now = connection.app.state.services.clock.now()
    headers = connection.scope.setdefault(HEADERS, [])  # type: ignore[typeddict-item]
    try:
        headers += headers_of(window.hit(key, now), now)
    except RateLimited as refusal:
        full = Standing(window.limit, 0, int(str(refusal.details["reset_at"])), window.seconds)
        headers += headers_of(full, now)
        raise
