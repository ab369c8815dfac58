"""Signing in: with a password, with a wallet, again with what was given out last, and out."""

import secrets
from collections.abc import Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from market.audit import Deed
from market.errors import Unauthorized
from market.units import Timestamp
from node.actions.access import owned
from node.actions.accounts import email_login
from node.actions.acting import acting
from node.actions.audit import Audit, write_down
from node.actions.keys import digest_of
from node.ports import Claims, Clock, Passwords, Storage, Tokens, Tx
from node.records import Account, Login, Session

TOKEN_FOR: Final = 3600
"""Seconds that an access token is good for."""
SESSION_FOR: Final = 30 * 86_400_000
"""How long, in ms, one may come back with the refresh token without signing in again."""
REFRESH: Final = "ngr_"


class Grant(Struct, frozen=True, kw_only=True):
    """What one gets who signed in; `expires_in` in seconds. The refresh token is good for one use."""

    account: Account
    access_token: str
    refresh_token: str
    expires_in: int = TOKEN_FOR


class SignIn:
    """Opens and ends sessions; `forget` is told whose."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        passwords: Passwords,
        tokens: Tokens,
        forget: Callable[[str], None],
        audit: Audit,
    ) -> None:
        self._audit = audit
        self._storage = storage
        self._clock = clock
        self._passwords = passwords
        self._tokens = tokens
        self._forget = forget

    async def by_password(self, email: str, password: str) -> Grant:
        """Unauthorized, in the same words and time, for a wrong password and for an email that nobody has."""
        login = self._storage.get(Login, email_login(email))
        fits = await self._passwords.fits(password, login.password if login else "")
        account = self._storage.get(Account, login.account) if login and fits else None
        if account is None or account.is_blocked:
            await self._audit.refused(email_login(email), login.account if login else "", "password")
            raise Unauthorized("email or password is wrong")
        return await self.open(account, "password")

    async def open(self, account: Account, way: str) -> Grant:
        """A new session of an account whose owner has proved to be it, in that way."""
        now = self._clock.now()
        id, secret = f"ses_{secrets.token_hex(8)}", secrets.token_urlsafe(32)
        session = Session(
            id=id,
            account=account.id,
            digest=digest_of(secret),
            way=way,
            created_at=now,
            expires_at=Timestamp(now + SESSION_FOR),
        )
        await self._storage.write(lambda tx: tx.insert(session))
        return self._grant(account, session, secret)

    async def refresh(self, token: str) -> Grant:
        """A new pair for a refresh token. One that was used before ends its session: somebody else may have it."""
        id, _, secret = token.removeprefix(REFRESH).partition(".")
        following = secrets.token_urlsafe(32)
        found = await self._storage.write(lambda tx: _rotate(tx, id, digest_of(secret), following, self._clock.now()))
        if isinstance(found, str):
            self._forget(found)
            found = None
        account = self._storage.get(Account, found.account) if found else None
        if found is None or account is None or account.is_blocked:
            raise Unauthorized("this refresh token is not known, was used before or has expired: sign in again")
        return self._grant(account, found, following)

    async def end(self, account: Account, session: str) -> None:
        """Sign out; NotFound when there is no such session of the account."""
        owned(self._storage, Session, session, account)
        await self._storage.write(lambda tx: tx.delete(Session, session))
        self._forget(account.id)

    def _grant(self, account: Account, session: Session, secret: str) -> Grant:
        claims = Claims(account=account.id, session=session.id)
        token = self._tokens.issue(claims, self._clock.now(), TOKEN_FOR)
        return Grant(account=account, access_token=token, refresh_token=f"{REFRESH}{session.id}.{secret}")


def _rotate(tx: Tx, id: str, digest: str, following: str, now: int) -> Session | str | None:
    """The session with the next secret; the account whose session was ended over a secret of before; None."""
    session = tx.get(Session, id)
    if session is None:
        return None
    if not secrets.compare_digest(session.digest, digest):
        write_down(tx, Deed(action="session.reused", account=session.account, subject=id), acting(), now)
        tx.delete(Session, id)
        return session.account
    if session.expires_at <= now:
        return None
    after = replace(session, digest=digest_of(following))
    tx.put(after)
    return after
