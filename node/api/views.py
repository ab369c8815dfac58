"""What the API answers: the shapes of its JSON, which the client decodes again. Times are ISO 8601 in UTC.

Money is a decimal string in tokens beside its `currency`; the documented price table alone holds JSON numbers.
"""

from typing import Any

from msgspec import Struct


class View(Struct, frozen=True, kw_only=True, rename="camel"):
    """A shape of the API: camelCase in JSON."""


class Fault(View, frozen=True, kw_only=True):
    """Why a job did not succeed."""

    code: str
    message: str


class ReasonView(View, frozen=True, kw_only=True):
    """Why one provider did not take the order; `price_per_second` is its ask for these resources."""

    provider: str
    codes: tuple[str, ...]
    price_per_second: str


class StepView(View, frozen=True, kw_only=True):
    """One phase of a job; `status` is waiting, active, done, failed or skipped."""

    name: str
    status: str
    started_at: str | None = None
    finished_at: str | None = None


class Timings(View, frozen=True, kw_only=True):
    """When each stage was reached, in ms since the epoch; null = not yet."""

    submitted: int
    agreed: int | None = None
    started: int | None = None
    finished: int | None = None
    paid: int | None = None


class JobView(View, frozen=True, kw_only=True):
    """A job as its owner sees it. `cost` is what is owed for ended attempts, `paid` what vouchers cover so far."""

    id: str
    kind: str = "image"
    status: str
    phase: str
    progress: int
    image: str
    command: tuple[str, ...]
    provider: str | None
    lease: str | None
    attempt: int
    created_at: str
    queued_at: str
    expires_at: str
    started_at: str | None
    finished_at: str | None
    queue_time_ms: int | None
    execution_time_ms: int | None
    exit_code: int | None
    output_digest: str | None
    """One SHA-256 over paths, digests and sizes of all output files."""
    max_price: str
    price_per_second: str | None
    seconds: int
    cost: str
    paid: str
    currency: str
    error: Fault | None
    reasons: tuple[ReasonView, ...]
    steps: tuple[StepView, ...]
    timings: Timings


class Pagination(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Where a page lies in its list; `next_cursor` is there while more follows, `page` when a page was asked for."""

    limit: int
    total: int
    has_more: bool
    next_cursor: str | None = None
    offset: int | None = None
    page: int | None = None
    total_pages: int | None = None


class JobList(View, frozen=True, kw_only=True):
    """A page of jobs, newest first."""

    jobs: tuple[JobView, ...]
    pagination: Pagination


class LogRecord(View, frozen=True, kw_only=True):
    """One line of output; `level` is read from the line, else "info" for stdout and "error" for stderr."""

    timestamp: str
    stream: str
    level: str
    message: str


class LogList(View, frozen=True, kw_only=True):
    """The last lines of a job."""

    logs: tuple[LogRecord, ...]


class ResultFile(View, frozen=True, kw_only=True):
    """An output file: size in bytes, SHA-256 in hex, and where to fetch it."""

    path: str
    size: int
    digest: str
    url: str


class ResultList(View, frozen=True, kw_only=True):
    """What a job left behind."""

    id: str
    status: str
    exit_code: int | None
    files: tuple[ResultFile, ...]


class StoredFile(View, frozen=True, kw_only=True):
    """An uploaded file, known by its content."""

    digest: str
    size: int


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
    resources: ResourcesView
    free: ResourcesView
    prices: PricesView
    currency: str
    offers: tuple[OfferView, ...]


class ProviderList(View, frozen=True, kw_only=True):
    """A page of providers."""

    providers: tuple[ProviderView, ...]
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


class BalanceView(View, frozen=True, kw_only=True):
    """The node's wallet: tokens in hand, native coin in wei, money in channels, vouchers to claim, earnings."""

    address: str
    balance: str
    native: str
    deposited: str
    promised: str
    claimable: str
    earned: str
    currency: str


class EarningsView(View, frozen=True, kw_only=True):
    """What was earned: `withdrawable` is claimed and not withdrawn, `fees` is what the contract kept."""

    total: str
    unclaimed: str
    withdrawable: str
    withdrawn: str
    fees: str
    currency: str


class WithdrawalView(View, frozen=True, kw_only=True):
    """A withdrawal; status pending, confirmed or failed."""

    id: str
    status: str
    to: str
    amount: str
    currency: str
    transaction: str | None
    created_at: str


class TransactionList(View, frozen=True, kw_only=True):
    """What the wallet sent, as its journal knows it."""

    transactions: tuple[dict[str, Any], ...]


class RefundView(View, frozen=True, kw_only=True):
    """What came back from the channel to one provider, or why not."""

    channel: str
    provider: str
    amount: str
    transaction: str | None
    problem: str | None


class RefundList(View, frozen=True, kw_only=True):
    """What came back of unused deposits."""

    refunds: tuple[RefundView, ...]
    currency: str


class KeyView(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An API key; `key` is shown once, when it is made."""

    id: str
    name: str
    created_at: str
    expires_at: str | None
    key: str | None = None


class KeyList(View, frozen=True, kw_only=True):
    """The keys of an account, without their secrets."""

    keys: tuple[KeyView, ...]


class Deleted(View, frozen=True, kw_only=True):
    """The answer to every DELETE."""

    success: bool = True
    message: str
    id: str


class Version(View, frozen=True, kw_only=True):
    """Which program answers."""

    version: str
    api: str
    python: str


class ErrorBody(View, frozen=True, kw_only=True):
    """The machine-readable part of a refusal."""

    code: str
    message: str
    details: dict[str, Any] = {}


class Problem(View, frozen=True, kw_only=True):
    """RFC 9457 problem details with the nested error object."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    error: ErrorBody
