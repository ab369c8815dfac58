"""API keys: made once, shown once, kept as digests."""

import hashlib
import secrets
import string
import zlib
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from market.errors import Forbidden, InvalidParameters, QuotaExceeded
from market.units import Timestamp
from node.actions.access import SCOPES, Caller, owned
from node.ports import Clock, Storage, Tx
from node.records import Account, ApiKey

PREFIX: Final = "ng_live_"
PROFILES: Final[Mapping[str, str]] = {"neorun": "neo_sk_", "neuron": "nr_live_"}
"""The platforms whose clients look at how their keys begin, and how they do, unless the settings say otherwise."""
MAX_KEYS: Final = 100
_BASE62: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM: Final = 43
_CHECK: Final = 6


class NewKey(Struct, frozen=True, kw_only=True):
    """What a key shall be: `expires_in` in seconds, None = never; `scopes` () = all that its maker may."""

    name: str
    expires_in: int | None = None
    scopes: tuple[str, ...] = ()
    profile: str = ""
    rotate: bool = False
    """Revoke the others."""


def new_secret(prefix: str = PREFIX) -> str:
    """A key of 256 random bits: prefix, 43 base-62 digits and a CRC-32 of them, so that a typo costs no look-up."""
    body = "".join(secrets.choice(_BASE62) for _ in range(_RANDOM))
    return prefix + body + checksum(body)


def is_well_formed(secret: str, prefixes: tuple[str, ...] = (PREFIX,)) -> bool:
    """Whether prefix, length and checksum fit."""
    body = secret[-_RANDOM - _CHECK :]
    is_long = len(body) == _RANDOM + _CHECK and body.isascii() and secret.removesuffix(body) in prefixes
    return is_long and secrets.compare_digest(body[_RANDOM:], checksum(body[:_RANDOM]))


def digest_of(secret: str) -> str:
    """What is stored of a key: SHA-256; 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def checksum(body: str) -> str:
    """The CRC-32 of the random part, in six base-62 digits."""
    value, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECK):
        value, rest = divmod(value, 62)
        digits = _BASE62[rest] + digits
    return digits


class Keys:
    """The keys of accounts; `forget` is told the account whose keys changed, `profiles` say how keys begin."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        forget: Callable[[str], None],
        profiles: Mapping[str, str] = PROFILES,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._forget = forget
        self._profiles = {"": PREFIX, **profiles}

    async def create(self, caller: Caller, new: NewKey) -> tuple[ApiKey, str]:
        """A new key and its secret, which is shown only here.

        Raises Forbidden for a scope that the caller lacks, QuotaExceeded when there are too many.
        """
        return await self.create_for(caller.account, _within(new, caller.scopes))

    async def create_for(self, account: Account, new: NewKey) -> tuple[ApiKey, str]:
        """The same for any account; `scopes` () is all that it may."""
        made = await self._storage.write(lambda tx: self.grant(tx, account, new))
        self.granted(account, new)
        return made

    def grant(self, tx: Tx, account: Account, new: NewKey) -> tuple[ApiKey, str]:
        """The same in an open transaction, so that it comes with what it is for; `granted` follows the commit."""
        secret, now = new_secret(self._prefix(new.profile)), self._clock.now()
        key = ApiKey(
            id=f"key_{secrets.token_hex(8)}",
            account=account.id,
            name=new.name,
            digest=digest_of(secret),
            scopes=new.scopes,
            profile=new.profile,
            created_at=now,
            expires_at=Timestamp(now + new.expires_in * 1000 if new.expires_in else 0),
        )
        _store(tx, key, _is_only(account, new))
        return key, secret

    def granted(self, account: Account, new: NewKey) -> None:
        """Look again at whoever comes with a key that the new one has ended."""
        if _is_only(account, new):
            self._forget(account.id)

    def list(self, account: Account) -> list[ApiKey]:
        """The account's keys, without their secrets."""
        return self._storage.find(ApiKey, account=account.id)

    async def revoke(self, account: Account, id: str) -> ApiKey:
        """End a key at once; NotFound when it is not the account's."""
        key = owned(self._storage, ApiKey, id, account, "key")
        await self._storage.write(lambda tx: tx.delete(ApiKey, id))
        self._forget(account.id)
        return key

    def _prefix(self, profile: str) -> str:
        prefix = self._profiles.get(profile)
        if prefix is None:
            known = [name for name in self._profiles if name]
            raise InvalidParameters(
                f"profile must be of {', '.join(known)}", field="profile", value=profile[:32], expected=known
            )
        return prefix


def _is_only(account: Account, new: NewKey) -> bool:
    return new.rotate or account.has_single_key


def _store(tx: Tx, key: ApiKey, is_only: bool) -> None:
    others = tx.find(ApiKey, account=key.account)
    if not is_only and len(others) >= MAX_KEYS:
        raise QuotaExceeded(f"an account may have {MAX_KEYS} keys; revoke one first", limit=MAX_KEYS)
    for other in others if is_only else ():
        tx.delete(ApiKey, other.id)
    tx.insert(key)


def _within(new: NewKey, scopes: frozenset[str]) -> NewKey:
    """A key may do no more than who makes it; one that may everything now may not more later."""
    for scope in new.scopes:
        if scope not in SCOPES:
            raise InvalidParameters(
                f"scopes must be of {', '.join(SCOPES)}, got {scope[:32]!r}",
                field="scopes", value=scope[:32], expected=list(SCOPES),
            )  # fmt: skip
        if scope not in scopes:
            raise Forbidden(f"a key can not have the scope {scope!r} that its maker lacks", scope=scope)
    granted = new.scopes or tuple(scope for scope in SCOPES if scope in scopes)
    return replace(new, scopes=granted)
