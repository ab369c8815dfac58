"""Ready values for tests: every builder has full defaults; override what matters to the test."""

from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from market.bids import Bid
from market.jobs import Job
from market.leases import Lease, LeaseState, Terms
from market.messages import Kind, network_id, seal
from market.offers import Gpu, Hardware, Offer
from market.orders import Constraints, Order
from market.receipts import Receipt
from market.resources import Prices, Resources
from market.services import Service
from market.signing import Signer, eip712_domain
from market.units import GIB, Address, Amount, Bytes, MilliCpu, Seconds, Timestamp
from market.vouchers import Channel, Voucher, channel_id, sign_voucher
from market.workloads import File, Workload, WorkloadKind, spec_digest

S = TypeVar("S", bound=Struct)

NOW = Timestamp(1_750_000_000_000)
CHAIN_ID = 31_337
CHANNELS = Address("0x" + "c4" * 20)
NETWORK = network_id(CHAIN_ID, CHANNELS)
DOMAIN = eip712_domain(CHAIN_ID, CHANNELS)
DIGEST = "ab" * 32


def a_signer(number: int = 1) -> Signer:
    """The key number `number`; the same number gives the same key."""
    return Signer(number.to_bytes(32, "big"))


def an_address(number: int = 1) -> Address:
    """The address of `a_signer(number)`."""
    return a_signer(number).address


PROVIDER = an_address(1)
REQUESTER = an_address(2)
PAYER = an_address(3)
PEER = "16Uiu2HAmJSJYLvvUHuUfZFmPvYfCKwyLiuLkYGmUwYgSVHJQkv3N"


def resources(**changes: object) -> Resources:
    """One core, 1 GiB of memory, no disk, no GPU."""
    return _changed(Resources(cpu=MilliCpu(1000), memory=Bytes(GIB)), changes)


def prices(**changes: object) -> Prices:
    """Ten base units a second per core, one per GiB of memory, a tenth per GiB of disk, 500 per GPU."""
    return _changed(Prices(cpu=10 * 10**9, memory=10**9, disk=10**8, gpu=500 * 10**9), changes)


def a_gpu(**changes: object) -> Gpu:
    """An A100 with 80 GiB."""
    gpu = Gpu(model="nvidia-a100", uuid="GPU-1", vram=80 * GIB, driver="550.54", cuda="12.4")
    return _changed(gpu, changes)


def an_offer(**changes: object) -> Offer:
    """Eight free cores and 32 GiB in region "local", valid for 15 minutes from NOW; give `signer=` to change who."""
    signer = changes.pop("signer", None)
    machine = resources(cpu=8000, memory=32 * GIB, disk=100 * GIB)
    offer = Offer(
        id="off_000001",
        provider=signer.address if isinstance(signer, Signer) else PROVIDER,
        payee=PROVIDER,
        peer=PEER,
        seq=1,
        total=machine,
        free=machine,
        prices=prices(),
        hardware=Hardware(cpu_model="Example 9000", benchmark=1_000_000),
        issued_at=NOW,
        expires_at=NOW + 15 * 60_000,
    )
    return _changed(offer, changes)


def a_gpu_offer(**changes: object) -> Offer:
    """An offer with four A100."""
    machine = resources(cpu=32_000, memory=256 * GIB, disk=500 * GIB, gpus=4, gpu_model="nvidia-a100", vram=80 * GIB)
    hardware = Hardware(cpu_model="Example 9000", benchmark=1_000_000, gpus=(a_gpu(),) * 4)
    return an_offer(**{"total": machine, "free": machine, "hardware": hardware, **changes})


def constraints(**changes: object) -> Constraints:
    """No constraint at all."""
    return _changed(Constraints(), changes)


def an_order(**changes: object) -> Order:
    """One core and 1 GiB for an hour, at most 20 base units a second; the default offer fits it."""
    order = Order(
        id="ord_000001",
        requester=REQUESTER,
        peer=PEER,
        resources=resources(),
        max_rate=20 * 10**9,
        duration=3600,
        spec_digest=DIGEST,
        issued_at=NOW,
        expires_at=NOW + 10 * 60_000,
    )
    return _changed(order, changes)


def a_bid(**changes: object) -> Bid:
    """A bid of 11 base units a second on `an_order()`."""
    bid = Bid(
        order="ord_000001",
        provider=PROVIDER,
        payee=PROVIDER,
        peer=PEER,
        rate=11 * 10**9,
        start_within=10,
        expires_at=NOW + 30_000,
    )
    return _changed(bid, changes)


