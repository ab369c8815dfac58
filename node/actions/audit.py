"""The log of who did what: written in the transaction of the deed, read by whom it concerns, its heads signed."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog
from msgspec import Struct
from msgspec.structs import replace

from market.audit import Actor, AuditEntry, Deed, Head, SignedHead, digest_of_head, head_of, link
from market.signing import Signer
from node.actions.acting import acting
from node.actions.deeds import DEEDS, deeds_of
from node.actions.following import Folds
from node.ports import Clock, Reader, Storage, Tx

_log = structlog.get_logger("audit")
HOUR: Final = 3_600_000
EACH: Final = 10
"""Refused sign-ins of one login that are written down in an hour..."""
ALL: Final = 200
"""...and of all together."""


class Asked(Struct, frozen=True, kw_only=True):
    """Which entries: whom they concern, who did it, what was done; "" = any. `since` in epoch ms."""

    account: str = ""
    actor: str = ""
    action: str = ""
    since: int = 0

    def where(self) -> dict[str, Any]:
        """The columns to look for."""
        return {name: value for name in ("account", "actor", "action") if (value := getattr(self, name))}


class Audit:
    """Reads the log, and writes down what no record tells."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._refusals = _Refusals()

    def page(self, asked: Asked, limit: int, before: int = 0, offset: int = 0) -> tuple[list[AuditEntry], int]:
        """At most `limit` of the entries, newest first, those older than entry `before`; and how many there are."""
        where = asked.where()
        found = self._storage.find(
            AuditEntry, limit=limit, offset=offset, after=(0, str(before)) if before else None, newest=True, **where
        )
        total = self._storage.count(AuditEntry, **where)
        if asked.since > 0:
            total -= self._storage.count(AuditEntry, created_until=asked.since - 1, **where)
        return [entry for entry in found if entry.at >= asked.since], total

    async def note(self, deed: Deed) -> None:
        """Write down something that changes no record."""
        await note(self._storage, deed, self._clock.now())

    async def refused(self, login: str, account: str, way: str) -> None:
        """Write down that somebody could not sign in, up to so often an hour: what is left out is counted.

        Whether the login exists makes no difference for what is done here.
        """
        unwritten = self._refusals.admit(login, self._clock.now())
        if unwritten >= 0:
            detail = {"by": way, **({"unwritten": str(unwritten)} if unwritten else {})}
            await self.note(Deed(action="sign_in.refused", account=account, detail=detail))


class Anchor:
    """Signs where the log ends and hands that to `keep`, which has it outside of the database."""

    def __init__(self, storage: Storage, signer: Signer, keep: Callable[[SignedHead], None]) -> None:
        self._storage = storage
        self._signer = signer
        self._keep = keep
        self._signed = 0

    async def sign(self) -> None:
        """Sign the present head, unless that was done; the operator's log shows it, too."""
        head = _head(self._storage)
        if head.seq <= self._signed:
            return
        signed = SignedHead(head=head, signature=self._signer.sign(digest_of_head(head)))
        await asyncio.to_thread(self._keep, signed)
        self._signed = head.seq
        _log.info("head signed", seq=head.seq, hash=head.hash, signature=signed.signature.hex())


class _Refusals:
    """How many refused sign-ins were written down in this hour, and how many were not since the last."""

    def __init__(self) -> None:
        self._hour = 0
        self._written: dict[str, int] = {}
        self._unwritten = 0

    def admit(self, login: str, now: int) -> int:
        """-1 when this one is not to be written down; else how many were not before it."""
        if now // HOUR != self._hour:
            self._hour, self._written = now // HOUR, {}
        written = self._written.get(login, 0)
        if written >= EACH or sum(self._written.values()) >= ALL:
            self._unwritten += 1
            return -1
        self._written[login] = written + 1
        unwritten, self._unwritten = self._unwritten, 0
        return unwritten


def fold(tx: Tx, before: Any, after: Any, now: int) -> None:
    """Write down what the change of a record means."""
    for deed in deeds_of(before, after, now):
        write_down(tx, deed, acting(), now)


async def note(storage: Storage, deed: Deed, now: int) -> None:
    """Write down something that changes no record."""
    actor = acting()
    await storage.write(lambda tx: write_down(tx, deed, actor, now))


def write_down(tx: Tx, deed: Deed, actor: Actor, now: int) -> None:
    """Append an entry. Groups of writes follow each other on every storage, so that nobody appends meanwhile."""
    tx.insert(link(_head(tx), replace(deed, account=deed.account or actor.account), actor, now))


def started(program: str, settings: str) -> Deed:
    """A start of the node, with its version and the digest of its settings: a change of them shows here."""
    return Deed(action="node.started", detail={"program": program, "settings": settings})


def _head(reader: Reader) -> Head:
    found = reader.find(AuditEntry, newest=True, limit=1)
    return head_of(found[0]) if found else Head()


FOLDS: Final[Folds] = dict.fromkeys(DEEDS, (fold,))
