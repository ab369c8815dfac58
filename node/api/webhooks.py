"""Routes of webhooks: where you are told of what happens. Names are in snake case here."""

from typing import Annotated, Final

from litestar import Response, delete, get, patch, post, put
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from node.actions.webhooks import Wishes
from node.api.auth import SECURITY, manages, signed_in
from node.api.errors import problems
from node.api.merging import place_of
from node.api.present import iso, iso_or_none
from node.api.replies import Page, cut_ahead, listing, page_of_hundred, pagination_of, place_in, reply
from node.api.services import Call
from node.api.submissions import Body
from node.api.views import Deleted, Pagination
from node.records import Delivery, Webhook

TAGS: Final = ["Webhooks"]
READ: Final = "read"
"""What is told at an address is told to whoever chose it, so that he must be allowed to read it."""
Url = Annotated[str, Meta(min_length=1, max_length=2048)]
Events = Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=64)]


class NewWebhook(Body, frozen=True, kw_only=True):
    """An https address, and what it is told: names such as "agent.created", "job.*", or nothing for everything.

    Without a `secret` one is made; every delivery is signed with it as Standard Webhooks have it.
    """

    url: Url
    events: Events = ()
    secret: Annotated[str, Meta(min_length=1, max_length=256)] | None = None


class WebhookChanges(Body, frozen=True, kw_only=True):
    """What shall be different; what is not named stays."""

    url: Url | None = None
    events: Events | None = None
    is_active: bool | None = None


class WebhookView(Struct, frozen=True, kw_only=True):
    """A webhook; `secret` is shown once, when it is made or rotated."""

    id: str
    url: str
    events: tuple[str, ...]
    status: str
    failures: int
    secret: str | None = None
    created_at: str
    updated_at: str


class WebhookList(Struct, frozen=True, kw_only=True):
    """A page of your webhooks, oldest first."""

    webhooks: tuple[WebhookView, ...]
    total: int
    limit: int
    offset: int
    has_more: bool
    pagination: Pagination


class TryView(Struct, frozen=True, kw_only=True):
    """One try: the status of the answer, null when there was none and `problem` says why."""

    at: str
    status: int | None
    problem: str | None


class DeliveryView(Struct, frozen=True, kw_only=True):
    """One event on its way: status pending, delivered or failed."""

    id: str
    event: str
    status: str
    attempts: int
    next_attempt_at: str | None
    tries: tuple[TryView, ...]
    created_at: str


class DeliveryList(Struct, frozen=True, kw_only=True):
    """A page of deliveries, newest first."""

    deliveries: tuple[DeliveryView, ...]
    total: int
    limit: int
    offset: int
    has_more: bool
    pagination: Pagination


@get(
    "/webhooks",
    guards=[signed_in],
    tags=TAGS,
    security=SECURITY,
    responses=problems(),
    dependencies={"wanted": Provide(page_of_hundred, sync_to_thread=False)},
)
async def list_webhooks(request: Call, wanted: NamedDependency[Page]) -> Response[WebhookList]:
    """Your webhooks, oldest first."""
    shown, totals = listing(request.services.webhooks.list(request.account), wanted, place_of)
    return reply(WebhookList(webhooks=tuple(map(_view, shown)), **totals))


@post("/webhooks", guards=[manages], tags=TAGS, security=SECURITY, responses=problems())
async def create_webhook(request: Call, data: JSONBody[NewWebhook]) -> Response[WebhookView]:
    """Be told of events at an address; the answer is the only place that shows the secret."""
    request.caller.must(READ)
    made, secret = await request.services.webhooks.create(request.account, data.url, data.events, data.secret)
    headers = {"Location": f"/v1/webhooks/{made.id}", "Cache-Control": "no-store"}
    return reply(_view(made, secret), 201, headers)


@get("/webhooks/{webhook_id:str}", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems(404))
async def show_webhook(request: Call, webhook_id: FromPath[str]) -> Response[WebhookView]:
    """One webhook."""
    return reply(_view(request.services.webhooks.get(request.account, webhook_id)))


@put("/webhooks/{webhook_id:str}", guards=[manages], tags=TAGS, security=SECURITY, responses=problems(404))
async def replace_webhook(
    request: Call, webhook_id: FromPath[str], data: JSONBody[WebhookChanges]
) -> Response[WebhookView]:
    """Change what the body names; the rest stays."""
    return await _change(request, webhook_id, data)


