"""One full value of every noun that is stored, and short ways to make several."""

from msgspec import Struct

from market.audit import Actor, Deed, Head, link
from market.dialogue import LogPlace
from market.job_events import Reason
from market.jobs import Job, JobState
from market.leases import Lease, LeaseState, Terms
from market.runs import Run
from market.series import Bucket
from market.services import Pod, Service, ServiceState
from market.units import Amount, Rate, Timestamp
from market.workloads import Source
from node.records import (
    Account,
    Answer,
    ApiKey,
    Balance,
    Delivery,
    DeviceLogin,
    Entry,
    Holding,
    Invoice,
    LogChunk,
    LogHead,
    Login,
    Mark,
    Nonce,
    Payout,
    Pending,
    Posted,
    Project,
    SeriesChunk,
    Session,
    Traffic,
    Webhook,
    Withdrawal,
)
from tests.builders import DIGEST, NOW, PAYER, PEER, PROVIDER, REQUESTER, a_channel, a_gpu_offer, a_workload, resources


def a_job(id: str = "job_000001", **changes: object) -> Job:
    """A job of account "acc_000001", made at NOW."""
    fields: dict[str, object] = {
        "id": id,
        "account": "acc_000001",
        "workload": a_workload(env={"GREETING": "héllo \u0000 \U0001f680"}),
        "nonce": "00ff",
        "cap": Amount(5_000_000),
        "expires_at": NOW + 600_000,
        "created_at": NOW,
        "reasons": (Reason(provider=PROVIDER, codes=("PRICE", "MEMORY"), rate=Rate(7)),),
    }
    return Job(**(fields | changes))  # type: ignore[arg-type]


def a_lease(id: str = "lse_000001", **changes: object) -> Lease:
    """The provider's finished copy of a lease."""
    terms = Terms(
        lease=id,
        order="ord_000001",
        attempt=1,
        requester=REQUESTER,
        requester_peer=PEER,
        payer=PAYER,
        signer=REQUESTER,
        provider=PROVIDER,
        provider_peer=PEER,
        payee=PROVIDER,
        rate=11 * 10**9,
        cap=5_000_000,
        resources=resources(),
        timeout=60,
        spec_digest=DIGEST,
        agreed_at=NOW,
    )
    fields: dict[str, object] = {
        "id": id,
        "side": "provider",
        "job": "job_000001",
        "terms": terms,
        "channel": a_channel().id,
        "state": LeaseState.FINISHED,
        "receipt_signature": bytes(range(65)),
        "workload": a_workload(),
        "created_at": NOW,
    }
    return Lease(**(fields | changes))  # type: ignore[arg-type]


def a_running_service(id: str = "dep_000001", **changes: object) -> Service:
    """A service of account "acc_000001" with a pod that works and one that waits."""
    pods = (
        Pod(id="pod_0000011", generation=2, job="job_000001x3", state="running", provider=PROVIDER, up_since=NOW),
        Pod(id="pod_0000012", generation=1, ends=3, not_before=NOW + 4_000, code="EXIT_CODE", message="héllo"),
    )
    fields: dict[str, object] = {
        "id": id,
        "account": "acc_000001",
        "name": "web",
        "workload": a_workload(),
        "cap": Amount(5_000_000),
        "state": ServiceState.RUNNING,
        "pods": pods,
        "deadline": NOW + 4_000,
        "created_at": NOW,
    }
    return Service(**(fields | changes))  # type: ignore[arg-type]


def an_entry(subject: str = "job_000001", **changes: object) -> Entry:
    """A line of the journal that has no number yet."""
    fields: dict[str, object] = {"noun": "Job", "subject": subject, "at": NOW, "event": "OrderRested", "body": b"{}"}
    return Entry(**(fields | changes))  # type: ignore[arg-type]


def an_api_key(id: str = "key_000001", digest: str = DIGEST) -> ApiKey:
    """A key of account "acc_000001"."""
    return ApiKey(id=id, account="acc_000001", name="laptop", digest=digest, created_at=NOW)


