"""Routes of asks by hand: what this node's machine is offered for, set by who looks after it."""

from typing import Annotated, Final

from litestar import Response, delete, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from market.errors import InvalidParameters
from market.pricing import Ask
from market.resources import Prices
from market.units import RATE_SCALE, parse_duration
from node.api.auth import SECURITY, administers
from node.api.catalog import prices_view
from node.api.errors import problems
from node.api.market_views import OwnAskList, OwnAskView
from node.api.merging import place_of
from node.api.present import iso
from node.api.replies import Page, cut, page_of_hundred, pagination_of, reply
from node.api.services import Call
from node.api.submissions import Body, Number, price_of_text
from node.api.views import Deleted

TAGS: Final = ["Market"]
HOUR: Final = 3600
MAX_HOURLY: Final = 10**12
"""A million tokens an hour, in base units."""
MAX_LIFE: Final = 365 * 86_400


class PricesBody(Body, frozen=True, kw_only=True):
    """Tokens per hour: per core, per GiB of memory, per GiB of disk, per GPU."""

    cpu: Number
    memory: Number
    disk: Number = 0
    gpu: Number = 0


class AskBody(Body, frozen=True, kw_only=True):
    """Prices, and for how long ("30m", "8h"; null until they are taken back)."""

    prices: PricesBody
    expires_in: Annotated[str, Meta(max_length=16)] | None = None


@get(
    "/market/asks",
    guards=[administers],
    tags=TAGS,
    security=SECURITY,
    responses=problems(),
    dependencies={"wanted": Provide(page_of_hundred, sync_to_thread=False)},
)
async def list_asks(request: Call, wanted: NamedDependency[Page]) -> Response[OwnAskList]:
    """The ask that this node's machine is offered for, if one was set by hand."""
    found = request.services.asks.list()
    shown, following = cut(found, wanted, place_of)
    pagination = pagination_of(wanted, len(found), len(shown), following)
    return reply(OwnAskList(asks=tuple(_view(request, ask) for ask in shown), pagination=pagination))


@post("/market/asks", guards=[administers], tags=TAGS, security=SECURITY, responses=problems(403, 409, 413, 415))
async def post_ask(request: Call, data: JSONBody[AskBody]) -> Response[OwnAskView]:
    """Offer the machine at these prices, whatever its load, in place of the policy's or an ask before."""
    prices = Prices(
        cpu=_rate(data.prices.cpu, "cpu"),
        memory=_rate(data.prices.memory, "memory"),
        disk=_rate(data.prices.disk, "disk"),
        gpu=_rate(data.prices.gpu, "gpu"),
    )
    return reply(_view(request, await request.services.asks.post(prices, _life(data.expires_in))), 201)


@delete(
    "/market/asks/{ask_id:str}",
    guards=[administers],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses=problems(404),
)
async def withdraw_ask(request: Call, ask_id: FromPath[str]) -> Response[Deleted]:
    """Take it back: the policy's prices are asked again."""
    await request.services.asks.withdraw(ask_id)
    return reply(Deleted(message="Ask withdrawn", id=ask_id))


def _rate(value: float | str, name: str) -> int:
    field = f"prices.{name}"
    hourly = price_of_text(value, field)
    if hourly > MAX_HOURLY:
        raise InvalidParameters(
            f"{field} is at most a million an hour", field=field, value=value, expected="<= 1000000"
        )
    return hourly * RATE_SCALE // HOUR


def _life(text: str | None) -> int:
    """Seconds; 0 = without end."""
    if text is None:
        return 0
    seconds = parse_duration(text, "expiresIn")
    if not 1 <= seconds <= MAX_LIFE:
        raise InvalidParameters("expiresIn must be from 1s to 365d", field="expiresIn", value=text, expected="1s..365d")
    return seconds


def _view(request: Call, ask: Ask) -> OwnAskView:
    return OwnAskView(
        id=ask.id,
        prices=prices_view(ask.prices),
        currency=request.services.currency,
        created_at=iso(ask.created_at),
        expires_at=iso(ask.expires_at) if ask.expires_at else None,
    )
