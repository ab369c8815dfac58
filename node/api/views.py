"""What the API answers: the shapes of its JSON, which the client decodes again. Times are ISO 8601 in UTC.

Money is a decimal string in tokens beside its `currency`; the documented price table alone holds JSON numbers.
"""

from typing import Any

from msgspec import Struct


class View(Struct, frozen=True, kw_only=True, rename="camel"):
    """A shape of the API: camelCase in JSON."""


class Pagination(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Where a page lies in its list; `next_cursor` is there while more follows, `page` when a page was asked for."""

    limit: int
    total: int
    has_more: bool
    next_cursor: str | None = None
    offset: int | None = None
    page: int | None = None
    total_pages: int | None = None


class Fault(View, frozen=True, kw_only=True):
    """Why a job did not succeed."""

    code: str
    message: str


class ReasonView(View, frozen=True, kw_only=True):
    """Why one provider did not take the order; `price_per_second` is its ask for these resources."""

    provider: str
    codes: tuple[str, ...]
    price_per_second: str


class BidView(View, frozen=True, kw_only=True):
    """A provider's bid on the resting order: price per second in tokens, seconds until the start."""

    provider: str
    price_per_second: str
    start_within: int
    at: str


class BidList(View, frozen=True, kw_only=True):
    """A page of the bids on a job."""

    bids: tuple[BidView, ...]
    pagination: Pagination


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
    """ "image", "build" of the project `project_id`, or "code" in `language`."""
    project_id: str | None = None
    language: str | None = None
    status: str
    phase: str
    progress: int
    pulled: int | None
    """Percent of the image that the provider has, while it fetches it."""
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
    bids: tuple[BidView, ...]
    steps: tuple[StepView, ...]
    timings: Timings


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


class HeldFile(View, frozen=True, kw_only=True):
    """A file that an account has; `used_at` is when it was brought or named last, `kept_until` when it goes if unused.

    What has not ended and needs a file keeps it longer.
    """

    digest: str
    size: int
    used_at: str
    kept_until: str


class FileList(View, frozen=True, kw_only=True):
    """A page of the files of an account, those used last first, and the bytes of all."""

    files: tuple[HeldFile, ...]
    bytes: int
    limit: int
    pagination: Pagination


class KeyView(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An API key; `key` is shown once, when it is made. Without `scopes` it may all that its account may."""

    id: str
    name: str
    scopes: tuple[str, ...] = ()
    profile: str | None = None
    created_at: str
    expires_at: str | None
    key: str | None = None


class KeyList(View, frozen=True, kw_only=True):
    """A page of the keys of an account, without their secrets, oldest first."""

    keys: tuple[KeyView, ...]
    pagination: Pagination


class Deleted(View, frozen=True, kw_only=True):
    """The answer to every DELETE, and to what has no result of its own."""

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
