"""Letting a device in from another one (RFC 8628): it shows a short code, which is typed where one is signed in."""

import secrets
from typing import Final

from msgspec.structs import replace

from market.errors import Conflict, Forbidden, InvalidParameters, NeugridError, NotFound
from market.units import Timestamp
from node.actions.access import SCOPES, scopes_of
from node.actions.keys import Keys, NewKey, digest_of
from node.ports import Clock, Storage, Tx
from node.records import Account, DeviceLogin

LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so that no word comes up, and nothing that looks like a digit."""
GOOD_FOR: Final = 600_000
KEY_FOR: Final = 90 * 86_400
SLOWER: Final = 5


class DevicePending(NeugridError):
    """The device can not be let in, or not yet; `details` hold the `reason` as RFC 8628 calls it."""

    code = "DEVICE_PENDING"

    @property
    def reason(self) -> str:
        """RFC 8628's word."""
        return str(self.details["reason"])


class DeviceSignIn:
    """Devices that wait; one that is let in gets an API key for ninety days."""

    def __init__(self, storage: Storage, clock: Clock, keys: Keys) -> None:
        self._storage = storage
        self._clock = clock
        self._keys = keys

    async def start(self, client: str, address: str = "", scopes: tuple[str, ...] = ()) -> tuple[DeviceLogin, str]:
        """A login that waits, and the device's own code, which is shown only here.

        InvalidParameters for a scope that there is not, and for a name that does not show all its letters.
        """
        _check(client, scopes)
        now, code = self._clock.now(), secrets.token_urlsafe(32)
        login = DeviceLogin(
            id=digest_of(code),
            user_code=_user_code(),
            client=client,
            address=address,
            scopes=scopes,
            created_at=now,
            expires_at=Timestamp(now + GOOD_FOR),
        )
        await self._storage.write(lambda tx: tx.insert(login))
        return login, code

    def waiting(self, user_code: str) -> DeviceLogin:
        """The login that waits under this code; NotFound."""
        found = self._storage.find(DeviceLogin, user_code=_normal(user_code), limit=1)
        if not found or found[0].expires_at <= self._clock.now():
            raise NotFound("no device waits with this code", user_code=user_code[:16])
        return found[0]

    async def decide(self, account: Account, user_code: str, *, is_let_in: bool) -> DeviceLogin:
        """Let the device in as `account`, or not; Conflict when that was decided before.

        Forbidden when the account may nothing of what the device asked for.
        """
        login = self.waiting(user_code)
        granted = granted_to(login, account)
        if is_let_in and not granted:
            raise Forbidden("this account may nothing of what the device asks for", scope=" ".join(login.scopes))

        def work(tx: Tx) -> DeviceLogin:
            current = tx.get(DeviceLogin, login.id)
            if current is None or current.account or current.is_denied:
                raise Conflict("this was decided before", user_code=login.user_code)
            whose = account.id if is_let_in else ""
            after = replace(current, account=whose, scopes=granted, is_denied=not is_let_in)
            tx.put(after)
            return after

        return await self._storage.write(work)

    async def collect(self, device_code: str) -> tuple[Account, str]:
        """The account and the key of a device that was let in, once; DevicePending otherwise.

        QuotaExceeded while the account has too many keys: the device may ask again once there is room.
        """
        id = digest_of(device_code)
        end = await self._storage.write(lambda tx: self._collected(tx, id))
        if isinstance(end, DevicePending):
            raise end
        account, new, secret = end
        self._keys.granted(account, new)
        return account, secret

    def _collected(self, tx: Tx, id: str) -> tuple[Account, NewKey, str] | DevicePending:
        """The login goes with the coming of its key, or neither."""
        login = _asked(tx, id, self._clock.now())
        if isinstance(login, DevicePending):
            return login
        account = tx.get(Account, login.account)
        if account is None or account.is_blocked:
            return DevicePending("the account of this device is not known or was blocked", reason="access_denied")
        new = NewKey(name=login.client, expires_in=KEY_FOR, scopes=login.scopes)
        return account, new, self._keys.grant(tx, account, new)[1]


def granted_to(login: DeviceLogin, account: Account) -> tuple[str, ...]:
    """What the device may when this account lets it in: no more later, whatever becomes of the account."""
    own = scopes_of(account, login.scopes)
    return tuple(scope for scope in SCOPES if scope in own)


def _asked(tx: Tx, id: str, now: int) -> DeviceLogin | DevicePending:
    """The login, used up by this, when the device may come in; else why not."""
    login = tx.get(DeviceLogin, id)
    if login is None or login.expires_at <= now:
        return DevicePending("this device code is not known or has expired: begin again", reason="expired_token")
    if login.is_denied:
        return DevicePending("the device was not let in", reason="access_denied")
    if login.account:
        tx.delete(DeviceLogin, id)
        return login
    if now - login.polled_at < login.interval * 1000:
        tx.put(replace(login, interval=login.interval + SLOWER, polled_at=now))
        return DevicePending(f"ask every {login.interval + SLOWER} seconds", reason="slow_down")
    tx.put(replace(login, polled_at=now))
    return DevicePending("nobody has let the device in yet", reason="authorization_pending")


def _check(client: str, scopes: tuple[str, ...]) -> None:
    if not client.isprintable():
        raise InvalidParameters(
            "client_name must be printable: it is shown to who decides",
            field="client_name", value=ascii(client[:64]), expected="printable characters",
        )  # fmt: skip
    for scope in scopes:
        if scope not in SCOPES:
            raise InvalidParameters(
                f"scope must be words of {', '.join(SCOPES)}, got {scope[:32]!r}",
                field="scope", value=scope[:32], expected=list(SCOPES),
            )  # fmt: skip


def _user_code() -> str:
    letters = "".join(secrets.choice(LETTERS) for _ in range(8))
    return f"{letters[:4]}-{letters[4:]}"


def _normal(typed: str) -> str:
    letters = "".join(letter for letter in typed.upper() if letter in LETTERS)
    return f"{letters[:4]}-{letters[4:]}"
