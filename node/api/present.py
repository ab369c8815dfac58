"""From the market's values to the API's views: jobs and their phases, log lines, files."""

import re
from collections.abc import Sequence
from typing import Final

from market.builds import BuildStep
from market.job_events import Reason
from market.jobs import DONE, BidSeen, Job, JobState, progress_of
from market.leases import Lease, LeaseState
from market.receipts import output_digest
from market.units import RATE_SCALE, TOKEN_DECIMALS, Amount, format_amount, instant
from node.api.views import BidView, Fault, JobView, LogRecord, ReasonView, ResultFile, ResultList, StepView, Timings
from node.ports import LogLine, OutputFile

S = JobState
STATUS: Final[dict[JobState, str]] = {
    S.PENDING: "pending",
    S.RESTING: "pending",
    S.PLACED: "queued",
    S.RUNNING: "running",
    S.SUCCEEDED: "success",
    S.FAILED: "failed",
    S.CANCELLED: "cancelled",
}
LEVELS: Final = ("debug", "info", "warn", "error")
STREAM_LEVELS: Final = {"stderr": "error", "node": "warn"}
iso: Final = instant
_LEVEL: Final = re.compile(r"\b(DEBUG|INFO|WARN|ERROR|CRITICAL|FATAL)(?:ING)?\b", re.IGNORECASE)
_RATE_DIGITS: Final = TOKEN_DECIMALS + len(str(RATE_SCALE)) - 1
_RATE_UNIT: Final = int(10**_RATE_DIGITS)


def job_view(job: Job, lease: Lease | None, now: int, currency: str, built: Sequence[BuildStep] = ()) -> JobView:
    """The job as its owner sees it at `now`; `lease` is that of the present attempt, `built` a build's steps."""
    paid_at = lease.paid_at if lease and lease.state is LeaseState.SETTLED else 0
    return JobView(
        id=job.id,
        kind="build" if job.build else "image",
        project_id=job.build.project if job.build else None,
        status=STATUS[job.state],
        phase=job.state.value,
        progress=progress_of(job, now, lease.pulled if lease else 0),
        pulled=lease.pulled if lease and lease.state is LeaseState.PULLING else None,
        image=job.workload.image,
        command=job.workload.command,
        provider=provider_id(job.provider) if job.provider else None,
        lease=job.lease or None,
        attempt=job.attempt,
        created_at=iso(job.created_at),
        queued_at=iso(job.created_at),
        expires_at=iso(job.expires_at),
        started_at=iso_or_none(job.started_at),
        finished_at=iso_or_none(job.finished_at),
        queue_time_ms=job.started_at - job.created_at if job.started_at else None,
        execution_time_ms=job.finished_at - job.started_at if job.started_at and job.finished_at else None,
        exit_code=job.exit_code,
        output_digest=output_digest(lease.receipt) if lease and lease.receipt else None,
        max_price=format_amount(job.cap),
        price_per_second=format_rate(job.rate) if job.lease else None,
        seconds=job.seconds,
        cost=format_amount(job.cost),
        paid=format_amount(paid_so_far(job, lease)),
        currency=currency,
        error=Fault(code=job.code, message=job.message) if job.code else None,
        reasons=tuple(_reason(reason) for reason in job.reasons),
        bids=tuple(_bid(bid) for bid in job.bids),
        steps=_steps(job, paid_at, built),
        timings=_timings(job, paid_at),
    )


def paid_so_far(job: Job, lease: Lease | None) -> Amount:
    """What vouchers cover: earlier attempts, and the present lease as far as it is paid."""
    return Amount(job.spent + (lease.paid if lease else 0))


def etag(job: Job, view: JobView) -> str:
    """A weak tag that changes with every event, and with what moves between events: progress, payment, steps."""
    ended = sum(step.finished_at is not None for step in view.steps)
    return f'W/"{job.version}-{view.progress}-{view.paid}-{view.timings.paid or 0}-{len(view.steps)}-{ended}"'


def log_record(line: LogLine) -> LogRecord:
    """A line of output with its level."""
    return LogRecord(timestamp=iso(line.at), stream=line.stream, level=level_of(line), message=line.text)


