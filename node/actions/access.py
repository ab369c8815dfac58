"""What who may do: roles of accounts, scopes of keys, and whose things are whose."""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from msgspec import Struct

from market.errors import Forbidden, NotFound
from node.ports import Reader
from node.records import Account

N = TypeVar("N", bound=Struct)
ADMIN: Final = "admin"
SHOWN: Final = 80
"""Characters of an unknown id that are repeated."""
ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    "developer": ("read", "compute", "money", "account"),
    ADMIN: ("read", "compute", "money", "account", "admin"),
}
"""What an account of that role may: see its things; make and change what runs; move money; change keys, webhooks and
its own settings; look after users and the node."""
SCOPES: Final = ROLES[ADMIN]
TIERS: Final = ("free", "pro", "enterprise")
"""How much of it: configs/limits.toml."""


class Caller(Struct, frozen=True, kw_only=True):
    """Who asks, and what the credential that came allows; `credential` is the id of the key or the session.

    `ends` is until when it is good by itself, in epoch ms; 0 = until somebody ends it.
    """

    account: Account
    scopes: frozenset[str]
    credential: str
    profile: str = ""
    ends: int = 0

    def must_be_whole(self) -> None:
        """Forbidden when the credentials may less than their account: such a key opens no other way into it."""
        if self.scopes != scopes_of(self.account):
            raise Forbidden("this needs credentials that may do all that their account may", scope="all")

    def must(self, scope: str) -> None:
        """Forbidden when it may not."""
        if scope not in self.scopes:
            raise Forbidden(f"this needs the scope {scope!r}, which these credentials do not have", scope=scope)


def scopes_of(account: Account, granted: tuple[str, ...] = ()) -> frozenset[str]:
    """What an account may, as far as it was granted; () is all of it."""
    own = frozenset(ROLES.get(account.role, ()))
    return own & frozenset(granted) if granted else own


def is_admin(account: Account) -> bool:
    """Whether it looks after the node, whose wallet it spends."""
    return account.role == ADMIN


def owned(
    reader: Reader,
    noun: type[N],
    id: str,
    account: Account,
    name: str = "",
    shown: Callable[[N], bool] = lambda _: True,
) -> N:
    """The account's `noun` of that id, as `name`; the same NotFound for what is missing, another's, or not `shown`."""
    return must_own(reader.get(noun, id), name or noun.__name__.lower(), id, account, shown)


def must_own(found: N | None, name: str, id: str, account: Account, shown: Callable[[N], bool] = lambda _: True) -> N:
    """What was found of that id, as `name`, if it is the account's; see `owned`."""
    if found is None or getattr(found, "account", None) != account.id or not shown(found):
        raise NotFound(f"no such {name}", id=id[:SHOWN])
    return found