def a_pending(id: str = "job_000001:PlaceJob:1", **changes: object) -> Pending:
    """An effect that may be performed at once."""
    fields: dict[str, object] = {"id": id, "subject": "job_000001", "effect": "PlaceJob", "body": b"{}"}
    return Pending(**(fields | {"created_at": NOW} | changes))  # type: ignore[arg-type]


def a_mark(number: int = 1, value: str = "") -> Mark:
    """The mark "m<number>", with leading zeros, so that the marks sort by number."""
    return Mark(id=f"m{number:06}", value=value or str(number))


def a_chunk(first: int = 0) -> LogChunk:
    """Ten lines of a lease."""
    return LogChunk(id=f"lse_000001:{first}", lease="lse_000001", first=first, count=10, body=b'["\xff"]')


EVERY_NOUN: tuple[Struct, ...] = (
    a_job(state=JobState.FAILED, exit_code=3, deadline=NOW + 1, version=4),
    a_job("job_000001x3", service="dep_000001"),
    a_running_service(),
    a_lease(),
    a_channel(promised=Amount(2**63 - 1), signature=bytes(65)),
    a_gpu_offer(),
    Account(id="acc_000001", name="operator", role="admin", created_at=NOW),
    an_api_key(),
    Login(id="email:ann@example.org", account="acc_000001", password="$argon2id$v=19$", created_at=NOW),
    Session(id="ses_000001", account="acc_000001", digest=DIGEST, created_at=NOW, expires_at=Timestamp(NOW + 1)),
    Nonce(id="n0nce", created_at=NOW, expires_at=Timestamp(NOW + 1)),
    DeviceLogin(id=DIGEST, user_code="BCDF-GHJK", client="laptop", created_at=NOW, expires_at=Timestamp(NOW + 1)),
    Project(id="0b1e", account="acc_000001", name="web", source=Source(url="https://example.org/a"), created_at=NOW),
    Answer(id="acc_000001:jobs:k1", body_digest=DIGEST, status=201, body=b"\x00\xff", created_at=NOW),
    a_pending(attempts=2, not_before=Timestamp(NOW + 5)),
    a_chunk(),
    LogHead(id="lse_000001", kind="service", next=30, places=(LogPlace("stdout", NOW, 2),), oldest=NOW, newest=NOW),
    SeriesChunk(
        id=f"lse_000001:10000:{NOW}",
        lease="lse_000001",
        step=10_000,
        start=NOW,
        expires=Timestamp(NOW + 1),
        buckets=(Bucket(NOW, 1, 0, (500, 2**40, 1, 2, 0), (500, 2**40, 1, 2, 0)),),
    ),
    link(Head(), Deed(action="key.made", account="acc_000001", subject="key_1"), Actor(address="::1"), NOW),
    Webhook(id="whk_000001", account="acc_000001", url="https://example.org/", secret=b"\x00", created_at=NOW),
    Delivery(
        id="whk_000001:7",
        webhook="whk_000001",
        event="job.created",
        body=b"{}",
        answers=((NOW, 500, "no"),),
        created_at=NOW,
    ),
    Posted(
        id="job_000001:1/0",
        account="user:acc_000001",
        currency="money",
        amount=-5,
        kind="job",
        subject="job_000001",
        at=NOW,
    ),
    Balance(id="user:acc_000001/money", account="user:acc_000001", currency="money", amount=-(2**62)),
    Holding(id=f"acc_000001:{'ab' * 32}", account="acc_000001", digest="ab" * 32, size=2**40, used_at=NOW),
    Traffic(id="acc_000001/2026-11", account="acc_000001", period="2026-11", size=2**62),
    Invoice(
        id="inv_000001",
        account="acc_000001",
        period="2026-11",
        amount=Amount(7),
        seconds=1,
        storage=0,
        runs=0,
        credits=0,
        due_at=NOW,
        created_at=NOW,
    ),
    Payout(id="pay_000001", account="acc_000001", to=REQUESTER, amount=Amount(7), asked="/7", created_at=NOW),
    Withdrawal(id="wdr_000001", account="acc_000001", to=REQUESTER, amount=Amount(7), state="pending", created_at=NOW),
    a_mark(),
    Run(id="ab" * 12, account="acc_000001", language="cpp", code="int main(){}\u0000", created_at=NOW),
)
