"""Where you are told of what happens, and how that went."""

from collections.abc import Sequence
from typing import Unpack

from neugrid_sdk.bodies import WebhookChanges
from neugrid_sdk.effects import Program
from neugrid_sdk.paging import Listing
from neugrid_sdk.requests import delete, get, patch, post, quoted
from neugrid_sdk.resource import D, Resource, listing, operation
from neugrid_sdk.views.view import Deleted
from neugrid_sdk.views.webhooks import Delivery, NewWebhook, Webhook


class Webhooks(Resource[D]):
    """Your webhooks; deliveries are signed as Standard Webhooks have it."""

    @listing
    def list(self) -> Listing[Webhook]:
        """Your webhooks, without their secrets."""
        return Listing(request=get("/v1/webhooks"), plural="webhooks", shape=Webhook)

    @operation
    def create(self, url: str, events: Sequence[str] = (), *, secret: str | None = None) -> Program[NewWebhook]:
        """Be told of these events (() = all; "job.*" is a family) at an https address; `secret` is told once.

        Without a secret the node makes one.
        """
        body = {"url": url, "events": events, **({"secret": secret} if secret is not None else {})}
        return self._ask(post("/v1/webhooks", body), NewWebhook)

    @operation
    def get(self, id: str) -> Program[Webhook]:
        """One webhook."""
        return self._ask(get(f"/v1/webhooks/{quoted(id)}"), Webhook)

    @operation
    def update(self, id: str, **changes: Unpack[WebhookChanges]) -> Program[Webhook]:
        """Change what is named; one that is active again begins without failures."""
        return self._ask(patch(f"/v1/webhooks/{quoted(id)}", changes), Webhook)

    @operation
    def delete(self, id: str) -> Program[Deleted]:
        """Be told there no more; what was on its way goes too."""
        return self._ask(delete(f"/v1/webhooks/{quoted(id)}"), Deleted)

    @operation
    def test(self, id: str) -> Program[Delivery]:
        """Send it the event `webhook.test` now."""
        return self._ask(post(f"/v1/webhooks/{quoted(id)}/test"), Delivery)

    @operation
    def rotate(self, id: str) -> Program[NewWebhook]:
        """A new secret, told once; for a day the one before signs beside it."""
        return self._ask(post(f"/v1/webhooks/{quoted(id)}/rotate"), NewWebhook)

    @listing
    def deliveries(self, id: str, *, limit: int = 100) -> Listing[Delivery]:
        """What it was told, or is to be told, newest first, `limit` a page."""
        return Listing(
            request=get(f"/v1/webhooks/{quoted(id)}/deliveries", limit=limit), plural="deliveries", shape=Delivery
        )

    @operation
    def retry(self, delivery: str) -> Program[Delivery]:
        """Try a delivery once more, from the beginning."""
        return self._ask(post(f"/v1/webhooks/deliveries/{quoted(delivery)}/retry"), Delivery)
