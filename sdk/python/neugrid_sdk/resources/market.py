"""The market: who offers hardware now, and at what prices."""

from neugrid_sdk.effects import Program
from neugrid_sdk.paging import Listing
from neugrid_sdk.requests import get, quoted
from neugrid_sdk.resource import D, Resource, listing, operation
from neugrid_sdk.views.market import MarketStats, PriceTable, Provider


class Providers(Resource[D]):
    """Who offers hardware now."""

    @listing
    def list(
        self, *, gpu: bool | None = None, min_reputation: int = 0, region: str = "", limit: int = 100
    ) -> Listing[Provider]:
        """Providers with a live offer, each with its best one; reputation runs from 0 to 1000."""
        request = get("/v1/providers", gpu=gpu, minReputation=min_reputation, region=region, limit=limit)
        return Listing(request=request, plural="providers", shape=Provider)

    @operation
    def get(self, id: str) -> Program[Provider]:
        """One provider with all of its live offers, by its id or its chain address."""
        return self._ask(get(f"/v1/providers/{quoted(id)}"), Provider)


class Market(Resource[D]):
    """Prices and sizes."""

    @operation
    def prices(self) -> Program[PriceTable]:
        """What live offers ask, per hour in tokens."""
        return self._ask(get("/v1/market/prices"), PriceTable)

    @operation
    def stats(self) -> Program[MarketStats]:
        """How much market there is."""
        return self._ask(get("/v1/market/stats"), MarketStats)
