"""Routes of the market: providers, prices, statistics."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, TypeVar

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, QueryParameter
from msgspec.structs import replace

from market.errors import NotFound
from market.offers import Offer
from market.orders import Order
from node.actions.market import demand_place, price_place, rank
from node.api.auth import SECURITY, signed_in
from node.api.catalog import demand_view, offer_view, price_table, provider_view
from node.api.errors import problems
from node.api.market_views import AskView, BookView, OfferList, PriceTable, ProviderList, ProviderView
from node.api.present import node_id, provider_id
from node.api.replies import Key, Page, cursor_behind, cut, key_in, page_of_hundred, pagination_of, reply
from node.api.services import Call
from node.api.views import Pagination

PROVIDERS: Final = ["Providers"]
MARKET: Final = ["Market"]
T = TypeVar("T")
_HEX: Final = frozenset("0123456789abcdef")


@get("/providers", guards=[signed_in], tags=PROVIDERS, security=SECURITY, responses=problems())
async def list_providers(
    request: Call,
    wanted: NamedDependency[Page],
    gpu: Annotated[bool | None, QueryParameter()] = None,
    min_reputation: Annotated[int, QueryParameter(name="minReputation", ge=0, le=1000)] = 0,
    region: Annotated[str, QueryParameter(max_length=128)] = "",
) -> Response[ProviderList]:
    """Providers with a live offer, each with its best one; reputation runs from 0 to 1000."""
    return _listed(request, wanted, gpu, min_reputation, region, _as_provider)


@get("/providers/{provider_id:str}", guards=[signed_in], tags=PROVIDERS, security=SECURITY, responses=problems(404))
async def show_provider(request: Call, provider_id: FromPath[str]) -> Response[ProviderView]:
    """One provider with all of its live offers; its id (`prov_...`, `node_...`) or its chain address (`0x...`)."""
    return reply(_found(request, provider_id))


@get("/market/prices", guards=[signed_in], tags=MARKET, security=SECURITY, responses=problems())
async def show_prices(request: Call) -> Response[PriceTable]:
    """What live offers ask, per hour in tokens: per core, per GiB of memory, per GPU of each model."""
    return reply(price_table(request.services.market.prices(), request.services.currency))


@get("/market/stats", guards=[signed_in], tags=MARKET, security=SECURITY, responses=problems())
async def show_stats(request: Call) -> Response[dict[str, Any]]:
    """How much market there is: offers, providers, resting orders, capacity in milli-cores and bytes."""
    return reply(camelled(msgspec.to_builtins(request.services.market.stats())))


@get("/nodes", guards=[signed_in], tags=PROVIDERS, security=SECURITY, responses=problems())
async def list_nodes(
    request: Call,
    wanted: NamedDependency[Page],
    gpu: Annotated[bool | None, QueryParameter()] = None,
    min_reputation: Annotated[int, QueryParameter(name="minReputation", ge=0, le=1000)] = 0,
    region: Annotated[str, QueryParameter(max_length=128)] = "",
) -> Response[ProviderList]:
    """The same providers, for who calls them nodes: their ids are what deployments take and show as `nodeId`."""
    return _listed(request, wanted, gpu, min_reputation, region, _as_node)


@get("/nodes/{node_id:str}", guards=[signed_in], tags=PROVIDERS, security=SECURITY, responses=problems(404))
async def show_node(request: Call, node_id: FromPath[str]) -> Response[ProviderView]:
    """One of them."""
    return reply(_as_node(_found(request, node_id)))


@get(
    "/providers/{provider_id:str}/offers",
    guards=[signed_in],
    tags=PROVIDERS,
    security=SECURITY,
    responses=problems(404),
    dependencies={"wanted": Provide(page_of_hundred, sync_to_thread=False)},
)
async def list_offers(request: Call, provider_id: FromPath[str], wanted: NamedDependency[Page]) -> Response[OfferList]:
    """The live offers of a provider, by id."""
    offers, _ = request.services.market.provider(address_in(provider_id))
    offers.sort(key=lambda offer: offer.id)
    shown, following = cut(offers, wanted, lambda offer: (offer.id,))
    views = tuple(offer_view(offer, request.services.currency) for offer in shown)
    return reply(OfferList(offers=views, pagination=pagination_of(wanted, len(offers), len(views), following)))


@get(
    "/market/orders",
    guards=[signed_in],
    tags=MARKET,
    security=SECURITY,
    responses=problems(),
    dependencies={"wanted": Provide(page_of_hundred, sync_to_thread=False)},
)
async def show_book(request: Call, wanted: NamedDependency[Page]) -> Response[BookView]:
    """The live book: at most `limit` asks, cheapest core first, and as many demands, oldest first."""
    currency = request.services.currency
    asks, orders, pagination = book_page(request.services.market.asks(), request.services.market.orders(), wanted)
    view = BookView(
        asks=tuple(AskView(provider=provider_id(ask.provider), offer=offer_view(ask, currency)) for ask in asks),
        orders=tuple(map(demand_view, orders)),
        currency=currency,
        pagination=pagination,
    )
    return reply(view)


def book_page(
    asks: Sequence[Offer], orders: Sequence[Order], wanted: Page
) -> tuple[Sequence[Offer], Sequence[Order], Pagination]:
    """A page of both sides at once; its cursor is behind the last that was shown of each."""
    one = other = wanted
    if wanted.cursor:
        key = key_in(wanted.cursor)
        one, other = (replace(wanted, cursor=cursor_behind(part)) for part in (key[:2], key[2:]))
    shown, more = cut(asks, one, price_place)
    demanded, more_demanded = cut(orders, other, demand_place)
    end = (*_end(shown or asks, price_place), *_end(demanded or orders, demand_place))
    following = cursor_behind(end) if more or more_demanded else None
    total = max(len(asks), len(orders))
    return shown, demanded, pagination_of(wanted, total, max(len(shown), len(demanded)), following)


def _end(items: Sequence[T], key: Callable[[T], Key]) -> Key:
    """Where a side ends, or where it would begin."""
    return key(items[-1]) if items else (-1, "")


def address_in(text: str) -> str:
    """The chain address in a provider's id; NotFound when it can not be one."""
    digits = text.lower().removeprefix("prov_").removeprefix("node_").removeprefix("0x")
    if len(digits) != 40 or not _HEX.issuperset(digits):
        raise NotFound("no such provider", id=text[:80])
    return f"0x{digits}"


def _listed(
    request: Call,
    wanted: Page,
    gpu: bool | None,
    least: int,
    region: str,
    named: Callable[[ProviderView], ProviderView],
) -> Response[ProviderList]:
    found = request.services.market.providers(gpu=gpu, min_reputation=least, region=region)
    shown, following = cut(found, wanted, rank)
    currency = request.services.currency
    views = tuple(named(provider_view(offer, score, (offer,), currency)) for offer, score in shown)
    return reply(ProviderList(providers=views, pagination=pagination_of(wanted, len(found), len(views), following)))


def _found(request: Call, id: str) -> ProviderView:
    offers, score = request.services.market.provider(address_in(id))
    return provider_view(offers[0], score, offers, request.services.currency)


def _as_provider(view: ProviderView) -> ProviderView:
    return view


def _as_node(view: ProviderView) -> ProviderView:
    """Under the id that deployments show."""
    return replace(view, id=node_id(view.address))


def camelled(value: dict[str, Any]) -> dict[str, Any]:
    """The same with its own snake_case keys in camelCase; those of maps inside are data."""
    return {_camel(key): item for key, item in value.items()}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
