"""Vouchers: the requester signs what is due, the provider accepts it; inside a transaction, stored before sent."""

from msgspec.structs import replace

from market.dialogue import Signed
from market.errors import BadSignature, VoucherTooLow
from market.leases import ENDED, OPEN, Lease, LeaseState, reserved
from market.provision_events import VoucherAccepted
from market.signing import Signer
from market.tenancy_events import UsageAcknowledged
from market.units import Amount
from market.vouchers import Channel, Voucher, accept_voucher, sign_voucher
from node.engine import Changes
from node.ports import Reader


def channel_of(lease: Lease) -> Channel:
    """The channel a lease is paid from, as it is before anything is known of it."""
    terms = lease.terms
    return Channel(id=lease.channel, payer=terms.payer, signer=terms.signer, payee=terms.payee)  # type: ignore[arg-type]


def stored_channel(reader: Reader, lease: Lease) -> Channel:
    """What is stored of the lease's channel, or an empty one."""
    return reader.get(Channel, lease.channel) or channel_of(lease)


def reserved_on(reader: Reader, channel: str, side: str) -> Amount:
    """What all leases of a channel may still cost beyond what is promised."""
    leases = reader.find(Lease, side=side, channel=channel, state=(*OPEN, "finished", "cancelled", "failed"))
    return Amount(sum(reserved(lease) for lease in leases))


def pay_lease(changes: Changes, lease: Lease, amount: Amount, seconds: int, signer: Signer, domain: bytes) -> Signed:
    """Promise up to `amount` in total for this lease, and return the channel's newest voucher.

    Raises VoucherTooHigh when the channel's deposit does not cover it; nothing is stored then.
    """
    channel = stored_channel(changes.tx, lease)
    owed = Amount(max(0, amount - lease.paid))
    if owed:
        channel, _ = sign_voucher(channel, owed, signer, domain)
        changes.tx.put(channel)
        changes.apply("Lease", lease.id, UsageAcknowledged(seconds=seconds, paid=amount))
    return Signed(channel.id, channel.promised, channel.signature.hex(), lease.id, max(amount, lease.paid))


def credit_lease(changes: Changes, lease: Lease, signed: Signed, domain: bytes) -> None:
    """Take a voucher from the requester and credit its share to the lease.

    Raises BadSignature or VoucherTooHigh; a share that the channel's promises do not cover is VoucherTooLow. A lease
    that is settled changes no more; the voucher is kept all the same.
    """
    if signed.channel != lease.channel or signed.lease != lease.id:
        raise BadSignature("the voucher is for another lease", expected=lease.id, got=signed.lease)
    channel = stored_channel(changes.tx, lease)
    voucher = Voucher(
        channel=signed.channel, cumulative=Amount(signed.cumulative), signature=bytes.fromhex(signed.signature)
    )
    if voucher.cumulative > channel.promised:
        channel = accept_voucher(channel, voucher, domain)
    if lease.state is LeaseState.SETTLED:
        changes.tx.put(channel)
        return
    share = max(0, signed.paid - lease.paid)
    if channel.credited + share > channel.promised:
        raise VoucherTooLow(
            "the vouchers do not cover all leases", expected=channel.credited + share, got=channel.promised
        )
    changes.tx.put(replace(channel, credited=Amount(channel.credited + share)))
    if share or lease.state in ENDED:
        changes.apply("Lease", lease.id, VoucherAccepted(paid=Amount(max(lease.paid, signed.paid))))
