"""What the API answers about the market: offers, providers, prices, explanations."""

from node.api.views import Pagination, View


class GpuView(View, frozen=True, kw_only=True):
    """GPUs of one model; vram per GPU."""

    count: int
    model: str
    vram: str


class ResourcesView(View, frozen=True, kw_only=True):
    """An amount of machine: cores, sizes with binary suffixes."""

    cpu: float
    memory: str
    disk: str
    gpu: GpuView


class PricesView(View, frozen=True, kw_only=True):
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


class HardwareView(View, frozen=True, kw_only=True):
    """What the provider measured; `benchmark` in hashes per second of one core."""

    cpu_model: str
    benchmark: int
    gpus: tuple[GpuFacts, ...]


class OfferView(View, frozen=True, kw_only=True):
    """A standing offer."""

    id: str
    total: ResourcesView
    free: ResourcesView
    prices: PricesView
    currency: str
    region: str
    isolation: str
    risks: tuple[str, ...]
    notice: int
    images: tuple[str, ...]
    hardware: HardwareView
    issued_at: str
    expires_at: str


class ProviderView(View, frozen=True, kw_only=True):
    """A provider by its best offer; reputation 0..1000."""

    id: str
    address: str
    peer: str
    reputation: int
    gpu: bool
    region: str
    isolation: str
    risks: tuple[str, ...]
    resources: ResourcesView
    free: ResourcesView
    prices: PricesView
    currency: str
    offers: tuple[OfferView, ...]


class ProviderList(View, frozen=True, kw_only=True):
    """A page of providers."""

    providers: tuple[ProviderView, ...]
    pagination: Pagination


class AskView(View, frozen=True, kw_only=True):
    """An ask in the book: an offer and whose it is."""

    provider: str
    offer: OfferView


class OwnAskView(View, frozen=True, kw_only=True):
    """Prices that were set by hand for this node's machine; `expiresAt` null until they are taken back."""

    id: str
    prices: PricesView
    currency: str
    created_at: str
    expires_at: str | None


class OwnAskList(View, frozen=True, kw_only=True):
    """At most one: a machine has one standing offer."""

    asks: tuple[OwnAskView, ...]
    pagination: Pagination


class DemandView(View, frozen=True, kw_only=True):
    """A demand that rests in the book: blinded, for what shall run only the winner learns."""

    id: str
    resources: ResourcesView
    region: str
    isolation: str
    min_reputation: int
    max_price_per_second: str
    duration: int
    issued_at: str
    expires_at: str


class BookView(View, frozen=True, kw_only=True):
    """A page of the live book as this node sees it: asks, cheapest core first, and demands, oldest first.

    What is said of pages holds for the longer side; the other ends earlier.
    """

    asks: tuple[AskView, ...]
    orders: tuple[DemandView, ...]
    currency: str
    pagination: Pagination


class OfferList(View, frozen=True, kw_only=True):
    """A page of the live offers of one provider."""

    offers: tuple[OfferView, ...]
    pagination: Pagination


class PriceRange(View, frozen=True, kw_only=True):
    """Asking prices per hour in tokens over all live offers; null while nobody offers."""

    min: float | None
    avg: float | None
    max: float | None


class PriceTable(View, frozen=True, kw_only=True):
    """Prices per core, per GiB of memory and per GPU of each model."""

    cpu: PriceRange
    memory: PriceRange
    gpu: dict[str, PriceRange]
    currency: str
    per: str = "hour"


class OfferReasons(View, frozen=True, kw_only=True):
    """The constraints that one live offer fails (none: it would serve), and its price for the job."""

    offer: str
    provider: str
    reasons: tuple[str, ...]
    price_per_second: str


class RateSpread(View, frozen=True, kw_only=True):
    """Tokens per second over the offers that fit but for the price."""

    min: str
    p50: str
    max: str


class RelaxationView(View, frozen=True, kw_only=True):
    """One constraint changed from `asked` to `needed` makes `matches` offers fit; `change` is the step in percent."""

    constraint: str
    asked: str
    needed: str
    matches: int
    change: float


class ExplanationView(View, frozen=True, kw_only=True):
    """How the live offers stand to a job: counts by failed constraint, the nearest offers, and what would help."""

    live: int
    matching: int
    failing: dict[str, int]
    offers: tuple[OfferReasons, ...]
    price_per_second: RateSpread | None
    relaxations: tuple[RelaxationView, ...]
    currency: str
