"""Vouchers: whatever happens, no more is promised than is deposited, and a promise never shrinks."""

import pytest
from eth_abi import encode
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from market.errors import BadSignature, NeugridError, VoucherTooHigh, VoucherTooLow
from market.signing import eip712_domain, keccak
from market.units import Amount
from market.vouchers import Channel, Voucher, accept_voucher, channel_id, sign_voucher
from tests.builders import CHANNELS, DOMAIN, PAYER, PROVIDER, REQUESTER, a_channel, a_signer, a_voucher, an_address

SIGNER = a_signer(2)

steps = st.lists(
    st.tuples(st.sampled_from(["sign", "deposit", "arm", "disarm"]), st.integers(-50, 300)), min_size=1, max_size=25
)


def signed(channel: Channel, amount: int) -> Channel:
    """The channel after one more voucher, or as it was where the rules refuse it."""
    try:
        return sign_voucher(channel, Amount(amount), SIGNER, DOMAIN)[0]
    except (VoucherTooHigh, VoucherTooLow):
        return channel


def after(channel: Channel, what: str, amount: int) -> Channel:
    if what == "sign":
        return signed(channel, amount)
    if what == "deposit":
        return replace(channel, deposited=Amount(channel.deposited + max(0, amount)))
    room = channel.deposited - channel.promised
    return replace(channel, exiting=Amount(min(max(0, amount), room) if what == "arm" else 0))


@given(steps)
def test_no_history_promises_more_than_the_deposit_less_exits_and_no_promise_falls(
    history: list[tuple[str, int]],
) -> None:
    channel = a_channel(deposited=Amount(0))
    for what, amount in history:
        before, channel = channel, after(channel, what, amount)
        assert channel.promised >= before.promised
        assert channel.promised <= channel.deposited - channel.exiting
        assert channel.available >= 0


@given(st.lists(st.integers(0, 300), min_size=1, max_size=15), st.randoms())
def test_the_payee_accepts_in_any_order_only_what_rises(amounts: list[int], random: "st.random.Random") -> None:
    payer, vouchers = a_channel(deposited=Amount(1000)), []
    for amount in amounts:
        if amount <= payer.available:
            payer, voucher = sign_voucher(payer, Amount(amount), SIGNER, DOMAIN)
            vouchers.append(voucher)
    random.shuffle(vouchers)
    payee, accepted = a_channel(deposited=Amount(1000)), [0]
    for voucher in vouchers:
        try:
            payee = accept_voucher(payee, voucher, DOMAIN)
            accepted.append(payee.promised)
        except VoucherTooLow:
            assert voucher.cumulative <= payee.promised
    assert accepted == sorted(set(accepted))
    assert payee.promised == payer.promised


def test_the_channel_remembers_the_largest_promise_and_its_signature() -> None:
    channel, voucher = sign_voucher(a_channel(), Amount(5), SIGNER, DOMAIN)
    assert (channel.promised, channel.signature) == (5, voucher.signature)
    assert accept_voucher(a_channel(), voucher, DOMAIN).signature == voucher.signature


def test_the_last_base_unit_can_be_promised_and_none_beyond() -> None:
    channel = a_channel(deposited=Amount(10), exiting=Amount(3), promised=Amount(2))
    assert sign_voucher(channel, Amount(5), SIGNER, DOMAIN)[0].promised == 7
    with pytest.raises(VoucherTooHigh):
        sign_voucher(channel, Amount(6), SIGNER, DOMAIN)


def test_a_negative_promise_is_refused() -> None:
    with pytest.raises(VoucherTooLow):
        sign_voucher(a_channel(promised=Amount(9)), Amount(-1), SIGNER, DOMAIN)


def test_an_armed_exit_counts_as_gone_for_the_payee_too() -> None:
    with pytest.raises(VoucherTooHigh):
        accept_voucher(a_channel(deposited=Amount(1_000_000), exiting=Amount(1)), a_voucher(), DOMAIN)


@pytest.mark.parametrize("promised", [1_000_000, 1_000_001])
def test_a_replayed_or_older_voucher_is_refused(promised: int) -> None:
    with pytest.raises(VoucherTooLow):
        accept_voucher(a_channel(promised=Amount(promised)), a_voucher(), DOMAIN)


def changed(**changes: object) -> Voucher:
    return replace(a_voucher(), **changes)


@pytest.mark.parametrize(
    ("voucher", "domain"),
    [
        (changed(cumulative=999_999), DOMAIN),
        (changed(cumulative=2_000_000), DOMAIN),
        (changed(signature=b""), DOMAIN),
        (changed(channel="00" * 32), DOMAIN),
        (a_voucher(), eip712_domain(1, CHANNELS)),
        (a_voucher(), eip712_domain(31_337, an_address(9))),
    ],
    ids=["less than signed", "more than signed", "no signature", "other channel", "other chain", "other contract"],
)
def test_a_voucher_that_was_not_signed_for_this_is_refused(voucher: Voucher, domain: bytes) -> None:
    with pytest.raises(BadSignature):
        accept_voucher(a_channel(), voucher, domain)


def test_a_voucher_of_another_signer_is_refused() -> None:
    stranger = sign_voucher(a_channel(), Amount(1), a_signer(9), DOMAIN)[1]
    with pytest.raises(BadSignature) as refused:
        accept_voucher(a_channel(), stranger, DOMAIN)
    assert refused.value.details == {"expected": REQUESTER, "got": an_address(9)}


@given(st.integers(0, 65 * 8 - 1))
def test_a_flipped_bit_in_the_signature_is_refused(bit: int) -> None:
    signature = bytearray(a_voucher().signature)
    signature[bit // 8] ^= 1 << bit % 8
    with pytest.raises(NeugridError):
        accept_voucher(a_channel(), changed(signature=bytes(signature)), DOMAIN)


def test_a_channel_is_named_by_payer_signer_and_payee_in_this_order() -> None:
    parties = (PAYER, REQUESTER, PROVIDER)
    names = {channel_id(a, b, c) for a in parties for b in parties for c in parties}
    assert len(names) == 27
    assert all(len(name) == 64 for name in names)


def test_a_channel_has_the_name_that_the_contract_computes() -> None:
    expected = keccak(encode(["address", "address", "address"], [PAYER, REQUESTER, PROVIDER])).hex()
    assert channel_id(PAYER, REQUESTER, PROVIDER) == expected
