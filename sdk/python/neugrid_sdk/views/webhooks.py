"""Webhooks, and what is on its way to them."""

from datetime import datetime
from typing import Any

from neugrid_sdk.views.view import SnakeView


class Webhook(SnakeView, frozen=True, kw_only=True):
    """An address that is told of `events` (() = all); `status` is active or disabled."""

    id: str
    url: str
    events: tuple[str, ...]
    status: str
    failures: int
    created_at: datetime
    updated_at: datetime


class NewWebhook(Webhook, frozen=True, kw_only=True):
    """A webhook with its new secret, which is never shown again, not even in this value's repr."""

    secret: str

    def __repr__(self) -> str:
        return f"NewWebhook(id={self.id!r}, url={self.url!r}, secret='***')"


class Try(SnakeView, frozen=True, kw_only=True):
    """One try: the status of the answer, None when there was none and `problem` says why."""

    at: datetime
    status: int | None
    problem: str | None


class Delivery(SnakeView, frozen=True, kw_only=True):
    """One event on its way: `status` is pending, delivered or failed."""

    id: str
    event: str
    status: str
    attempts: int
    next_attempt_at: datetime | None
    tries: tuple[Try, ...]
    created_at: datetime


class Event(SnakeView, frozen=True, kw_only=True):
    """What a delivery tells: `event` such as "job.succeeded", and the `id` by which a repeat is known."""

    id: str
    event: str
    timestamp: datetime
    data: dict[str, Any]
