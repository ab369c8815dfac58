"""What was used and what it cost."""

from neugrid_sdk.effects import Program
from neugrid_sdk.paging import Listing
from neugrid_sdk.requests import get, quoted
from neugrid_sdk.resource import D, Resource, listing, operation
from neugrid_sdk.views.billing import Invoice, Usage


class Billing(Resource[D]):
    """Your use of the node; what you have is `wallet.balance()`."""

    @operation
    def usage(self, period: str = "current") -> Program[Usage]:
        """A month: `current`, `last_month`, or one such as "2026-11"."""
        return self._ask(get("/v1/billing/usage", period=period), Usage)

    @listing
    def invoices(self, *, limit: int = 100) -> Listing[Invoice]:
        """Months that are over and in which you used something, newest first, `limit` a page."""
        return Listing(request=get("/v1/billing/invoices", limit=limit), plural="invoices", shape=Invoice)

    @operation
    def invoice(self, id: str) -> Program[Invoice]:
        """One invoice."""
        return self._ask(get(f"/v1/billing/invoices/{quoted(id)}"), Invoice)
