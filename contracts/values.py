"""What the chain tells and what it is told, as values."""

from msgspec import Struct

from market.units import Address, Amount, Timestamp


class Balances(Struct, frozen=True):
    """A wallet: token in base units, native currency in wei."""

    token: Amount
    native: int


class ChannelOnChain(Struct, frozen=True, kw_only=True):
    """A channel as the contract holds it (at the confirmed depth); `exiting` > 0 while an exit is armed."""

    deposited: Amount
    claimed: Amount
    exiting: Amount
    exit_ready_at: Timestamp


class Claim(Struct, frozen=True, kw_only=True):
    """One voucher to redeem; signature is 65 bytes r || s || v."""

    payer: Address
    signer: Address
    cumulative: Amount
    signature: bytes


class Funding(Struct, frozen=True, kw_only=True):
    """One channel to fund, of a payer that is named beside it."""

    signer: Address
    payee: Address
    amount: Amount


class Call(Struct, frozen=True, kw_only=True):
    """What a transaction does: `to` is None for a deployment, `value` in wei."""

    to: Address | None
    data: bytes
    value: int = 0


class Receipt(Struct, frozen=True, kw_only=True):
    """A transaction that is confirmed: `fee` in wei."""

    hash: str
    succeeded: bool
    gas: int
    fee: int
    block: int