@patch("/webhooks/{webhook_id:str}", guards=[manages], tags=TAGS, security=SECURITY, responses=problems(404))
async def update_webhook(
    request: Call, webhook_id: FromPath[str], data: JSONBody[WebhookChanges]
) -> Response[WebhookView]:
    """Change what the body names; the rest stays."""
    return await _change(request, webhook_id, data)


@delete(
    "/webhooks/{webhook_id:str}",
    guards=[manages],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses=problems(404),
)
async def delete_webhook(request: Call, webhook_id: FromPath[str]) -> Response[Deleted]:
    """Be told there no more; what was on its way goes too."""
    await request.services.webhooks.delete(request.account, webhook_id)
    return reply(Deleted(message="Webhook deleted", id=webhook_id))


@post(
    "/webhooks/{webhook_id:str}/test",
    guards=[manages],
    tags=TAGS,
    security=SECURITY,
    status_code=202,
    responses=problems(404),
)
async def test_webhook(request: Call, webhook_id: FromPath[str]) -> Response[DeliveryView]:
    """Send it the event `webhook.test` now."""
    return reply(_delivery(await request.services.webhooks.test(request.account, webhook_id)), 202)


@post(
    "/webhooks/{webhook_id:str}/rotate",
    guards=[manages],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses=problems(404),
)
async def rotate_webhook(request: Call, webhook_id: FromPath[str]) -> Response[WebhookView]:
    """A new secret; for a day the one before signs beside it."""
    made, secret = await request.services.webhooks.rotate(request.account, webhook_id)
    return reply(_view(made, secret), 200, {"Cache-Control": "no-store"})


@get(
    "/webhooks/{webhook_id:str}/deliveries",
    guards=[signed_in],
    tags=TAGS,
    security=SECURITY,
    responses=problems(404),
    dependencies={"wanted": Provide(page_of_hundred, sync_to_thread=False)},
)
async def list_deliveries(
    request: Call, webhook_id: FromPath[str], wanted: NamedDependency[Page]
) -> Response[DeliveryList]:
    """What it was told, or is to be told, newest first; kept for thirty days."""
    after = place_in(wanted.cursor) if wanted.cursor else None
    found, total = request.services.webhooks.deliveries(
        request.account, webhook_id, limit=wanted.limit + 1, after=after, offset=wanted.start
    )
    shown, following = cut_ahead(found, wanted)
    view = DeliveryList(
        deliveries=tuple(map(_delivery, shown)),
        total=total,
        limit=wanted.limit,
        offset=wanted.start,
        has_more=following is not None,
        pagination=pagination_of(wanted, total, len(shown), following),
    )
    return reply(view)


@post(
    "/webhooks/deliveries/{delivery_id:str}/retry",
    guards=[manages],
    tags=TAGS,
    security=SECURITY,
    status_code=202,
    responses=problems(404),
)
async def retry_delivery(request: Call, delivery_id: FromPath[str]) -> Response[DeliveryView]:
    """Try a delivery once more, from the beginning."""
    return reply(_delivery(await request.services.webhooks.retry(request.account, delivery_id)), 202)


async def _change(request: Call, id: str, data: WebhookChanges) -> Response[WebhookView]:
    request.caller.must(READ)
    wishes = Wishes(url=data.url, events=data.events, is_active=data.is_active)
    return reply(_view(await request.services.webhooks.update(request.account, id, wishes)))


def _view(webhook: Webhook, secret: str | None = None) -> WebhookView:
    return WebhookView(
        id=webhook.id,
        url=webhook.url,
        events=webhook.events,
        status="active" if webhook.is_active else "disabled",
        failures=webhook.failures,
        secret=secret,
        created_at=iso(webhook.created_at),
        updated_at=iso(webhook.updated_at or webhook.created_at),
    )


def _delivery(delivery: Delivery) -> DeliveryView:
    return DeliveryView(
        id=delivery.id,
        event=delivery.event,
        status=delivery.state,
        attempts=delivery.attempts,
        next_attempt_at=iso_or_none(delivery.not_before) if delivery.state == "pending" else None,
        tries=tuple(
            TryView(at=iso(at), status=status or None, problem=word or None) for at, status, word in delivery.answers
        ),
        created_at=iso(delivery.created_at),
    )
