"""Who is behind a credential: an API key, or a token of somebody who signed in. Both die within a second."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from market.errors import Unauthorized
from node.actions.access import Caller, scopes_of
from node.actions.keys import PREFIX, PROFILES, digest_of, is_well_formed
from node.ports import Clock, Storage, Tokens
from node.records import Account, ApiKey, Session

FRESH: Final = 500
"""How long, in ms, what was read is believed: another process of the node may have revoked it meanwhile."""
MANY: Final = 10_000


class _Known(Struct, frozen=True):
    """A caller, and until when (epoch ms) that holds without another look."""

    caller: Caller
    until: int


class Callers:
    """Finds the caller behind what a request brings."""

    def __init__(self, storage: Storage, clock: Clock, tokens: Tokens, profiles: Mapping[str, str] = PROFILES) -> None:
        self._storage = storage
        self._clock = clock
        self._tokens = tokens
        self._profiles = profiles
        self._prefixes = (PREFIX, *profiles.values())
        self._known: dict[str, _Known] = {}
        """By the digest of the credential."""

    def of(self, credential: str) -> Caller:
        """The caller behind a key or a token; Unauthorized for one that is not known, revoked or expired."""
        now, digest = self._clock.now(), digest_of(credential)
        known = self._known.get(digest)
        if known is not None and now < known.until:
            return known.caller
        self._known.pop(digest, None)
        caller = self._by_token(credential, now) if credential.count(".") == 2 else self._by_key(credential, now)
        if len(self._known) >= MANY:
            self._known.clear()
        self._known[digest] = _Known(caller, min(now + FRESH, caller.ends or now + FRESH))
        return caller

    def profile_of(self, credential: str) -> str:
        """The platform whose client brings this, though it may be good no longer; "" where none is known.

        Nobody is let in by it.
        """
        named = next((name for name, prefix in self._profiles.items() if credential.startswith(prefix)), "")
        if named or not is_well_formed(credential, self._prefixes):
            return named
        found = self._storage.find(ApiKey, digest=digest_of(credential), limit=1)
        return found[0].profile if found else ""

    def forget(self, account: str) -> None:
        """Look again at whoever comes for this account: something about it, its keys or its sessions has changed."""
        self._known = {each: known for each, known in self._known.items() if known.caller.account.id != account}

    def _by_key(self, secret: str, now: int) -> Caller:
        if not is_well_formed(secret, self._prefixes):
            raise Unauthorized("this is no API key of this node")
        found = self._storage.find(ApiKey, digest=digest_of(secret), limit=1)
        if not found or (found[0].expires_at and found[0].expires_at <= now):
            raise Unauthorized("this API key is not known or has expired")
        key = found[0]
        account = self._account(key.account)
        scopes = scopes_of(account, key.scopes)
        return Caller(
            account=account, scopes=scopes, credential=key.id, profile=key.profile, ends=key.expires_at
        )  # fmt: skip

    def _by_token(self, token: str, now: int) -> Caller:
        claims = self._tokens.read(token, now)
        session = self._storage.get(Session, claims.session)
        if session is None or session.account != claims.account or session.expires_at <= now:
            raise Unauthorized("this session has ended: sign in again")
        account = self._account(claims.account)
        return Caller(account=account, scopes=scopes_of(account), credential=session.id, ends=claims.expires_at)

    def _account(self, id: str) -> Account:
        account = self._storage.get(Account, id)
        if account is None or account.is_blocked:
            raise Unauthorized("this account is not known or was blocked")
        return account
