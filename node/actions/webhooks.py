"""Webhooks: where users are told of what happens, and the deliveries that are on their way, kept until they arrived."""

import base64
import builtins
import secrets
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from market.errors import InvalidParameters, NotFound, QuotaExceeded, RateLimited
from market.happenings import Happening
from market.units import Timestamp, instant
from market.webhooks import MAX_SECRET, MIN_SECRET, PREFIX, checked_events, wants
from node.actions.access import owned
from node.actions.happenings import Happenings
from node.actions.ids import new_id
from node.engine import Engine
from node.ports import Posts, Reader, Seal, Tx
from node.records import Account, Delivery, Happened, Webhook

MAX_WEBHOOKS: Final = 16
LOOKS_AT_ONCE: Final = 2
"""Addresses of one account whose names are looked up at the same time."""
OLD_SECRET_FOR: Final = 86_400_000
"""How long, in ms, the secret before the last still signs too."""
TEST: Final = "webhook.test"
_encode = msgspec.json.Encoder().encode


class Wishes(Struct, frozen=True, kw_only=True):
    """What shall be different; None leaves it as it is."""

    url: str | None = None
    events: tuple[str, ...] | None = None
    is_active: bool | None = None


class Webhooks:
    """The user's side."""

    def __init__(self, engine: Engine, happenings: Happenings, posts: Posts, seal: Seal) -> None:
        self._engine = engine
        self._storage = engine.storage
        self._happenings = happenings
        self._posts = posts
        self._seal = seal
        self._looking: Counter[str] = Counter()

    async def create(
        self, account: Account, url: str, events: Sequence[str], secret: str | None
    ) -> tuple[Webhook, str]:
        """A new webhook and its secret; one is made when none is given.

        Raises InvalidParameters for an address that nothing may be posted to, QuotaExceeded, RateLimited.
        """
        wanted, shown = checked_events(events), _secret(secret)
        _check_quota(self._storage, account)
        await self._check(account, url)
        now = self._engine.clock.now()
        id = new_id("whk", now)
        webhook = Webhook(
            id=id, account=account.id, url=url, events=wanted, secret=self._sealed(id, shown), created_at=now
        )

        def work(tx: Tx) -> None:
            _check_quota(tx, account)
            tx.insert(webhook)

        await self._storage.write(work)
        return webhook, shown

    def list(self, account: Account) -> list[Webhook]:
        """The account's webhooks, oldest first."""
        return self._storage.find(Webhook, account=account.id)

    def get(self, account: Account, id: str) -> Webhook:
        """One of them; NotFound."""
        return owned(self._storage, Webhook, id, account)

    async def update(self, account: Account, id: str, wishes: Wishes) -> Webhook:
        """Change it; one that is active again begins without failures."""
        owned(self._storage, Webhook, id, account)
        if wishes.url is not None:
            await self._check(account, wishes.url)
        events = None if wishes.events is None else checked_events(wishes.events)

        def work(tx: Tx) -> Webhook:
            before = owned(tx, Webhook, id, account)
            after = replace(
                before,
                url=before.url if wishes.url is None else wishes.url,
                events=before.events if events is None else events,
                is_active=before.is_active if wishes.is_active is None else wishes.is_active,
                failures=0 if wishes.is_active else before.failures,
                updated_at=self._engine.clock.now(),
            )
            tx.put(after)
            return after

        return await self._storage.write(work)

    async def delete(self, account: Account, id: str) -> None:
        """Tell nobody there any more; what was on its way goes too."""

        def work(tx: Tx) -> None:
            owned(tx, Webhook, id, account)
            for delivery in tx.find(Delivery, webhook=id):
                tx.delete(Delivery, delivery.id)
            tx.delete(Webhook, id)

        await self._storage.write(work)

    async def rotate(self, account: Account, id: str) -> tuple[Webhook, str]:
        """A new secret; the one before signs beside it for a day."""
        shown = _secret(None)

        def work(tx: Tx) -> Webhook:
            before = owned(tx, Webhook, id, account)
            now = self._engine.clock.now()
            after = replace(
                before,
                secret=self._sealed(id, shown),
                old_secret=before.secret,
                old_until=Timestamp(now + OLD_SECRET_FOR),
                updated_at=now,
            )
            tx.put(after)
            return after

        return await self._storage.write(work), shown

    async def test(self, account: Account, id: str) -> Delivery:
        """Send it an event that says that it works, whatever it wants else."""

        def work(tx: Tx) -> Delivery:
            webhook = owned(tx, Webhook, id, account)
            now = self._engine.clock.now()
            happening = Happening(account=account.id, event=TEST, subject=id, data={"webhook_id": id})
            self._happenings.record(tx, happening, now)
            [happened] = tx.find(Happened, account=account.id, newest=True, limit=1)
            delivery = _delivery(webhook, happened)
            tx.put(delivery)
            return delivery

        return await self._storage.write(work)

    def deliveries(
        self, account: Account, id: str, *, limit: int, after: tuple[int, str] | None = None, offset: int = 0
    ) -> tuple[builtins.list[Delivery], int]:
        """A page of what it was told, or is to be told, newest first, and how much that is in all."""
        owned(self._storage, Webhook, id, account)
        found = self._storage.find(Delivery, webhook=id, limit=limit, after=after, offset=offset, newest=True)
        return found, self._storage.count(Delivery, webhook=id)

    async def retry(self, account: Account, id: str) -> Delivery:
        """Try a delivery once more, from the beginning; NotFound."""

        def work(tx: Tx) -> Delivery:
            delivery = _delivery_of(tx, account, id)
            after = replace(delivery, state="pending", attempts=0, not_before=Timestamp(self._engine.clock.now()))
            tx.put(after)
            return after

        return await self._storage.write(work)

    async def _check(self, account: Account, url: str) -> None:
        """Look at the address; who keeps others waiting for his name servers waits for no more of them at once."""
        if self._looking[account.id] >= LOOKS_AT_ONCE:
            raise RateLimited(f"at most {LOOKS_AT_ONCE} addresses are looked at at a time", limit=LOOKS_AT_ONCE)
        self._looking[account.id] += 1
        try:
            await self._posts.check(url)
        finally:
            self._looking[account.id] -= 1
            self._looking += Counter()  # forgets who waits for nothing

    def _sealed(self, id: str, secret: str) -> bytes:
        return self._seal.close(secret.encode(), id)


