"""Routes of what happens to an account: one stream of server-sent events, and one WebSocket with channels."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, WebSocket, get, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.params import QueryParameter
from msgspec import Meta, Struct

from node.actions.happenings import PAGE
from node.api.auth import GONE, REVOKED, SECURITY, signed_in
from node.api.catalog import price_table
from node.api.errors import problems
from node.api.log_queries import resume_point
from node.api.market_views import PriceTable
from node.api.present import iso
from node.api.services import Call, Services
from node.api.streams import Closing, Frame, event_stream
from node.records import Account, Happened

TAGS: Final = ["Events"]
CHANNELS: Final = {
    "jobs": ("job.", "build.", "order."),
    "deployments": ("deployment.", "agent.", "pod."),
    "billing": ("deposit.", "payout.", "billing."),
}
MARKET: Final = "market"
MARKET_EVERY: Final = 5.0
MAX_MESSAGE: Final = 4096
_encode = msgspec.json.Encoder(enc_hook=str).encode


class Subscription(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client of the WebSocket says: the channels that it wants from now on, and behind which event."""

    subscribe: Annotated[tuple[Annotated[str, Meta(max_length=16)], ...], Meta(max_length=8)]
    after: Annotated[int, Meta(ge=0, le=2**53)] | None = None


@get(
    "/events",
    guards=[signed_in],
    tags=TAGS,
    security=SECURITY,
    media_type="text/event-stream",
    responses=problems(),
)
async def follow_account(
    request: Call, after: Annotated[int | None, QueryParameter(ge=0, le=2**53)] = None
) -> Response[str]:
    """Everything that happens to what is yours, from now on, or behind `after` or `Last-Event-ID` (seven days back)."""
    news, last = request.services.news, resume_point(request)
    start = last if last >= 0 else news.last(request.account) if after is None else after
    return event_stream(_frames(request.services, request.account, start), request.closing, request.watched)  # type: ignore[return-value]


@websocket("/ws", guards=[signed_in])
async def converse(socket: WebSocket[Account, Any, Any]) -> None:
    """Send `{"subscribe": ["jobs", "deployments", "billing", "market"], "after": 17}`; events come as JSON messages.

    It is closed with 4401 when the credentials that opened it are good no longer.
    """
    await socket.accept()
    talk = _Talk(socket)
    with suppress(WebSocketDisconnect):
        await talk.run()


class _Talk:
    """One client: what it has subscribed to, and the task that sends it."""

    def __init__(self, socket: WebSocket[Account, Any, Any]) -> None:
        self._socket = socket
        self._services: Services = socket.app.state.services
        self._closing: Closing = socket.app.state.closing
        self._account = socket.user
        self._sending: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Until the client goes or may no longer, or the server stops."""
        with self._services.people.watch.over(self._socket.auth) as revoked:
            ends = [asyncio.ensure_future(event.wait()) for event in (self._closing, revoked)]
            try:
                await self._listen(ends)
            finally:
                for end in ends:
                    end.cancel()
                await self._stop()
            why = (REVOKED, GONE) if revoked.is_set() else (1001, "the node stops")
            await self._socket.close(*why)

    async def _listen(self, ends: Sequence[asyncio.Future[Any]]) -> None:
        while not any(end.done() for end in ends):
            hearing = asyncio.ensure_future(self._socket.receive_text())
            await asyncio.wait({hearing, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if not hearing.done():
                hearing.cancel()
                return
            await self._hear(hearing.result())

    async def _hear(self, text: str) -> None:
        try:
            wanted = msgspec.json.decode(text[: MAX_MESSAGE + 1], type=Subscription)
        except (msgspec.DecodeError, RecursionError) as error:
            await self._tell({"error": {"code": "INVALID_PARAMETERS", "message": str(error)[:256]}})
            return
        unknown = [name for name in wanted.subscribe if name not in (*CHANNELS, MARKET)]
        if unknown:
            known = [*CHANNELS, MARKET]
            message = f"channels are {', '.join(known)}"
            error_body = {"code": "INVALID_PARAMETERS", "message": message, "details": {"field": "subscribe"}}
            await self._tell({"error": error_body})
            return
        await self._stop()
        await self._tell({"subscribed": list(wanted.subscribe)})
        self._start(wanted)

    def _start(self, wanted: Subscription) -> None:
        prefixes = tuple(prefix for name in wanted.subscribe for prefix in CHANNELS.get(name, ()))
        if prefixes:
            after = self._services.news.last(self._account) if wanted.after is None else wanted.after
            self._sending.append(asyncio.create_task(self._send_news(prefixes, after)))
        if MARKET in wanted.subscribe:
            self._sending.append(asyncio.create_task(self._send_market()))

    async def _send_news(self, prefixes: tuple[str, ...], after: int) -> None:
        async for happened in self._services.news.follow(self._account, after):
            if happened.event.startswith(prefixes):
                await self._tell({"id": happened.seq, **event_body(happened)})

    async def _send_market(self) -> None:
        last: PriceTable | None = None
        while True:
            table = price_table(self._services.market.prices(), self._services.currency)
            if table != last:
                await self._tell({"event": "market.prices", "data": table})
            last = table
            await asyncio.sleep(MARKET_EVERY)

    async def _tell(self, message: Any) -> None:
        await self._socket.send_text(_encode(message).decode())

    async def _stop(self) -> None:
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        self._sending = []


def event_body(happened: Happened) -> dict[str, Any]:
    """A happening as it is told everywhere."""
    return {"event": happened.event, "timestamp": iso(happened.at), "data": msgspec.Raw(happened.body)}


async def _frames(services: Services, account: Account, after: int) -> AsyncIterator[Frame]:
    async for happened in services.news.follow(account, after):
        yield _frame(happened)


@lru_cache(maxsize=PAGE)
def _frame(happened: Happened) -> Frame:
    """Encoded once for all who follow the account."""
    return Frame(happened.event, event_body(happened), happened.seq)
