"""From the market's values to the API's views: offers, providers, price ranges, explanations."""

from collections.abc import Sequence

from market.explanations import Explanation, RateRange, Reasons, Relaxation
from market.gpus import gpu_model
from market.offers import Gpu, Hardware, Offer
from market.orders import Order
from market.resources import Prices, Resources
from market.summaries import MarketPrices
from market.summaries import PriceRange as AskRange
from market.units import format_size
from node.api.market_views import (
    DemandView,
    ExplanationView,
    GpuFacts,
    GpuView,
    HardwareView,
    OfferReasons,
    OfferView,
    PriceRange,
    PricesView,
    PriceTable,
    ProviderView,
    RateSpread,
    RelaxationView,
    ResourcesView,
)
from node.api.present import format_rate, iso, per_hour, provider_id


def provider_view(best: Offer, score: int, offers: Sequence[Offer], currency: str) -> ProviderView:
    """A provider by its best offer, with all of `offers`."""
    return ProviderView(
        id=provider_id(best.provider),
        address=best.provider,
        peer=best.peer,
        reputation=score,
        gpu=best.total.gpus > 0,
        region=best.region,
        isolation=best.isolation,
        risks=best.risks,
        resources=resources_view(best.total),
        free=resources_view(best.free),
        prices=prices_view(best.prices),
        currency=currency,
        offers=tuple(offer_view(offer, currency) for offer in offers),
    )


def offer_view(offer: Offer, currency: str) -> OfferView:
    """A standing offer."""
    return OfferView(
        id=offer.id,
        total=resources_view(offer.total),
        free=resources_view(offer.free),
        prices=prices_view(offer.prices),
        currency=currency,
        region=offer.region,
        isolation=offer.isolation,
        risks=offer.risks,
        notice=offer.notice,
        images=offer.images,
        hardware=_hardware(offer.hardware),
        issued_at=iso(offer.issued_at),
        expires_at=iso(offer.expires_at),
    )


def demand_view(order: Order) -> DemandView:
    """A demand that rests in the book."""
    return DemandView(
        id=order.id,
        resources=resources_view(order.resources),
        region=order.constraints.region,
        isolation=order.constraints.isolation,
        min_reputation=order.constraints.min_reputation,
        max_price_per_second=format_rate(order.max_rate),
        duration=order.duration,
        issued_at=iso(order.issued_at),
        expires_at=iso(order.expires_at),
    )


def resources_view(resources: Resources) -> ResourcesView:
    """An amount of machine in cores and sizes with suffixes."""
    return ResourcesView(
        cpu=resources.cpu / 1000,
        memory=format_size(resources.memory),
        disk=format_size(resources.disk),
        gpu=GpuView(count=resources.gpus, model=gpu_model(resources.gpu_model), vram=format_size(resources.vram)),
    )


def prices_view(prices: Prices) -> PricesView:
    """Prices per hour in tokens."""
    return PricesView(
        cpu=per_hour(prices.cpu),
        memory=per_hour(prices.memory),
        disk=per_hour(prices.disk),
        gpu=per_hour(prices.gpu),
    )


def price_table(prices: MarketPrices, currency: str) -> PriceTable:
    """The documented price table: JSON numbers, per hour in tokens."""
    return PriceTable(
        cpu=_range(prices.cpu),
        memory=_range(prices.memory),
        gpu={model: _range(found) for model, found in prices.gpu.items()},
        currency=currency,
    )


def explanation_view(explanation: Explanation, currency: str) -> ExplanationView:
    """How the market stands to a job, in the words of the API."""
    rates = explanation.rates
    return ExplanationView(
        live=explanation.live,
        matching=explanation.matching,
        failing=explanation.failing,
        offers=tuple(_reasons(offer) for offer in explanation.offers),
        price_per_second=_spread(rates) if rates else None,
        relaxations=tuple(_relaxation(step) for step in explanation.relaxations),
        currency=currency,
    )


def _spread(rates: RateRange) -> RateSpread:
    return RateSpread(min=format_rate(rates.min), p50=format_rate(rates.p50), max=format_rate(rates.max))


def _range(found: AskRange | None) -> PriceRange:
    if found is None:
        return PriceRange(min=None, avg=None, max=None)
    return PriceRange(min=per_hour(found.min), avg=per_hour(found.avg), max=per_hour(found.max))


def _hardware(hardware: Hardware) -> HardwareView:
    gpus = tuple(_gpu(gpu) for gpu in hardware.gpus)
    return HardwareView(cpu_model=hardware.cpu_model, benchmark=hardware.benchmark, gpus=gpus)


def _gpu(gpu: Gpu) -> GpuFacts:
    return GpuFacts(
        model=gpu.model,
        uuid=gpu.uuid,
        vram=format_size(gpu.vram),
        driver=gpu.driver,
        cuda=gpu.cuda,
        mig=gpu.mig,
        utilisation=gpu.utilisation,
    )


def _reasons(offer: Reasons) -> OfferReasons:
    return OfferReasons(
        offer=offer.offer,
        provider=provider_id(offer.provider),
        reasons=offer.reasons,
        price_per_second=format_rate(offer.rate),
    )


def _relaxation(step: Relaxation) -> RelaxationView:
    return RelaxationView(
        constraint=step.constraint,
        asked=_amount(step.constraint, step.asked),
        needed=_amount(step.constraint, step.needed),
        matches=step.matches,
        change=step.change / 10,
    )


def _amount(constraint: str, value: int | str) -> str:
    if isinstance(value, str):
        return value
    if constraint == "price":
        return format_rate(value)
    if constraint == "cpu":
        return str(value / 1000)
    return format_size(value) if constraint in ("memory", "disk", "vram") else str(value)
