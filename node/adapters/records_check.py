"""Looks through a whole database for what can not be: books that do not balance, a log of deeds that was tampered with.

Both looks return a status and a sentence, as findings have them.
"""

from collections.abc import Sequence
from typing import Final

from market.audit import AuditEntry, Head, SignedHead, digest_of_head, verify
from market.errors import BadSignature, NeugridError
from market.ledger import flaws_of
from market.signing import recover
from market.units import Address
from node.adapters.audit_heads import HeadFile
from node.adapters.backups import Side, walk
from node.records import Balance, Posted

SHOWN: Final = 5
"""Flaws that are told one by one."""


def look_at_ledger(side: Side) -> tuple[str, str]:
    """Every line and every balance of the ledger."""
    balances = [(each.account, each.currency, each.amount) for each in walk(side, Balance)]
    flaws = flaws_of(((line.account, line.currency, line.amount) for line in walk(side, Posted)), balances)
    if not flaws:
        return "ok", f"{len(balances)} balances are the sums of their lines, and every currency sums to zero"
    more = f"; and {len(flaws) - SHOWN} more" if len(flaws) > SHOWN else ""
    advice = "do not pay out; compare with the latest backup"
    return "failed", f"the books are wrong: {'; '.join(flaws[:SHOWN])}{more}: {advice}"


def look_at_audit(heads: Sequence[Head], side: Side) -> tuple[str, str]:
    """The whole log of who did what, which had these heads before the look."""
    verdict = verify(walk(side, AuditEntry), heads)
    if verdict.flaw:
        return "failed", f"the log of who did what is whole up to entry {verdict.head.seq} alone: {verdict.flaw}"
    last = max((head.seq for head in heads), default=0)
    return "ok", f"{verdict.head.seq} entries in an unbroken chain; its head was last signed at entry {last}"


def signed_heads(file: HeadFile, signer: Address) -> list[Head]:
    """The heads in a file; NeugridError for one that `signer` has not signed."""
    found = file.read()
    for number, each in enumerate(found, start=1):
        if not _is_of(each, signer):
            raise NeugridError(f"line {number} of {file.path} was not signed by this node's key")
    return [each.head for each in found]


def _is_of(signed: SignedHead, signer: Address) -> bool:
    try:
        return recover(digest_of_head(signed.head), signed.signature) == signer
    except BadSignature:
        return False
