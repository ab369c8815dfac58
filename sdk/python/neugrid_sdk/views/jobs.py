"""Jobs, their output, and runs of code."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from neugrid_sdk.views.view import Fault, View


class Reason(View, frozen=True, kw_only=True):
    """Why one provider did not take the order; `price_per_second` is its ask for these resources."""

    provider: str
    codes: tuple[str, ...]
    price_per_second: Decimal


class Bid(View, frozen=True, kw_only=True):
    """A provider's bid on the resting order; seconds until the start."""

    provider: str
    price_per_second: Decimal
    start_within: int
    at: datetime


class Step(View, frozen=True, kw_only=True):
    """One phase of a job; `status` is waiting, active, done, failed or skipped."""

    name: str
    status: str
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Timings(View, frozen=True, kw_only=True):
    """When each stage was reached, in ms since the epoch."""

    submitted: int
    agreed: int | None = None
    started: int | None = None
    finished: int | None = None
    paid: int | None = None


class Job(View, frozen=True, kw_only=True):
    """A job; `status` is pending, queued, running, success, failed or cancelled.

    `kind` is image, build of the project `project_id`, or code in `language`. `cost` is what is owed, `paid` what is
    covered so far. `pulled` is the percentage of the image that the provider has, while it fetches it.
    """

    id: str
    kind: str
    project_id: str | None
    language: str | None
    status: str
    phase: str
    progress: int
    pulled: int | None
    image: str
    command: tuple[str, ...]
    provider: str | None
    lease: str | None
    attempt: int
    created_at: datetime
    queued_at: datetime
    expires_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    queue_time_ms: int | None
    execution_time_ms: int | None
    exit_code: int | None
    output_digest: str | None
    max_price: Decimal
    price_per_second: Decimal | None
    seconds: int
    cost: Decimal
    paid: Decimal
    currency: str
    error: Fault | None
    reasons: tuple[Reason, ...]
    bids: tuple[Bid, ...]
    steps: tuple[Step, ...]
    timings: Timings

    @property
    def has_ended(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.finished_at is not None

    @property
    def has_succeeded(self) -> bool:
        """Whether it ended well."""
        return self.status == "success"


class LogRecord(View, frozen=True, kw_only=True):
    """One line of output; `stream` is stdout, stderr, or node for what the node says about missing lines."""

    timestamp: datetime
    stream: str
    level: str
    message: str


class JobEvent(View, frozen=True, kw_only=True):
    """Something that happened to a job or to a lease of it."""

    seq: int
    noun: str
    subject: str
    at: datetime
    event: str
    body: Any


class ResultFile(View, frozen=True, kw_only=True):
    """An output file: size in bytes, SHA-256 in hex."""

    path: str
    size: int
    digest: str
    url: str


class Results(View, frozen=True, kw_only=True):
    """What a job left behind."""

    id: str
    status: str
    exit_code: int | None
    files: tuple[ResultFile, ...]


class StoredFile(View, frozen=True, kw_only=True):
    """An uploaded file; its `digest` names it in inputs of jobs."""

    digest: str
    size: int


class HeldFile(View, frozen=True, kw_only=True):
    """A file that the account has; it goes at `kept_until` if it is not used again."""

    digest: str
    size: int
    used_at: datetime
    kept_until: datetime


class RunOutput(View, frozen=True, kw_only=True):
    """What came of one input."""

    stdout: str
    stderr: str
    exit_code: int
    execution_time_ms: int
    error_type: str | None
    error_message: str


class Run(View, frozen=True, kw_only=True):
    """A run of code; `status` is queued, running, success or failed, `runs` has one entry for each input.

    `sandbox_error_type` is None, TLE, MLE, CompilationError, RuntimeError, SandboxError or InternalError.
    """

    job_id: str
    status: str
    language: str
    stdout: str
    stderr: str
    execution_time_ms: int
    queue_time_ms: int
    total_time_ms: int
    compile_time_ms: int
    exit_code: int | None
    sandbox_error_type: str | None
    sandbox_error_message: str
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    runs: tuple[RunOutput, ...]

    @property
    def has_ended(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.finished_at is not None

    @property
    def has_succeeded(self) -> bool:
        """Whether every input ended well."""
        return self.status == "success"


class SubmittedRun(View, frozen=True, kw_only=True):
    """The id of a run, and how it stands."""

    job_id: str
    status: str


class Language(View, frozen=True, kw_only=True):
    """A language, and how many providers run it."""

    name: str
    providers: int
