"""The accounts of this node: who may use it, in which role and tier."""

import re
import secrets
from collections.abc import Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from market.errors import Conflict, InvalidParameters, NotFound, RateLimited
from market.jobs import LIVE, Job
from market.runs import Run, RunState
from market.services import LIVING, Service
from market.units import Address, Amount
from node.actions.access import ADMIN, ROLES, TIERS, is_admin
from node.actions.ids import stable_id
from node.actions.ledger import Ledger, adopt, require_settled
from node.ports import Clock, Passwords, Reader, Storage, Tx
from node.records import Account, ApiKey, Login, Session

EMAIL: Final = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,189}")
OPERATOR: Final = "operator"
MIN_PASSWORD: Final = 8
MAX_PASSWORD: Final = 256
HOUR: Final = 3_600_000


class Wishes(Struct, frozen=True, kw_only=True):
    """What somebody wants of an account, new or not; None leaves it as it is."""

    email: str | None = None
    password: str | None = None
    name: str | None = None
    role: str | None = None
    tier: str | None = None
    is_blocked: bool | None = None
    has_single_key: bool | None = None
    low_balance: Amount | None = None


class Accounts:
    """Users; `forget` is told whose rights changed; the ledger gives who is new his credits."""

    def __init__(
        self, storage: Storage, clock: Clock, passwords: Passwords, ledger: Ledger, forget: Callable[[str], None]
    ) -> None:
        self._ledger = ledger
        self._storage = storage
        self._clock = clock
        self._passwords = passwords
        self._forget = forget

    async def operator(self) -> Account:
        """The account that came with the node; it is made when it is missing."""

        def work(tx: Tx) -> Account:
            known = [each for each in tx.find(Account, name=OPERATOR) if is_admin(each) and not each.is_deleted]
            new = Account(id=_new_id(), name=OPERATOR, created_at=self._clock.now())
            account = replace(known[0] if known else new, role=ADMIN, tier=TIERS[-1])
            tx.put(account)
            return account

        return await self._storage.write(work)

    async def create(self, wishes: Wishes) -> Account:
        """A new account with email and password; Conflict when the email is taken."""
        if wishes.email is None or wishes.password is None:
            missing = "email" if wishes.email is None else "password"
            raise InvalidParameters(f"{missing} is needed", field=missing, expected="a text")
        now = self._clock.now()
        account = Account(id=_new_id(), name=wishes.email, created_at=now, updated_at=now)
        return await self._change(lambda tx: account, wishes, is_new=True)

    async def update(self, id: str, wishes: Wishes) -> Account:
        """Change an account; NotFound, Conflict. The last administrator stays one."""
        account = await self._change(lambda tx: self._found(tx, id), wishes)
        self._forget(id)
        return account

    async def delete(self, id: str) -> Account:
        """End an account: its keys, sessions and logins go; what it ran and paid stays in the books.

        NotFound; Conflict for the last administrator, while something of it runs, and while money or debts are left.
        """

        def work(tx: Tx) -> Account:
            account = self._found(tx, id)
            _require_ended(tx, account)
            require_settled(tx, account)
            _keep_an_admin(tx, account, replace(account, is_blocked=True))
            for noun in (ApiKey, Session, Login):
                for item in tx.find(noun, account=id):
                    tx.delete(noun, item.id)  # type: ignore[attr-defined]
            self._ledger.part(tx, account, self._clock.now())
            gone = replace(account, email="", wallet="", is_blocked=True, is_deleted=True, updated_at=self._clock.now())
            tx.put(gone)
            return gone

        account = await self._storage.write(work)
        self._forget(id)
        return account

    def get(self, id: str) -> Account:
        """One account; NotFound."""
        return self._found(self._storage, id)

    def list(self) -> list[Account]:
        """All accounts, oldest first."""
        return [account for account in self._storage.find(Account) if not account.is_deleted]

    async def give_credits(self, id: str, amount: int, idempotency_key: str = "") -> int:
        """Give an account so many credits, once under one key; what it has then. NotFound, IdempotencyMismatch."""
        gift = f"gift:{stable_id(idempotency_key or secrets.token_hex(16))}"
        return await self._storage.write(
            lambda tx: self._ledger.give(tx, self._found(tx, id), gift, amount, self._clock.now())
        )

    async def link_wallet(self, account: Account, wallet: Address) -> Account:
        """Sign in with this wallet from now on; Conflict when it is another account's."""

        def work(tx: Tx) -> Account:
            now = self._clock.now()
            current = self._found(tx, account.id)
            if current.wallet and current.wallet != wallet:
                raise Conflict("the account has a wallet already", wallet=current.wallet)
            _take_login(tx, Login(id=wallet_login(wallet), account=account.id, created_at=now))
            linked = replace(current, wallet=wallet, updated_at=now)
            tx.put(linked)
            adopt(tx, linked, wallet, now)
            return linked

        linked = await self._storage.write(work)
        self._forget(account.id)
        return linked

    async def of_wallet(self, wallet: Address, *, joins: int) -> Account | None:
        """The account of a wallet; a new one where strangers may join, so many of them an hour: 0 = nobody.

        Raises RateLimited when so many accounts were made within an hour, whoever made them.
        """

        def work(tx: Tx) -> Account | None:
            login = tx.get(Login, wallet_login(wallet))
            if login is not None:
                return tx.get(Account, login.account)
            if joins == 0:
                return None
            now = self._clock.now()
            _check_joins(tx, joins, now)
            account = Account(id=_new_id(), name=wallet, wallet=wallet, created_at=now, updated_at=now)
            tx.insert(account)
            tx.insert(Login(id=wallet_login(wallet), account=account.id, created_at=now))
            self._ledger.welcome(tx, account, now)
            adopt(tx, account, wallet, now)
            return account

        return await self._storage.write(work)

    async def _change(self, find: Callable[[Tx], Account], wishes: Wishes, *, is_new: bool = False) -> Account:
        _check(wishes)
        hash = await self._passwords.hash(wishes.password) if wishes.password is not None else ""

        def work(tx: Tx) -> Account:
            before = find(tx)
            after = _wished(before, wishes, self._clock.now())
            _keep_an_admin(tx, before, after)
            _move_login(tx, before, after, hash)
            if hash or after.is_blocked:
                _end_sessions(tx, after.id)
            tx.put(after)
            if is_new:
                self._ledger.welcome(tx, after, after.created_at)
            return after

        return await self._storage.write(work)

    def _found(self, reader: Reader, id: str) -> Account:
        account = reader.get(Account, id)
        if account is None or account.is_deleted:
            raise NotFound("no such user", id=id)
        return account


