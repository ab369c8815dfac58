"""What the wallet does about each transaction, as a table."""

import pytest

from contracts.follow import Mined, Patience, Seen, Sent, State, Verdict, decide
from contracts.transactions import Fees
from contracts.values import Call
from market.units import Timestamp

PATIENCE = Patience(confirmations=2, milliseconds=1_000)
NOW = Timestamp(10_000)
FRESH, OLD = Timestamp(9_500), Timestamp(9_000)


def a_sent(state: State = State.SIGNED, sent_at: Timestamp | None = FRESH, nonce: int = 5, most: int = 100) -> Sent:
    return Sent(
        id=1, key="k", nonce=nonce, call=Call(to=None, data=b""), gas=1, fees=Fees(most, 1), raw=b"", hash="0x1",
        state=state, sent_at=sent_at,
    )  # fmt: skip


def a_receipt(block: int) -> Mined:
    return Mined(hash="0x1", block=block, block_hash="0x2", succeeded=True, gas=1, fee=1)


def a_view(next_nonce: int = 5, settled_nonce: int = 5, base_fee: int = 10) -> Seen:
    return Seen(head=100, next_nonce=next_nonce, settled_nonce=settled_nonce, base_fee=base_fee)


CASES = {
    "a deep receipt settles": (a_sent(), a_receipt(98), a_view(), Verdict.SETTLE),
    "a shallow receipt is recorded": (a_sent(), a_receipt(99), a_view(), Verdict.RECORD),
    "a receipt from the future of a lagging view is recorded": (a_sent(), a_receipt(101), a_view(), Verdict.RECORD),
    "what never went out goes out": (a_sent(sent_at=None), None, a_view(), Verdict.RESEND),
    "a vanished receipt is sent again": (a_sent(State.MINED), None, a_view(), Verdict.RESEND),
    "fresh ones are given time": (a_sent(), None, a_view(next_nonce=9, settled_nonce=9), Verdict.WAIT),
    "a used nonce that is not settled is given time": (
        a_sent(sent_at=OLD), None, a_view(next_nonce=6), Verdict.RESEND,
    ),
    "a settled nonce without a receipt is lost": (
        a_sent(sent_at=OLD), None, a_view(next_nonce=6, settled_nonce=6), Verdict.LOSE,
    ),
    "the next one in line is priced again": (a_sent(sent_at=OLD), None, a_view(), Verdict.REPRICE),
    "one behind a stuck one is only sent again": (
        a_sent(sent_at=OLD, nonce=6), None, a_view(), Verdict.RESEND,
    ),
    "one below the base fee is priced again": (
        a_sent(sent_at=OLD, nonce=6, most=9), None, a_view(), Verdict.REPRICE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_next_step(case: str) -> None:
    sent, receipt, seen, verdict = CASES[case]
    assert decide(sent, receipt, seen, PATIENCE, NOW) is verdict
