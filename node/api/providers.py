"""Routes of the market: providers, prices, statistics."""

from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from market.errors import NotFound
from node.api.auth import SECURITY, signed_in
from node.api.catalog import price_table, provider_view
from node.api.errors import problems
from node.api.market_views import PriceTable, ProviderList, ProviderView
from node.api.replies import Page, cut, pagination_of, reply
from node.api.services import Call

PROVIDERS: Final = ["Providers"]
MARKET: Final = ["Market"]
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
    found = request.services.market.providers(gpu=gpu, min_reputation=min_reputation, region=region)
    shown, following = cut(found, wanted)
    currency = request.services.currency
    views = tuple(provider_view(offer, score, (offer,), currency) for offer, score in shown)
    return reply(ProviderList(providers=views, pagination=pagination_of(wanted, len(found), len(views), following)))


@get("/providers/{provider_id:str}", guards=[signed_in], tags=PROVIDERS, security=SECURITY, responses=problems(404))
async def show_provider(request: Call, provider_id: FromPath[str]) -> Response[ProviderView]:
    """One provider with all of its live offers; its id (`prov_...`, `node_...`) or its chain address (`0x...`)."""
    offers, score = request.services.market.provider(address_in(provider_id))
    return reply(provider_view(offers[0], score, offers, request.services.currency))


@get("/market/prices", guards=[signed_in], tags=MARKET, security=SECURITY, responses=problems())
async def show_prices(request: Call) -> Response[PriceTable]:
    """What live offers ask, per hour in tokens: per core, per GiB of memory, per GPU of each model."""
    return reply(price_table(request.services.market.prices(), request.services.currency))


@get("/market/stats", guards=[signed_in], tags=MARKET, security=SECURITY, responses=problems())
async def show_stats(request: Call) -> Response[dict[str, Any]]:
    """How much market there is: offers, providers, resting orders, capacity in milli-cores and bytes."""
    return reply(camelled(msgspec.to_builtins(request.services.market.stats())))


def address_in(text: str) -> str:
    """The chain address in a provider's id; NotFound when it can not be one."""
    digits = text.lower().removeprefix("prov_").removeprefix("node_").removeprefix("0x")
    if len(digits) != 40 or not _HEX.issuperset(digits):
        raise NotFound("no such provider", id=text[:80])
    return f"0x{digits}"


def camelled(value: Any) -> Any:
    """The same with snake_case keys in camelCase."""
    if not isinstance(value, dict):
        return value
    return {_camel(key): camelled(item) for key, item in value.items()}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
