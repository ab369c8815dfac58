"""Deliveries to webhooks: what is due is posted, what fails is tried later, and who never answers is left alone."""

import asyncio
from functools import partial
from typing import Final

import structlog
from msgspec.structs import replace

from market.errors import NeugridError
from market.units import Timestamp
from market.webhooks import delay_after, sign
from node.actions.forgetting import forget
from node.engine import Engine
from node.loops.turns import Turns, Waiting, due_of
from node.ports import Posts, Seal, Tx
from node.records import Delivery, Webhook
from node.version import VERSION

_log = structlog.get_logger("webhooks")
TICK: Final = 1.0
SLOW: Final = 2_000
"""Ms after which an answer counts as slow."""
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
        self._turns = Turns()
        self._line: list[Waiting] = []
        """What was due when it was last looked, and has not begun."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Carry what is due until cancelled."""
        swept = 0
        try:
            while True:
                await self.carry()
                if self._engine.clock.now() - swept > 3_600_000:
                    swept = self._engine.clock.now()
                    await self.sweep()
                await asyncio.sleep(TICK)
        finally:
            await self._close()

    async def carry(self) -> None:
        """Begin with what is due and has its turn; what waits begins when others have ended."""
        now = self._engine.clock.now()
        if not self._storage.count(Delivery, state="pending", not_before_until=now):
            self._line = []
            return
        # a long backlog takes some 30 ms to read: the writer's thread has them, the loop does not
        self._line = await self._storage.write(lambda tx: due_of(tx, now))
        self._begin()

    async def carried(self) -> None:
        """Until nothing is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)
            await asyncio.sleep(0)

    async def _close(self) -> None:
        self._line = []
        for task in self._tasks:
            task.cancel()
        await self.carried()

    def _begin(self) -> None:
        line, self._line = self._line, []
        for waiting in line:
            if not self._turns.begin(waiting):
                self._line.append(waiting)
                continue
            task = asyncio.create_task(self._try(waiting))
            self._tasks.add(task)
            task.add_done_callback(partial(self._end, waiting))

    def _end(self, waiting: Waiting, task: "asyncio.Task[None]") -> None:
        """A place is free. What failed without a note of it is read again, as it lies in the database."""
        self._tasks.discard(task)
        self._turns.end(waiting)
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            _log.error("a delivery could not be carried", delivery=waiting.id, exc_info=error)
        self._begin()

    async def sweep(self) -> None:
        """Forget what was delivered, or given up, long ago."""
        await forget(self._storage, Delivery, created_until=self._engine.clock.now() - KEPT)

    async def _try(self, waiting: Waiting) -> None:
        """Post it, and keep what came of it; it may have changed while it waited."""
        delivery, webhook = self._storage.get(Delivery, waiting.id), self._storage.get(Webhook, waiting.webhook)
        if delivery is None or not self._is_due(delivery):
            return
        if webhook is None or not webhook.is_active:
            await self._storage.write(lambda tx: _drop(tx, delivery))
            return
        status, word, began = 0, "", self._engine.clock.now()
        try:
            status = await self._posts.post(webhook.url, self._headers(webhook, delivery), delivery.body)
        except NeugridError as error:
            word = error.message[:128]
        self._turns.note(webhook.id, is_slow=not status or self._engine.clock.now() - began > SLOW)
        await self._storage.write(lambda tx: self._note(tx, delivery.id, status, word))

    def _is_due(self, delivery: Delivery) -> bool:
        return delivery.state == "pending" and delivery.not_before <= self._engine.clock.now()

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
