"""What peers say to each other: the payloads of every kind of message, each bounded.

Gossip: Offers, OrderPosted, Withdrawn. Direct, with the answer that it gets: Propose -> Accepted, Commit -> Done,
Release -> Done, Renew -> Renewals, Cancel -> Done, Bid -> Done, Statement -> Covered, Finish -> Countersigned,
Pay -> Done, Extend -> Done, RunCode -> CodeDone, Logs -> LogsKept, Samples -> Done, GetFile -> bare bytes,
BookDigest -> BookDelta, RefundAsked -> Refunded.
Any of them may be answered with a Refusal.
"""

from typing import Annotated

from msgspec import Meta, Struct

from market.bids import Bid
from market.leases import Terms
from market.offers import Id, Millis, Offer, ShortText
from market.orders import Order
from market.receipts import Receipt
from market.series import Reading
from market.workloads import DirectPort, Sha256, Workload

Amounts = Annotated[int, Meta(ge=0, le=2**62)]
Base64 = Annotated[str, Meta(max_length=24_000)]
MAX_CHUNK = 1024 * 1024
MAX_CODE = 512 * 1024
MAX_INPUT = 512 * 1024
MAX_OUTPUT = 256 * 1024
"""Characters of code, of one input, and of one stream of output."""
MOST_SAMPLES = 64
"""Readings in one message."""
MOST_LINES = 4096
"""Lines of output in one message."""
Mark = tuple[Annotated[int, Meta(ge=0, le=1023)], Annotated[int, Meta(ge=0)]]


class Offers(Struct, frozen=True):
    """Several offers of one provider, one signature."""

    offers: Annotated[tuple[Offer, ...], Meta(max_length=64)]


class OrderPosted(Struct, frozen=True):
    """A blinded order that rests until it expires."""

    order: Order


class Withdrawn(Struct, frozen=True):
    """The sender's own offers and orders that are no longer valid."""

    ids: Annotated[tuple[Id, ...], Meta(max_length=512)]


class Propose(Struct, frozen=True):
    """Will you take this lease at these terms? Binding for the requester only once committed."""

    terms: Terms


class Accepted(Struct, frozen=True):
    """Yes: capacity is held for 10 s. The envelope's signature over these terms is the provider's."""

    terms: Terms


class Commit(Struct, frozen=True):
    """The lease stands; here is the workload behind the digest, and the consent of the key that signs vouchers.

    `consent` is its signature over the digest of the terms, in hex: without it the channel is somebody else's.
    """

    lease: Id
    workload: Workload
    nonce: ShortText
    consent: Annotated[str, Meta(pattern="^[0-9a-f]{130}$")]


class Release(Struct, frozen=True):
    """Another provider was quicker."""

    lease: Id


class Renewal(Struct, frozen=True):
    """One lease and until when it is extended."""

    lease: Id
    until: Millis


class Renew(Struct, frozen=True):
    """All leases with one provider, extended together."""

    leases: Annotated[tuple[Renewal, ...], Meta(max_length=1024)]


class Phase(Struct, frozen=True):
    """Where a lease stands at the provider; state "unknown" when it never heard of it.

    `health` is what the provider's probe says of a service: "", "starting", "healthy" or "unhealthy"; `direct` where
    its direct ports are reached, `pulled` how much of its image is there while that is fetched, in percent.
    """

    lease: Id
    state: ShortText
    started_at: Millis = 0
    health: Annotated[str, Meta(max_length=16)] = ""
    direct: Annotated[tuple[DirectPort, ...], Meta(max_length=16)] = ()
    pulled: Annotated[int, Meta(ge=0, le=100)] = 0


class Renewals(Struct, frozen=True):
    phases: Annotated[tuple[Phase, ...], Meta(max_length=1024)]


class Cancel(Struct, frozen=True):
    """End it now."""

    lease: Id


class BidMade(Struct, frozen=True):
    """A sealed bid: the stream is encrypted to the requester alone."""

    bid: Bid


class Statement(Struct, frozen=True):
    """The provider's view: the phase, and the use so far in seconds and in runs of code."""

    phase: Phase
    seconds: Annotated[int, Meta(ge=0, le=2**40)] = 0
    due: Amounts = 0
    runs: Annotated[int, Meta(ge=0, le=2**40)] = 0


class Signed(Struct, frozen=True):
    """A voucher on the wire; signature in hex. `paid` is this lease's share of `cumulative`."""

    channel: Sha256
    cumulative: Amounts
    signature: Annotated[str, Meta(pattern="^([0-9a-f]{130})?$")]
    lease: Id
    paid: Amounts


class Covered(Struct, frozen=True):
    """The answer to a statement; without a voucher when nothing is due yet. `runs` is the requester's own count."""

    voucher: Signed | None = None
    runs: Annotated[int, Meta(ge=0, le=2**40)] = 0


