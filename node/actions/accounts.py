"""Accounts and their API keys: made once, shown once, kept as digests."""

import hashlib
import secrets
import string
import zlib
from typing import Final

from market.errors import NotFound, Unauthorized
from market.units import Timestamp
from node.ports import Clock, Storage
from node.records import Account, ApiKey

PREFIX: Final = "ng_live_"
_BASE62: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM: Final = 43
_CHECK: Final = 6


def new_secret() -> str:
    """A key of 256 random bits: prefix, 43 base-62 digits and a CRC-32 of them, so that a typo costs no look-up."""
    body = "".join(secrets.choice(_BASE62) for _ in range(_RANDOM))
    return PREFIX + body + _checksum(body)


def is_well_formed(secret: str) -> bool:
    """Whether prefix, length and checksum fit."""
    body = secret.removeprefix(PREFIX)
    is_long = secret.startswith(PREFIX) and len(body) == _RANDOM + _CHECK and body.isascii()
    return is_long and secrets.compare_digest(body[_RANDOM:], _checksum(body[:_RANDOM]))


def digest_of(secret: str) -> str:
    """What is stored of a key: SHA-256; 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Accounts:
    """Who may use this node's API."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._known: dict[str, tuple[ApiKey, Account]] = {}

    def authenticate(self, secret: str, now: int) -> Account:
        """The account behind a key. Raises Unauthorized for an unknown, revoked or expired one."""
        if not is_well_formed(secret):
            raise Unauthorized("this is no API key of this node")
        digest = digest_of(secret)
        found = self._known.get(digest) or self._look_up(digest)
        if found is None or (found[0].expires_at and found[0].expires_at <= now):
            raise Unauthorized("this API key is not known or has expired")
        return found[1]

    async def create_account(self, name: str, role: str) -> Account:
        """A new account; the one of this name when there is one."""
        known = self._storage.find(Account, name=name, limit=1)
        if known:
            return known[0]
        account = Account(id=f"user_{secrets.token_hex(8)}", name=name, role=role, created_at=self._clock.now())
        await self._storage.write(lambda tx: tx.insert(account))
        return account

    async def create_key(self, account: Account, name: str, expires_in: int | None = None) -> tuple[ApiKey, str]:
        """A new key and its secret, which is shown only here; `expires_in` in seconds, None = never."""
        secret, now = new_secret(), self._clock.now()
        key = ApiKey(
            id=f"key_{secrets.token_hex(8)}",
            account=account.id,
            name=name,
            digest=digest_of(secret),
            created_at=now,
            expires_at=Timestamp(now + expires_in * 1000 if expires_in else 0),
        )
        await self._storage.write(lambda tx: tx.insert(key))
        return key, secret

    def keys(self, account: Account) -> list[ApiKey]:
        """The account's keys, without their secrets."""
        return self._storage.find(ApiKey, account=account.id)

    async def revoke(self, account: Account, id: str) -> ApiKey:
        """End a key at once; NotFound when it is not the account's."""
        key = self._storage.get(ApiKey, id)
        if key is None or key.account != account.id:
            raise NotFound("no such key", id=id)
        await self._storage.write(lambda tx: tx.delete(ApiKey, id))
        self._known.pop(key.digest, None)
        return key

    def _look_up(self, digest: str) -> tuple[ApiKey, Account] | None:
        keys = self._storage.find(ApiKey, digest=digest, limit=1)
        account = self._storage.get(Account, keys[0].account) if keys else None
        if account is None:
            return None
        if len(self._known) > 10_000:
            self._known.clear()
        self._known[digest] = (keys[0], account)
        return self._known[digest]


def _checksum(body: str) -> str:
    value, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECK):
        value, rest = divmod(value, 62)
        digits = _BASE62[rest] + digits
    return digits
