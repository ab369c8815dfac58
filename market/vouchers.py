"""Channels and vouchers: cumulative signed promises over an on-chain deposit.

One unidirectional channel per (payer, signer, payee); a larger voucher replaces a smaller one, and one voucher
settles every lease of the pair so far. The on-chain twin is `contracts/Channels.vy`.
"""

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from market.errors import BadSignature, VoucherTooHigh, VoucherTooLow
from market.signing import Signer, eip712_digest, keccak, recover
from market.units import Address, Amount

_VOUCHER_TYPE: Final = keccak(b"Voucher(bytes32 channel,uint256 cumulative)")


class Channel(Struct, frozen=True, kw_only=True):
    """What one side knows of a channel. Amounts in base units; `exiting` counts as gone from the moment it is armed."""

    id: str
    payer: Address
    signer: Address
    payee: Address
    deposited: Amount = Amount(0)
    exiting: Amount = Amount(0)
    promised: Amount = Amount(0)
    """The largest cumulative amount that was signed (payer) or accepted (payee)."""
    claimed: Amount = Amount(0)
    credited: Amount = Amount(0)
    """What the payee has spread over leases so far; never above `promised`."""
    signature: bytes = b""
    """The signature of the voucher over `promised`."""

    @property
    def available(self) -> Amount:
        """What can still be promised: deposit less armed exits less what is promised already."""
        return Amount(max(0, self.deposited - self.exiting - self.promised))


class Voucher(Struct, frozen=True, kw_only=True):
    """`cumulative` base units promised on `channel` (hex of bytes32); signature is 65 bytes r || s || v."""

    channel: str
    cumulative: Amount
    signature: bytes


def channel_id(payer: Address, signer: Address, payee: Address) -> str:
    """Hex of keccak(abi.encode(payer, signer, payee)), as the contract computes it."""
    words = b"".join(bytes(12) + bytes.fromhex(address[2:]) for address in (payer, signer, payee))
    return keccak(words).hex()


def voucher_digest(domain: bytes, channel: str, cumulative: int) -> bytes:
    """The EIP-712 digest that the signer signs; `domain` from `signing.eip712_domain`."""
    return eip712_digest(domain, keccak(_VOUCHER_TYPE + bytes.fromhex(channel) + cumulative.to_bytes(32, "big")))


def sign_voucher(channel: Channel, amount: Amount, signer: Signer, domain: bytes) -> tuple[Channel, Voucher]:
    """The voucher that promises `amount` more, and the channel that remembers it; persist the channel first.

    Raises VoucherTooHigh when the deposit less armed exits does not cover it, VoucherTooLow below nothing.
    """
    if amount < 0:
        raise VoucherTooLow("a voucher takes nothing back", expected=0, got=amount)
    cumulative = Amount(channel.promised + amount)
    if amount > channel.available:
        raise VoucherTooHigh("the deposit does not cover the voucher", expected=channel.available, got=amount)
    signature = signer.sign(voucher_digest(domain, channel.id, cumulative))
    voucher = Voucher(channel=channel.id, cumulative=cumulative, signature=signature)
    return replace(channel, promised=cumulative, signature=signature), voucher


def accept_voucher(channel: Channel, voucher: Voucher, domain: bytes) -> Channel:
    """The channel after a voucher from the payer; an older or equal one is refused as VoucherTooLow.

    Raises VoucherTooHigh above the funded deposit, BadSignature when the channel's signer did not sign it.
    """
    if voucher.channel != channel.id:
        raise BadSignature("the voucher is for another channel", expected=channel.id, got=voucher.channel)
    if voucher.cumulative <= channel.promised:
        raise VoucherTooLow("not above the last voucher", expected=channel.promised, got=voucher.cumulative)
    if voucher.cumulative > channel.deposited - channel.exiting:
        raise VoucherTooHigh("above the deposit", expected=channel.deposited - channel.exiting, got=voucher.cumulative)
    signer = recover(voucher_digest(domain, channel.id, voucher.cumulative), voucher.signature)
    if signer != channel.signer:
        raise BadSignature("signed by another key", expected=channel.signer, got=signer)
    return replace(channel, promised=voucher.cumulative, signature=voucher.signature)
