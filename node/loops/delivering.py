"""Deliveries to webhooks: what is due is posted, what fails is tried later, and who never answers is left alone."""

import asyncio
from typing import Final

import structlog
from msgspec.structs import replace

from market.errors import NeugridError
from market.units import Timestamp
from market.webhooks import delay_after, sign
from node.actions.forgetting import forget
from node.engine import Engine
from node.ports import Posts, Seal, Tx
from node.records import Delivery, Webhook
from node.version import VERSION

_log = structlog.get_logger("webhooks")
TICK: Final = 1.0
AT_ONCE: Final = 16
GIVEN_UP: Final = 5
"""Deliveries in a row that nobody took, after which a webhook is not told any more."""
GONE: Final = 410
ANSWERS: Final = 8
KEPT: Final = 30 * 86_400_000


class Courier:
    """Carries deliveries."""

    def __init__(self, engine: Engine, posts: Posts, seal: Seal) -> None:
        self._engine = engine
        self._storage = engine.storage
        self._posts = posts
        self._seal = seal

    async def run(self) -> None:
        """Carry what is due until cancelled."""
        swept = 0
        while True:
            await self.carry()
            if self._engine.clock.now() - swept > 3_600_000:
                swept = self._engine.clock.now()
                await self.sweep()
            await asyncio.sleep(TICK)

    async def carry(self) -> None:
        """Post everything that is due, so many at a time."""
        due = self._storage.find(Delivery, state="pending", not_before_until=self._engine.clock.now(), limit=AT_ONCE)
        await asyncio.gather(*(self._try(delivery) for delivery in due))

    async def sweep(self) -> None:
        """Forget what was delivered, or given up, long ago."""
        await forget(self._storage, Delivery, created_until=self._engine.clock.now() - KEPT)

    async def _try(self, delivery: Delivery) -> None:
        webhook = self._storage.get(Webhook, delivery.webhook)
        if webhook is None or not webhook.is_active:
            await self._storage.write(lambda tx: _drop(tx, delivery))
            return
        status, word = 0, ""
        try:
            status = await self._posts.post(webhook.url, self._headers(webhook, delivery), delivery.body)
        except NeugridError as error:
            word = error.message[:128]
        await self._storage.write(lambda tx: self._note(tx, delivery.id, status, word))

    def _headers(self, webhook: Webhook, delivery: Delivery) -> dict[str, str]:
        now = self._engine.clock.now()
        sealed = [webhook.secret, *([webhook.old_secret] if now < webhook.old_until else [])]
        secrets = [self._seal.open(each, webhook.id).decode() for each in sealed]
        return {
            "Content-Type": "application/json",
            "User-Agent": f"Neugrid/{VERSION}",
            "webhook-id": delivery.id.replace(":", "_"),
            "webhook-timestamp": str(now // 1000),
            "webhook-signature": sign(secrets, delivery.id.replace(":", "_"), now // 1000, delivery.body),
        }

    def _note(self, tx: Tx, id: str, status: int, word: str) -> None:
        """Keep what came of a try; the third answer to the question whether it goes on is the webhook's."""
        delivery = tx.get(Delivery, id)
        webhook = tx.get(Webhook, delivery.webhook) if delivery else None
        if delivery is None or webhook is None or delivery.state != "pending":
            return
        now = self._engine.clock.now()
        answers = (*delivery.answers, (now, status, word))[-ANSWERS:]
        tried = replace(delivery, attempts=delivery.attempts + 1, answers=answers)
        if 200 <= status < 300:
            tx.put(replace(tried, state="delivered"))
            tx.put(replace(webhook, failures=0))
            return
        delay = None if status == GONE else delay_after(tried.attempts)
        if delay is not None:
            tx.put(replace(tried, not_before=Timestamp(now + delay * 1000)))
            return
        tx.put(replace(tried, state="failed"))
        failures = webhook.failures + 1
        is_active = failures < GIVEN_UP and status != GONE
        if not is_active:
            _log.warning("webhook is not told any more", webhook=webhook.id, account=webhook.account, status=status)
        tx.put(replace(webhook, failures=failures, is_active=is_active))


def _drop(tx: Tx, delivery: Delivery) -> None:
    """Nobody is there who wants it any more."""
    if tx.get(Delivery, delivery.id) is not None:
        tx.put(replace(delivery, state="failed"))
