"""The market: providers and their offers, prices, statistics, explanations."""

from datetime import datetime
from decimal import Decimal

from neugrid_sdk.views.view import View


class Gpu(View, frozen=True, kw_only=True):
    """GPUs of one model; vram per GPU."""

    count: int
    model: str
    vram: str


class Resources(View, frozen=True, kw_only=True):
    """An amount of machine: cores, sizes with binary suffixes."""

    cpu: float
    memory: str
    disk: str
    gpu: Gpu


class Prices(View, frozen=True, kw_only=True):
    """Asking prices per hour in tokens: per core, per GiB of memory, per GiB of disk, per GPU."""

    cpu: float
    memory: float
    disk: float
    gpu: float


class GpuFacts(View, frozen=True, kw_only=True):
    """One GPU as its driver reports it; utilisation in percent."""

    model: str
    uuid: str
    vram: str
    driver: str
    cuda: str
    mig: bool
    utilisation: int


class Hardware(View, frozen=True, kw_only=True):
    """What the provider measured; `benchmark` in hashes per second of one core."""

    cpu_model: str
    benchmark: int
    gpus: tuple[GpuFacts, ...]


class Offer(View, frozen=True, kw_only=True):
    """A standing offer."""

    id: str
    total: Resources
    free: Resources
    prices: Prices
    currency: str
    region: str
    isolation: str
    risks: tuple[str, ...]
    notice: int
    images: tuple[str, ...]
    hardware: Hardware
    issued_at: datetime
    expires_at: datetime


class Provider(View, frozen=True, kw_only=True):
    """A provider by its best offer; reputation 0..1000."""

    id: str
    address: str
    peer: str
    reputation: int
    gpu: bool
    region: str
    isolation: str
    risks: tuple[str, ...]
    resources: Resources
    free: Resources
    prices: Prices
    currency: str
    offers: tuple[Offer, ...]


class PriceRange(View, frozen=True, kw_only=True):
    """Asking prices per hour in tokens; None while nobody offers."""

    min: float | None
    avg: float | None
    max: float | None


class PriceTable(View, frozen=True, kw_only=True):
    """Prices per core, per GiB of memory and per GPU of each model."""

    cpu: PriceRange
    memory: PriceRange
    gpu: dict[str, PriceRange]
    currency: str
    per: str


class Amounts(View, frozen=True, kw_only=True):
    """Sums over machines: milli-cores, bytes, bytes, and GPUs by model."""

    cpu: int
    memory: int
    disk: int
    gpus: dict[str, int]


class MarketStats(View, frozen=True, kw_only=True):
    """How much market there is."""

    offers: int
    providers: int
    orders: int
    total: Amounts
    free: Amounts
    regions: dict[str, int]


class OfferReasons(View, frozen=True, kw_only=True):
    """The constraints that one live offer fails (none: it would serve), and its price for the job."""

    offer: str
    provider: str
    reasons: tuple[str, ...]
    price_per_second: Decimal


class RateSpread(View, frozen=True, kw_only=True):
    """Tokens per second over the offers that fit but for the price."""

    min: Decimal
    p50: Decimal
    max: Decimal


class Relaxation(View, frozen=True, kw_only=True):
    """One constraint changed from `asked` to `needed` makes `matches` offers fit; `change` is the step in percent."""

    constraint: str
    asked: str
    needed: str
    matches: int
    change: float


class Explanation(View, frozen=True, kw_only=True):
    """How the live offers stand to an order: counts by failed constraint, the nearest offers, and what would help."""

    live: int
    matching: int
    failing: dict[str, int]
    offers: tuple[OfferReasons, ...]
    price_per_second: RateSpread | None
    relaxations: tuple[Relaxation, ...]
    currency: str