def a_channel(**changes: object) -> Channel:
    """A funded, unused channel of 100 tokens from PAYER, signed by REQUESTER's key, to PROVIDER."""
    channel = Channel(
        id=channel_id(PAYER, REQUESTER, PROVIDER),
        payer=PAYER,
        signer=REQUESTER,
        payee=PROVIDER,
        deposited=Amount(100_000_000),
    )
    return _changed(channel, changes)


def a_voucher(amount: int = 1_000_000, channel: Channel | None = None) -> Voucher:
    """A voucher, rightly signed, that promises `amount` more on `channel` (default: `a_channel()`)."""
    return sign_voucher(channel or a_channel(), Amount(amount), a_signer(2), DOMAIN)[1]


def a_file(**changes: object) -> File:
    """A file of 100 bytes."""
    return _changed(File(path="input.txt", digest=DIGEST, size=100), changes)


def a_workload(**changes: object) -> Workload:
    """`echo hello` in busybox with one core and 1 GiB for at most a minute."""
    workload = Workload(
        image="busybox:latest",
        command=("echo", "hello"),
        resources=resources(),
        timeout=Seconds(60),
    )
    return _changed(workload, changes)


def a_job(**changes: object) -> Job:
    """A posted job of `a_workload()` that may cost 1,000 base units and wait for a minute."""
    job = Job(
        id="job_000001",
        account="user_1",
        workload=a_workload(),
        nonce="nonce",
        cap=Amount(1000),
        expires_at=NOW + 60_000,
        deadline=NOW + 60_000,
        patience=60_000,
        created_at=NOW,
    )
    return _changed(job, changes)


def a_service(**changes: object) -> Service:
    """A service of one pod that may cost 1,000 base units a minute, before it is posted."""
    service = Service(
        id="dep_000001",
        account="user_1",
        name="web",
        workload=a_workload(kind=WorkloadKind.SERVICE, command=("serve",)),
        cap=Amount(1000),
        term=60,
        created_at=NOW,
    )
    return _changed(service, changes)


def terms(**changes: object) -> Terms:
    """`a_workload()` for ten base units a second, at most a minute and 600 base units."""
    agreed = Terms(
        lease="lse_000001",
        order="ord_000001",
        attempt=1,
        requester=REQUESTER,
        requester_peer="peer-requester",
        payer=PAYER,
        signer=REQUESTER,
        provider=PROVIDER,
        provider_peer="peer-provider",
        payee=PROVIDER,
        rate=10 * 10**9,
        cap=600,
        resources=resources(),
        timeout=60,
        spec_digest=spec_digest(a_workload(), "nonce"),
        agreed_at=NOW,
    )
    return _changed(agreed, changes)


def a_lease(side: str = "provider", **changes: object) -> Lease:
    """One side's copy of a lease under `terms()` on `a_channel()`: offered, or as `state` says."""
    state = changes.get("state", LeaseState.OFFERED)
    is_committed = side == "requester" or state is not LeaseState.OFFERED
    lease = Lease(
        id="lse_000001",
        side=side,
        job="job_000001" if side == "requester" else "",
        terms=terms(),
        channel=channel_id(PAYER, REQUESTER, PROVIDER),
        workload=a_workload() if is_committed else None,
        nonce="nonce" if is_committed else "",
        deadline=NOW + 10_000,
        until=NOW + 30_000,
        started_at=NOW if state is LeaseState.RUNNING else 0,
        created_at=NOW,
        acknowledged_at=NOW,
    )
    return _changed(lease, changes)


def a_receipt(**changes: object) -> Receipt:
    """Five seconds of `terms()`, ended with exit code 0."""
    receipt = Receipt(lease="lse_000001", exit_code=0, started_at=NOW, ended_at=NOW + 5000, seconds=5, due=50)
    return _changed(receipt, changes)


def a_message(payload: Struct, **changes: object) -> bytes:
    """A sealed message; `signer`, `network`, `kind`, `seq`, `now` and `ttl` (ms) can be overridden."""
    wanted: dict[str, object] = {
        "signer": a_signer(),
        "network": NETWORK,
        "kind": Kind.ORDER,
        "seq": 1,
        "now": NOW,
        "ttl": 60_000,
    }
    wanted |= changes
    return seal(payload=payload, **wanted)  # type: ignore[arg-type]


def _changed(value: S, changes: dict[str, object]) -> S:
    return replace(value, **changes)
