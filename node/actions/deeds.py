"""What a change of a record means in the log of who did what: the table at the end says which records there are.

Only ids, addresses, names of settings and amounts are told; no secret, no email, no path of a webhook.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import Struct

from market.audit import Deed
from market.units import format_amount
from node.records import Account, ApiKey, DeviceLogin, Login, Payout, Posted, Session, Webhook, Withdrawal

GRANT: Final = "grant"
"""The kind of the transfers that give credits away."""
_TOLD: Final[tuple[str, ...]] = ("role", "tier", "has_single_key", "low_balance")
_NAMED: Final[tuple[str, ...]] = ("email", "name")
"""That they changed is told, and not to what: the log outlives the account."""
Means = Callable[[Any, Any, int], list[Deed]]
"""(before or None, after or None, now) to what was done."""


def deeds_of(before: Any, after: Any, now: int) -> list[Deed]:
    """What the change of a record means; its type has to be in the table."""
    return DEEDS[type(before if after is None else after)](before, after, now)


def _account(before: Account | None, after: Account, now: int) -> list[Deed]:
    def deed(word: str, **detail: str) -> Deed:
        return Deed(action=f"account.{word}", account=after.id, subject=after.id, detail=detail)

    if before is None:
        return [deed("made", role=after.role, tier=after.tier)]
    if after.is_deleted and not before.is_deleted:
        return [deed("deleted")]
    found = [deed("blocked" if after.is_blocked else "unblocked")] if before.is_blocked != after.is_blocked else []
    if before.wallet != after.wallet:
        found.append(Deed(action="wallet.linked", account=after.id, subject=after.wallet))
    changes = _changes(before, after)
    return [*found, deed("changed", **changes)] if changes else found


def _changes(before: Account, after: Account) -> dict[str, str]:
    told = {name: f"{getattr(before, name)} -> {getattr(after, name)}" for name in _TOLD}
    told |= dict.fromkeys(_NAMED, "changed")
    return {name: word for name, word in told.items() if getattr(before, name) != getattr(after, name)}


def _login(before: Login | None, after: Login | None, now: int) -> list[Deed]:
    if before is not None and after is not None:
        is_same = before.password == after.password
        return [] if is_same else [Deed(action="password.changed", account=after.account, subject=after.account)]
    return [
        Deed(
            action=f"login.{word}",
            account=login.account,
            subject=login.account,
            detail={"kind": login.id.partition(":")[0]},
        )
        for word, login in (("removed", before), ("made", after))
        if login is not None
    ]


def _key(before: ApiKey | None, after: ApiKey | None, now: int) -> list[Deed]:
    if after is not None:
        detail = {"name": after.name, "scopes": " ".join(after.scopes) or "all", "expires_at": str(after.expires_at)}
        return [Deed(action="key.made", account=after.account, subject=after.id, detail=detail)]
    return [Deed(action="key.revoked", account=before.account, subject=before.id)] if before else []


def _session(before: Session | None, after: Session | None, now: int) -> list[Deed]:
    if before is None and after is not None:
        return [Deed(action="session.opened", account=after.account, subject=after.id, detail={"by": after.way})]
    if before is not None and after is None and before.expires_at > now:
        return [Deed(action="session.ended", account=before.account, subject=before.id)]
    return []


def _device(before: DeviceLogin | None, after: DeviceLogin | None, now: int) -> list[Deed]:
    if before is None or after is None or (before.account, before.is_denied) == (after.account, after.is_denied):
        return []
    word = "refused" if after.is_denied else "let_in"
    return [
        Deed(
            action=f"device.{word}",
            account=after.account,
            subject=after.user_code,
            detail={"client": after.client},
        )
    ]


def _webhook(before: Webhook | None, after: Webhook | None, now: int) -> list[Deed]:
    if after is None:
        return [Deed(action="webhook.deleted", account=before.account, subject=before.id)] if before else []

    def deed(word: str, **detail: str) -> Deed:
        return Deed(action=f"webhook.{word}", account=after.account, subject=after.id, detail=detail)

    told = {
        "host": urlsplit(after.url).hostname or "",
        "events": " ".join(after.events) or "all",
        "is_active": str(after.is_active),
    }
    if before is None:
        return [deed("made", **told)]
    found = [deed("rotated")] if before.secret != after.secret else []
    is_other = (before.url, before.events, before.is_active) != (after.url, after.events, after.is_active)
    return [*found, deed("changed", **told)] if is_other else found


def _payment(before: Payout | Withdrawal | None, after: Payout | Withdrawal, now: int) -> list[Deed]:
    if before is not None and before.state == after.state:
        return []
    kind = type(after).__name__.lower()
    word = "opened" if before is None else after.state
    detail = {"amount": format_amount(after.amount), "to": after.to, "transaction": after.transaction}
    return [Deed(action=f"{kind}.{word}", account=after.account, subject=after.id, detail=detail)]


def _posted(before: Posted | None, after: Posted | None, now: int) -> list[Deed]:
    if after is None or after.kind != GRANT or not after.account.startswith("user:"):
        return []
    detail = {"amount": str(after.amount), "currency": after.currency}
    return [
        Deed(action="credits.granted", account=after.account.removeprefix("user:"), subject=after.id, detail=detail)
    ]


DEEDS: Final[Mapping[type[Struct], Means]] = {
    Account: _account,
    Login: _login,
    ApiKey: _key,
    Session: _session,
    DeviceLogin: _device,
    Webhook: _webhook,
    Payout: _payment,
    Withdrawal: _payment,
    Posted: _posted,
}