def level_of(line: LogLine) -> str:
    """The level that the line names in its first 64 characters, else that of its stream."""
    found = _LEVEL.search(line.text[:64])
    if found is None:
        return STREAM_LEVELS.get(line.stream, "info")
    name = found[1].lower()
    return name if name in LEVELS else "error"


def result_list(job: Job, files: Sequence[OutputFile]) -> ResultList:
    """What the job left behind, with an address for each file."""
    listed = tuple(
        ResultFile(path=file.path, size=file.size, digest=file.digest, url=f"/v1/jobs/{job.id}/results/{file.path}")
        for file in files
    )
    return ResultList(id=job.id, status=STATUS[job.state], exit_code=job.exit_code, files=listed)


def provider_id(address: str) -> str:
    """The id of a provider: `prov_` and the hex digits of its address."""
    return f"prov_{address.removeprefix('0x')}"


def node_id(address: str) -> str:
    """The same for who calls providers nodes: `node_` and the digits."""
    return f"node_{address.removeprefix('0x')}"


def format_rate(rate: int) -> str:
    """Tokens per second as a decimal string; exact to the last digit (1e-15 tokens)."""
    digits = f"{rate:0{_RATE_DIGITS + 1}d}"
    fraction = digits[-_RATE_DIGITS:].rstrip("0")
    return f"{digits[:-_RATE_DIGITS]}.{fraction or '0'}"


def per_hour(rate: int) -> float:
    """Tokens per hour as a JSON number of seven digits: a rate is a price per hour rounded to a second's."""
    return float(f"{rate * 3600 / _RATE_UNIT:.7g}")


def iso_or_none(ms: int) -> str | None:
    """The time, or None where there is none yet."""
    return instant(ms) if ms else None


def _reason(reason: Reason) -> ReasonView:
    return ReasonView(
        provider=provider_id(reason.provider), codes=reason.codes, price_per_second=format_rate(reason.rate)
    )


def _bid(bid: BidSeen) -> BidView:
    return BidView(
        provider=provider_id(bid.provider),
        price_per_second=format_rate(bid.rate),
        start_within=bid.start_within,
        at=iso(bid.at),
    )


def _timings(job: Job, paid_at: int) -> Timings:
    return Timings(
        submitted=job.created_at,
        agreed=job.agreed_at or None,
        started=job.started_at or None,
        finished=job.finished_at or None,
        paid=paid_at or None,
    )


def _steps(job: Job, paid_at: int, built: Sequence[BuildStep]) -> tuple[StepView, ...]:
    """Four phases between five moments; the steps of a build stand for the phase in which it runs."""
    moments = (job.created_at, job.agreed_at, job.started_at, job.finished_at, paid_at)
    names = ("place", "prepare", "run", "pay")
    phases = [
        StepView(
            name=name,
            status=_phase(job, name, begin, end),
            started_at=iso_or_none(begin),
            finished_at=iso_or_none(end) if begin else None,
        )
        for name, begin, end in zip(names, moments, moments[1:], strict=False)
    ]
    return (*phases[:2], *(_build_step(job, step) for step in built), *phases[3:]) if built else tuple(phases)


def _build_step(job: Job, step: BuildStep) -> StepView:
    """A step that the end of the job cut short failed."""
    is_cut = step.status == "active" and job.state in DONE
    return StepView(
        name=step.name,
        status="failed" if is_cut else step.status,
        started_at=iso(step.started_at),
        finished_at=iso_or_none(step.finished_at or (job.finished_at if is_cut else 0)),
    )


def _phase(job: Job, name: str, begin: int, end: int) -> str:
    """How a phase stands; one that the end of the job cut short failed, one that never began is skipped."""
    is_over = job.state in DONE
    if name == "pay" and is_over and job.cost == 0:
        return "skipped"
    if not begin:
        return "skipped" if is_over else "waiting"
    if end:
        return "failed" if name == "run" and job.state is S.FAILED else "done"
    return "failed" if is_over and name != "pay" else "active"