class Extend(Struct, frozen=True):
    """Let the lease last longer: the same terms with more time and a larger cap, and the consent to them."""

    terms: Terms
    consent: Annotated[str, Meta(pattern="^[0-9a-f]{130}$")]


class RunCode(Struct, frozen=True):
    """Run code under a runner's lease: once for each input. `id` names the run, so that asking again is harmless."""

    lease: Id
    id: ShortText
    language: Annotated[str, Meta(max_length=32)]
    code: Annotated[str, Meta(max_length=MAX_CODE)]
    inputs: Annotated[tuple[Annotated[str, Meta(max_length=MAX_INPUT)], ...], Meta(min_length=1, max_length=64)] = ("",)


class RunEnd(Struct, frozen=True):
    """How one run ended; `error` is one of the runner's error types or ""."""

    stdout: Annotated[str, Meta(max_length=MAX_OUTPUT)] = ""
    stderr: Annotated[str, Meta(max_length=MAX_OUTPUT)] = ""
    exit_code: Annotated[int, Meta(ge=-1, le=255)] = 0
    milliseconds: Annotated[int, Meta(ge=0, le=2**32)] = 0
    error: Annotated[str, Meta(max_length=32)] = ""
    message: Annotated[str, Meta(max_length=1024)] = ""


class CodeDone(Struct, frozen=True):
    """What came of the code; times in ms."""

    runs: Annotated[tuple[RunEnd, ...], Meta(max_length=64)]
    waited: Annotated[int, Meta(ge=0, le=2**32)] = 0
    compiling: Annotated[int, Meta(ge=0, le=2**32)] = 0


class Finish(Struct, frozen=True):
    """How it ended; signature over the receipt's digest, in hex."""

    receipt: Receipt
    signature: Annotated[str, Meta(pattern="^[0-9a-f]{130}$")]


class Countersigned(Struct, frozen=True):
    """The requester holds the receipt; its own signature over the same digest, in hex."""

    signature: Annotated[str, Meta(pattern="^[0-9a-f]{130}$")]


class Pay(Struct, frozen=True):
    """The last voucher of a lease."""

    voucher: Signed


class Line(Struct, frozen=True, array_like=True):
    """One line of output; the stream "node" is not the program's: there a node says that lines are missing."""

    at: Millis
    stream: Annotated[str, Meta(max_length=8)]
    text: Annotated[str, Meta(max_length=65_536)]


class Logs(Struct, frozen=True):
    """Lines from number `first` on; an empty message asks where to go on."""

    lease: Id
    first: Annotated[int, Meta(ge=0, le=2**40)]
    lines: Annotated[tuple[Line, ...], Meta(max_length=MOST_LINES)] = ()


class LogPlace(Struct, frozen=True, array_like=True):
    """How far one stream was read: up to and with the `count`-th line that has the time `at`.

    Times of one stream never go back, but lines of two streams may overtake each other within a millisecond.
    """

    stream: Annotated[str, Meta(max_length=8)]
    at: Millis
    count: Annotated[int, Meta(ge=1, le=2**40)]


class LogsKept(Struct, frozen=True):
    """The number of the next line that is wanted, the head of the chain over all before it, and where they end."""

    next: Annotated[int, Meta(ge=0, le=2**40)]
    head: Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")] = ""
    places: Annotated[tuple[LogPlace, ...], Meta(max_length=4)] = ()


class Samples(Struct, frozen=True):
    """What a lease's container used, in order of time."""

    lease: Id
    samples: Annotated[tuple[Reading, ...], Meta(min_length=1, max_length=MOST_SAMPLES)]


class GetFile(Struct, frozen=True):
    """A range of a file of this lease; the answer is bare bytes, and the digest of the whole proves them."""

    lease: Id
    digest: Sha256
    offset: Annotated[int, Meta(ge=0, le=2**40)]
    length: Annotated[int, Meta(ge=1, le=MAX_CHUNK)] = MAX_CHUNK


class BookDigest(Struct, frozen=True):
    """What the sender's book holds, as (bucket, mark); no marks at all ask for the whole book."""

    marks: Annotated[tuple[Mark, ...], Meta(max_length=1024)] = ()
    page: Annotated[int, Meta(ge=0, le=10_000)] = 0


class BookDelta(Struct, frozen=True):
    """The signed messages behind the offers and orders that differ, base64; `more` when another page follows."""

    messages: Annotated[tuple[Base64, ...], Meta(max_length=4096)]
    more: bool = False


class RefundAsked(Struct, frozen=True):
    """Please give back what is left on our channel; its id in hex."""

    channel: Sha256


class Refunded(Struct, frozen=True):
    """What was released, and the transaction that did it."""

    amount: Amounts
    transaction: ShortText = ""


class Done(Struct, frozen=True):
    """Yes."""


class Refusal(Struct, frozen=True):
    """No, with machine-readable codes and one sentence."""

    codes: Annotated[tuple[ShortText, ...], Meta(max_length=32)]
    message: Annotated[str, Meta(max_length=512)] = ""
