"""Ticks: what is repeated at fixed intervals and may be missed without harm. APScheduler, in memory."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from msgspec import Struct

from market.errors import NeugridError
from market.units import Amount
from node.actions.answers import ANSWER_KEPT
from node.actions.billing import Billing
from node.actions.book import Book
from node.actions.experience import Experiences
from node.actions.forgetting import forget
from node.actions.funding import Funding
from node.actions.happenings import News
from node.actions.log_keeping import LogKeeping
from node.actions.runner import Runner
from node.actions.series import Series
from node.actions.services import Hosting
from node.actions.stores import Stores
from node.actions.treasury import Treasury
from node.actions.wallets import Wallets
from node.engine import Engine
from node.ports import Network
from node.records import Answer

_log = structlog.get_logger("schedule")
REPAIR_WITHIN: Final = 50.0
Tick = Callable[[], Awaitable[Any]]


class Ticks(Struct, frozen=True, kw_only=True):
    """What the ticks work on; `claim_above` in base units, `is_provider` turns claiming on."""

    engine: Engine
    book: Book
    network: Network
    funding: Funding
    wallets: Wallets
    treasury: Treasury
    billing: Billing
    hosting: Hosting
    news: News
    experiences: Experiences
    stores: Stores
    series: Series
    logs: LogKeeping
    runner: Runner
    claim_above: Amount
    is_provider: bool


async def run(ticks: Ticks) -> None:
    """Tick until cancelled."""
    scheduler = AsyncIOScheduler(job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": 60})
    for tick, seconds in _plan(ticks):
        scheduler.add_job(_quietly, "interval", seconds=seconds, args=[tick])
    scheduler.start()
    try:
        await _quietly(ticks.stores.share_out)
        await _quietly(ticks.wallets.refresh_funds)
        await ticks.experiences.remember()
        await asyncio.Event().wait()
    finally:
        scheduler.shutdown(wait=False)


def _plan(ticks: Ticks) -> list[tuple[Tick, int]]:
    common: list[tuple[Tick, int]] = [
        (lambda: _sweep_book(ticks), 5),
        (lambda: _learn(ticks), 5),
        (ticks.runner.remember_languages, 5),
        (lambda: _repair_book(ticks), 60),
        (lambda: _forget_answers(ticks), 3600),
        (lambda: ticks.stores.sweep(ticks.engine.clock.now()), 600),
        (ticks.series.sweep, 600),
        (ticks.logs.sweep, 600),
        (ticks.runner.sweep, 600),
        (ticks.wallets.refresh_funds, 5),
        (ticks.wallets.finish_withdrawals, 10),
        (ticks.treasury.finish, 10),
        (ticks.hosting.stop_unpaid, 5),
        (ticks.hosting.settle_costs, 600),
        (ticks.billing.close_months, 3600),
        (ticks.news.sweep, 3600),
        (ticks.wallets.finish_exits, 60),
    ]
    return [*common, (lambda: _claim(ticks), 15)] if ticks.is_provider else common


async def _quietly(tick: Tick) -> None:
    try:
        await tick()
    except NeugridError as error:
        _log.info("tick failed", why=error.message, code=error.code)


async def _learn(ticks: Ticks) -> None:
    ticks.experiences.update()


async def _sweep_book(ticks: Ticks) -> None:
    ticks.book.sweep()


async def _repair_book(ticks: Ticks) -> None:
    """Compare books with one random neighbour: a lost message is only latency."""
    peers = await ticks.network.peers()
    if peers:
        with suppress(TimeoutError):
            async with asyncio.timeout(REPAIR_WITHIN):
                await ticks.book.repair(random.choice(peers).id)  # noqa: S311  which neighbour is no secret


async def _forget_answers(ticks: Ticks) -> None:
    """Answers to old Idempotency-Keys go."""
    await forget(ticks.engine.storage, Answer, created_until=ticks.engine.clock.now() - ANSWER_KEPT)


async def _claim(ticks: Ticks) -> None:
    """Claim when the sum is worth the gas; an armed exit is answered by the chain loop at once, and here again."""
    is_exiting = any(channel.exiting for channel in ticks.funding.unclaimed())
    if is_exiting or ticks.funding.unclaimed_amount() >= ticks.claim_above:
        await ticks.funding.claim_all()
