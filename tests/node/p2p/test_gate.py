"""What the gate lets through, ignores, and holds against a neighbour."""

import pytest

from market.messages import MAX_GOSSIP, Kind
from node.p2p.gate import Arrival, Gate, Verdict
from node.p2p.limits import Limits
from tests.builders import NETWORK, NOW, a_signer
from tests.node.p2p.said import a_message

V = Verdict


def said(seq: int = 1, **changes: object) -> bytes:
    return a_message(seq, **({"now": NOW} | changes))  # type: ignore[arg-type]


def judge(
    gate: Gate, data: bytes, *, now: int = NOW, clock: float = 0.0, signer: int = 1, signed: bool = True
) -> Verdict:
    return gate.judge(Arrival("neighbour", a_signer(signer).address, data, lambda: signed), now, clock)


@pytest.fixture
def gate() -> Gate:
    return Gate(NETWORK, Limits())


def test_a_good_message_passes_once(gate: Gate) -> None:
    assert [judge(gate, said()) for _ in range(2)] == [V.ACCEPT, V.IGNORE]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "nothing"),
        (b"\x00" * 500, "no magic"),
        (said()[:-1], "cut"),
        (said() + b"x", "longer than it says"),
        (said(network=b"another!"), "another network"),
        (said(kind=Kind.PROPOSE), "a kind for direct streams"),
        (said(text="x" * MAX_GOSSIP), "over 16 KiB"),
        (said()[:-10] + b"\x00" * 9 + said()[-1:], "a broken signature"),
        (said()[:80] + b"X" + said()[81:], "a changed payload"),
        (said(by=a_signer(2)), "said by another than the origin"),
    ],
)
def test_nonsense_and_forgeries_are_the_neighbours_fault(gate: Gate, data: bytes, why: str) -> None:
    assert judge(gate, data) is V.REJECT, why


@pytest.mark.parametrize("now", [NOW - 5_001, NOW + 60_000])
def test_late_and_early_messages_are_nobodys_fault(gate: Gate, now: int) -> None:
    assert judge(gate, said(), now=now) is V.IGNORE


def test_a_message_that_wants_to_live_for_ever_is_ignored(gate: Gate) -> None:
    assert judge(gate, said(ttl=2**40)) is V.IGNORE


def test_two_messages_with_one_seq_do_not_both_pass(gate: Gate) -> None:
    assert [judge(gate, said(5, text=text)) for text in ("one", "two")] == [V.ACCEPT, V.IGNORE]


def test_messages_may_overtake_each_other(gate: Gate) -> None:
    assert [judge(gate, said(seq)) for seq in (3, 1, 2)] == [V.ACCEPT] * 3


def test_a_forger_cannot_hide_the_true_message(gate: Gate) -> None:
    assert judge(gate, said(), signed=False) is V.REJECT
    assert judge(gate, said()) is V.ACCEPT


def test_a_neighbour_over_its_rate_is_a_flood() -> None:
    gate = Gate(NETWORK, Limits(peer_rate=1, peer_burst=2))
    assert [judge(gate, said(seq)) for seq in range(3)] == [V.ACCEPT, V.ACCEPT, V.FLOOD]


def test_a_sender_over_its_rate_is_ignored() -> None:
    gate = Gate(NETWORK, Limits(origin_rate=1, origin_burst=2))
    assert [judge(gate, said(seq)) for seq in range(3)] == [V.ACCEPT, V.ACCEPT, V.IGNORE]


def test_forgeries_do_not_use_up_the_rate_of_the_sender() -> None:
    gate = Gate(NETWORK, Limits(origin_rate=1, origin_burst=1))
    for seq in range(10):
        judge(gate, said(seq), signed=False)
    assert judge(gate, said(99)) is V.ACCEPT


def test_old_numbers_stay_seen_when_memory_is_trimmed() -> None:
    gate = Gate(NETWORK, Limits(peer_burst=10**6, origin_burst=10**6))
    messages = [said(seq) for seq in range(8_200)]
    assert {judge(gate, data) for data in messages} == {V.ACCEPT}
    assert {judge(gate, data) for data in messages} == {V.IGNORE}