def email_login(email: str) -> str:
    """The id of the login by this address."""
    return f"email:{email.lower()}"


def wallet_login(wallet: Address) -> str:
    """The id of the login by this wallet."""
    return f"wallet:{wallet}"


def _require_ended(tx: Tx, account: Account) -> None:
    live: tuple[tuple[type[Struct], object], ...] = ((Job, LIVE), (Service, LIVING), (Run, RunState.QUEUED))
    if any(tx.count(noun, account=account.id, state=state) for noun, state in live):
        raise Conflict("something of this user still runs: end it first", id=account.id)


def _new_id() -> str:
    return f"user_{secrets.token_hex(8)}"


def _check_joins(reader: Reader, joins: int, now: int) -> None:
    earlier = reader.find(Account, newest=True, limit=1, offset=joins - 1)
    left = earlier[0].created_at + HOUR - now if earlier else 0
    if left > 0:
        wait = -(-left // 1000)
        raise RateLimited(
            f"this node takes {joins} new accounts an hour; try again in {wait} s",
            limit=joins, window=HOUR // 1000, retry_after=wait,
        )  # fmt: skip


def _check(wishes: Wishes) -> None:
    if wishes.email is not None and not EMAIL.fullmatch(wishes.email):
        raise _unfit("email", wishes.email, "an address such as ann@example.org")
    if wishes.password is not None and not MIN_PASSWORD <= len(wishes.password) <= MAX_PASSWORD:
        raise _unfit("password", "***", f"{MIN_PASSWORD} to {MAX_PASSWORD} characters")
    if wishes.name is not None and wishes.name.strip().lower() == OPERATOR:
        raise _unfit("name", wishes.name, "another name: this one is the operator's")
    if wishes.role is not None and wishes.role not in ROLES:
        raise _unfit("role", wishes.role, " or ".join(ROLES))
    if wishes.tier is not None and wishes.tier not in TIERS:
        raise _unfit("tier", wishes.tier, f"of {', '.join(TIERS)}")


def _wished(before: Account, wishes: Wishes, now: int) -> Account:
    changes = {
        name: value
        for name in ("email", "name", "role", "tier", "is_blocked", "has_single_key", "low_balance")
        if (value := getattr(wishes, name)) is not None
    }
    return replace(before, **changes, updated_at=now)


def _move_login(tx: Tx, before: Account, after: Account, hash: str) -> None:
    """Keep the login by email where the account's email is, with the newest password."""
    if not after.email or (before.email == after.email and not hash):
        return
    old = tx.get(Login, email_login(before.email)) if before.email else None
    password = hash or (old.password if old else "")
    login = Login(id=email_login(after.email), account=after.id, password=password, created_at=after.updated_at)
    if old is not None and old.id != login.id:
        tx.delete(Login, old.id)
    _take_login(tx, login)


def _take_login(tx: Tx, login: Login) -> None:
    taken = tx.get(Login, login.id)
    if taken is not None and taken.account != login.account:
        kind = login.id.partition(":")[0]
        raise Conflict(f"this {kind} belongs to another account", field=kind)
    tx.put(login)


def _keep_an_admin(tx: Tx, before: Account, after: Account) -> None:
    """Conflict when nobody would be left who may look after the node."""
    if not is_admin(before) or before.is_blocked or (is_admin(after) and not after.is_blocked):
        return
    if not any(is_admin(each) and not each.is_blocked for each in tx.find(Account) if each.id != after.id):
        raise Conflict(f"the node needs one account of the role {ADMIN!r}", field="role", value=after.role)


def _end_sessions(tx: Tx, account: str) -> None:
    for session in tx.find(Session, account=account):
        tx.delete(Session, session.id)


def _unfit(field: str, value: str, expected: str) -> InvalidParameters:
    shown = value[:80]
    return InvalidParameters(f"{field} must be {expected}, got {shown!r}", field=field, value=shown, expected=expected)