def tell(tx: Tx, happened: Happened) -> None:
    """Put the latest happening of an account on its way to all who want it, in the transaction that wrote it down."""
    webhooks = [] if happened.event == TEST else tx.find(Webhook, account=happened.account)
    wanting = [webhook for webhook in webhooks if webhook.is_active and wants(webhook.events, happened.event)]
    if wanting:
        [numbered] = tx.find(Happened, account=happened.account, newest=True, limit=1)
        for webhook in wanting:
            tx.insert(_delivery(webhook, numbered))


def _delivery(webhook: Webhook, happened: Happened) -> Delivery:
    return Delivery(
        id=f"{webhook.id}:{happened.seq}",
        webhook=webhook.id,
        event=happened.event,
        body=_body(happened),
        not_before=happened.at,
        created_at=happened.at,
    )


def _body(happened: Happened) -> bytes:
    """As it is documented, with the id and type that Standard Webhooks ask for."""
    body: dict[str, Any] = {
        "id": f"evt_{happened.seq}",
        "type": happened.event,
        "event": happened.event,
        "timestamp": instant(happened.at),
        "data": msgspec.Raw(happened.body),
    }
    return _encode(body)


def _delivery_of(reader: Reader, account: Account, id: str) -> Delivery:
    delivery = reader.get(Delivery, id)
    webhook = reader.get(Webhook, delivery.webhook) if delivery else None
    if delivery is None or webhook is None or webhook.account != account.id:
        raise NotFound("no such delivery", id=id)
    return delivery


def _check_quota(reader: Reader, account: Account) -> None:
    if reader.count(Webhook, account=account.id) >= MAX_WEBHOOKS:
        raise QuotaExceeded(f"an account may have {MAX_WEBHOOKS} webhooks", limit=MAX_WEBHOOKS)


def _secret(given: str | None) -> str:
    if given is None:
        return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
    if not MIN_SECRET <= len(given) <= MAX_SECRET:
        expected = f"{MIN_SECRET} to {MAX_SECRET} characters"
        raise InvalidParameters(f"secret must be {expected}", field="secret", value="***", expected=expected)
    return given
