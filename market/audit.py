"""The log of who did what: a chain of entries, each with the hash of the one before it, and where such a chain breaks.

A chain shows what was changed, removed, put between or put in another order, and, where heads of it were signed and are
kept elsewhere, what was cut off its end. It does not show that all of it behind the last signed head was written anew.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, replace

from market.receipts import GENESIS
from market.signing import keccak
from market.units import Timestamp

MAX_TEXT: Final = 256
MAX_DETAILS: Final = 16
_ENTRY: Final = b"neugrid audit entry v1\n"
_HEAD: Final = b"neugrid audit head v1\n"
_encode = msgspec.json.Encoder(order="deterministic").encode


class Actor(Struct, frozen=True, kw_only=True):
    """Who acts: `account` is "" for somebody who is not signed in, `credential` the id of his key or session.

    `address` is the one that the request came from as this node saw it, `request` the request's id.
    """

    account: str = ""
    credential: str = ""
    address: str = ""
    request: str = ""


NODE: Final = Actor(account="node")
"""The node by itself: a loop, a start."""


class Deed(Struct, frozen=True, kw_only=True):
    """What was done: `action` is a dotted name, `account` whom it concerns, `subject` the thing; never a secret."""

    action: str
    account: str = ""
    subject: str = ""
    detail: Mapping[str, str] = msgspec.field(default_factory=dict)


class AuditEntry(Struct, frozen=True, kw_only=True):
    """One link of the chain; `seq` counts from 1 without gaps, `at` (epoch ms) never goes back."""

    seq: int
    at: Timestamp
    actor: Actor
    deed: Deed
    previous: str
    hash: str


class Head(Struct, frozen=True, kw_only=True):
    """Where a chain ends; the one without entries ends here."""

    seq: int = 0
    at: Timestamp = Timestamp(0)
    hash: str = GENESIS


class SignedHead(Struct, frozen=True, kw_only=True):
    """A head, and the node's signature over `digest_of_head`."""

    head: Head
    signature: bytes


class Verdict(Struct, frozen=True, kw_only=True):
    """How far a chain is whole, and what is wrong behind that; "" = nothing."""

    head: Head
    flaw: str = ""


def link(head: Head, deed: Deed, actor: Actor, at: int) -> AuditEntry:
    """The entry that follows `head`; texts that are too long are cut."""
    entry = AuditEntry(
        seq=head.seq + 1,
        at=Timestamp(max(at, head.at)),
        actor=Actor(**{name: _cut(text) for name, text in asdict(actor).items()}),
        deed=_bounded(deed),
        previous=head.hash,
        hash="",
    )
    return replace(entry, hash=hash_of(entry))


def hash_of(entry: AuditEntry) -> str:
    """SHA-256 (hex) over everything in an entry but its hash, as deterministic JSON."""
    said = [entry.seq, entry.at, entry.actor, entry.deed, entry.previous]
    return hashlib.sha256(_ENTRY + _encode(said)).hexdigest()


def head_of(entry: AuditEntry) -> Head:
    """The chain that ends with this entry."""
    return Head(seq=entry.seq, at=entry.at, hash=entry.hash)


def digest_of_head(head: Head) -> bytes:
    r"""What is signed: keccak256("neugrid audit head v1\n" || deterministic JSON)."""
    return keccak(_HEAD + _encode([head.seq, head.at, head.hash]))


def verify(entries: Iterable[AuditEntry], signed: Iterable[Head] = ()) -> Verdict:
    """Walk a whole chain from its first entry; `signed` are heads that it had before and must still have."""
    known: dict[int, set[str]] = {}
    for each in signed:
        known.setdefault(each.seq, set()).add(each.hash)
    head = Head()
    for entry in entries:
        flaw = _flaw(head, entry)
        if not flaw and known.pop(entry.seq, set()) - {entry.hash}:
            flaw = f"entry {entry.seq} is not the one whose hash was signed: the chain was written anew"
        if flaw:
            return Verdict(head=head, flaw=flaw)
        head = head_of(entry)
    last = max(known, default=0)
    return Verdict(head=head, flaw=f"it ends with entry {head.seq}, but entry {last} was signed" if last else "")


def _flaw(head: Head, entry: AuditEntry) -> str:
    if entry.seq != head.seq + 1:
        return f"entry {head.seq + 1} is missing: entry {entry.seq} follows {head.seq}"
    if entry.previous != head.hash:
        return f"entry {entry.seq} does not follow entry {head.seq}: one of them was changed or replaced"
    if entry.hash != hash_of(entry):
        return f"entry {entry.seq} was changed: its hash is another"
    return f"entry {entry.seq} is older than the one before it" if entry.at < head.at else ""


def _bounded(deed: Deed) -> Deed:
    detail = {_cut(name): _cut(value) for name, value in list(deed.detail.items())[:MAX_DETAILS]}
    return replace(deed, subject=_cut(deed.subject), detail=detail)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
