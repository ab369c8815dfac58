"""What to do about a transaction that was sent: a pure decision from the journal's row and the chain as seen."""

from enum import StrEnum

from msgspec import Struct

from contracts.transactions import Fees
from contracts.values import Call
from market.units import Timestamp


class State(StrEnum):
    """SIGNED until a block holds it, MINED until that block is deep enough, then FINAL.

    LOST when another transaction of the same account took its nonce. A reorg leads back from MINED and FINAL.
    """

    SIGNED = "signed"
    MINED = "mined"
    FINAL = "final"
    LOST = "lost"


class Sent(Struct, frozen=True, kw_only=True):
    """A row of the journal; `raw` and `hash` are those of the newest version, `sent_at` of its last broadcast."""

    id: int
    key: str
    nonce: int
    call: Call
    gas: int
    fees: Fees
    raw: bytes
    hash: str
    state: State = State.SIGNED
    sent_at: Timestamp | None = None


class Mined(Struct, frozen=True, kw_only=True):
    """What a receipt says: `gas` used, `fee` in wei."""

    hash: str
    block: int
    block_hash: str
    succeeded: bool
    gas: int
    fee: int


class Seen(Struct, frozen=True, kw_only=True):
    """The chain at one moment: the account's next nonce at the head and at the confirmed depth, and the base fee."""

    head: int
    next_nonce: int
    settled_nonce: int
    base_fee: int


class Patience(Struct, frozen=True):
    """`confirmations` are blocks on top of the one that holds it; after `milliseconds` unmined it is re-priced."""

    confirmations: int = 0
    milliseconds: int = 30_000


PATIENCE = Patience()


class Verdict(StrEnum):
    """What to do next."""

    WAIT = "wait"
    RECORD = "record"
    SETTLE = "settle"
    RESEND = "resend"
    REPRICE = "reprice"
    LOSE = "lose"


def decide(sent: Sent, receipt: Mined | None, seen: Seen, patience: Patience, now: Timestamp) -> Verdict:
    """The next step for one transaction.

    `seen` must be older than `receipt`, or a block that comes between the two would look like a loss.
    A receipt that vanished (a reorg) leads to RESEND, a nonce that is settled without a receipt of ours to LOSE.
    """
    if receipt is not None:
        return Verdict.SETTLE if seen.head - receipt.block >= patience.confirmations else Verdict.RECORD
    if sent.state is not State.SIGNED or sent.sent_at is None:
        return Verdict.RESEND
    if now - sent.sent_at < patience.milliseconds:
        return Verdict.WAIT
    if seen.settled_nonce > sent.nonce:
        return Verdict.LOSE
    is_next, is_cheap = sent.nonce == seen.next_nonce, sent.fees.most < seen.base_fee
    return Verdict.REPRICE if is_next or is_cheap else Verdict.RESEND
