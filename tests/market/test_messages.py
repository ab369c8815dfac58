"""Messages: what was signed arrives, and everything else is refused by the right name, cheap checks first."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.dialogue import OrderPosted
from market.errors import BadMessage, BadSignature, NeugridError, StaleMessage
from market.messages import (
    FUTURE_SKEW,
    MAX_GOSSIP,
    Kind,
    check_fresh,
    network_id,
    open_envelope,
    payload_of,
    read_header,
)
from market.orders import Order
from market.resources import Resources
from market.signing import keccak
from tests.builders import CHANNELS, NETWORK, NOW, a_message, a_signer, an_address, an_order

ORDERS = msgspec.json.Decoder(Order)
ENVELOPE = 60 + 65
"""Bytes around a payload: header and signature."""


class Bare(msgspec.Struct, frozen=True):
    """Any text as a payload."""

    text: str


def a_message_of(payload: bytes) -> bytes:
    """A rightly signed message around bytes that need not be JSON."""
    sealed = a_message(Bare(""))
    head = sealed[:56] + len(payload).to_bytes(4, "big") + payload
    return head + a_signer().sign(keccak(b"neugrid message v1\n" + head))


def test_what_was_sealed_is_opened() -> None:
    data = a_message(an_order(), kind=Kind.ORDER, seq=7, ttl=5000)
    envelope = open_envelope(data, NETWORK, NOW)
    assert (envelope.kind, envelope.sender, envelope.seq) == (Kind.ORDER, an_address(), 7)
    assert (envelope.issued_at, envelope.expires_at, envelope.raw) == (NOW, NOW + 5000, data)
    assert payload_of(envelope, ORDERS) == an_order()


@given(st.integers(1, 2**64), st.integers(0, 2**64 - 1), st.sampled_from(Kind), st.text(max_size=200))
def test_any_message_comes_back_as_it_was(key: int, seq: int, kind: Kind, text: str) -> None:
    data = a_message(Bare(text), signer=a_signer(key), seq=seq, kind=kind)
    envelope = open_envelope(data, NETWORK, NOW)
    assert (envelope.sender, envelope.seq, envelope.kind) == (an_address(key), seq, kind)
    assert payload_of(envelope, msgspec.json.Decoder(Bare)) == Bare(text)


def test_every_single_flipped_bit_is_refused() -> None:
    data = a_message(an_order())
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((BadMessage, StaleMessage, BadSignature)):
            open_envelope(bytes(changed), NETWORK, NOW)


def test_every_truncation_is_refused_before_the_signature() -> None:
    data = a_message(an_order())
    for size in range(len(data)):
        with pytest.raises(BadMessage):
            read_header(data[:size], NETWORK)


def test_bytes_behind_the_end_are_refused() -> None:
    with pytest.raises(BadMessage):
        read_header(a_message(an_order()) + b"\x00", NETWORK)


@given(st.binary(max_size=400))
def test_random_bytes_are_a_bad_message(data: bytes) -> None:
    with pytest.raises(BadMessage):
        open_envelope(data, NETWORK, NOW)


def test_a_message_of_the_largest_size_passes_and_one_byte_more_does_not() -> None:
    room = MAX_GOSSIP - ENVELOPE - len('{"text":""}')
    open_envelope(a_message(Bare("x" * room)), NETWORK, NOW)
    with pytest.raises(BadMessage, match="size"):
        open_envelope(a_message(Bare("x" * (room + 1))), NETWORK, NOW)


def test_direct_messages_may_be_larger() -> None:
    large = a_message(Bare("x" * MAX_GOSSIP))
    assert open_envelope(large, NETWORK, NOW, limit=2 * MAX_GOSSIP).raw == large


def test_a_message_of_another_network_is_refused() -> None:
    foreign = network_id(1, CHANNELS)
    with pytest.raises(BadMessage, match="network"):
        open_envelope(a_message(an_order(), network=foreign), NETWORK, NOW)


def test_an_unknown_kind_is_refused() -> None:
    data = bytearray(a_message(an_order()))
    data[11] = 255
    with pytest.raises(BadMessage, match="kind"):
        read_header(bytes(data), NETWORK)


@pytest.mark.parametrize(
    ("age", "is_fresh"), [(-FUTURE_SKEW - 1, False), (-FUTURE_SKEW, True), (999, True), (1000, False)]
)
def test_a_message_lives_from_a_little_skew_before_its_issue_until_it_expires(age: int, is_fresh: bool) -> None:
    header = read_header(a_message(an_order(), ttl=1000), NETWORK)
    if is_fresh:
        check_fresh(header, NOW + age)
    else:
        with pytest.raises(StaleMessage):
            check_fresh(header, NOW + age)


def test_a_stale_message_is_refused_before_its_signature_is_looked_at() -> None:
    unsigned = a_message(an_order())[:-65] + bytes(65)
    with pytest.raises(StaleMessage):
        open_envelope(unsigned, NETWORK, NOW + 10**9)


def test_nobody_can_speak_for_another() -> None:
    mine, theirs = a_message(an_order()), an_address(2)
    head = mine[:12] + bytes.fromhex(theirs[2:]) + mine[32:-65]
    forged = head + a_signer(1).sign(keccak(b"neugrid message v1\n" + head))
    with pytest.raises(BadSignature):
        open_envelope(forged, NETWORK, NOW)


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"null", b"[]", b'{"id":"\xff"}', b'{"id":"\\ud800"}', b'{"x":' + b"[" * 9000 + b"}",
     b'{"x":' + b"[" * 7000 + b"]" * 7000 + b"}", b"NaN", b'{"id":1}'],
    ids=lambda payload: repr(payload[:12]),
)  # fmt: skip
def test_a_payload_that_is_no_such_thing_is_a_bad_message(payload: bytes) -> None:
    envelope = open_envelope(a_message_of(payload), NETWORK, NOW)
    with pytest.raises(BadMessage):
        payload_of(envelope, ORDERS)


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_rate", b"-1"), ("max_rate", b"1152921504606846977"), ("max_rate", b"1e400"), ("max_rate", b"NaN"),
     ("max_rate", b"1.5"), ("duration", b"0"), ("duration", b"2592001"), ("duration", b"true"), ("peer", b'""x'),
     ("id", b'"ord_000001\\n"'), ("id", b'"../../etc"'), ("id", b'"o_1"'), ("requester", b'"0xABCDEF"'),
     ("spec_digest", b'"' + b"AB" * 32 + b'"'), ("peer", b'"' + b"x" * 129 + b'"'), ("issued_at", b"-1"),
     ("bid_window", b"600001"), ("resources", b'{"cpu":-1,"memory":0}'), ("resources", b'{"memory":0}')],
)  # fmt: skip
def test_an_order_out_of_bounds_is_a_bad_message(field: str, value: bytes) -> None:
    fields = msgspec.json.decode(msgspec.json.encode(an_order()), type=dict[str, msgspec.Raw])
    envelope = open_envelope(a_message_of(msgspec.json.encode(fields | {field: msgspec.Raw(value)})), NETWORK, NOW)
    with pytest.raises(BadMessage):
        payload_of(envelope, ORDERS)


def test_fields_of_a_later_version_are_passed_over() -> None:
    fields = msgspec.json.decode(msgspec.json.encode(an_order())) | {"since_v2": [1, {"x": None}]}
    envelope = open_envelope(a_message_of(msgspec.json.encode(fields)), NETWORK, NOW)
    assert payload_of(envelope, ORDERS) == an_order()


def test_what_gossip_carries_of_an_order_does_not_name_the_workload() -> None:
    data = a_message(OrderPosted(an_order()))
    assert b"image" not in data
    assert b"command" not in data


def test_the_network_is_named_by_chain_and_contract() -> None:
    names = {network_id(1, CHANNELS), network_id(2, CHANNELS), network_id(1, an_address(9))}
    assert {len(name) for name in names} == {8}
    assert len(names) == 3


def test_every_refusal_belongs_to_the_one_tree() -> None:
    with pytest.raises(NeugridError) as refused:
        open_envelope(b"", NETWORK, NOW)
    assert refused.value.code == "BAD_MESSAGE"


def test_negative_amounts_do_not_pass_a_payload() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"cpu":1,"memory":-1}', type=Resources)
