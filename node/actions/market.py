"""What the market looks like from here: providers, prices, counts."""

from market.errors import NotFound
from market.offers import Offer
from market.orders import Order
from market.resources import price_of
from market.summaries import MarketPrices, MarketStats
from node.actions.book import Book
from node.ports import Clock


class Market:
    """Questions to the local book."""

    def __init__(self, book: Book, clock: Clock) -> None:
        self._book = book
        self._clock = clock

    def providers(
        self, *, gpu: bool | None = None, min_reputation: int = 0, region: str = ""
    ) -> list[tuple[Offer, int]]:
        """The cheapest live offer of each provider that fits the filters, with its score 0..1000; best score first."""
        scores, best = self._book.scores(), dict[str, Offer]()
        for offer in self._live():
            fits = (gpu is None or bool(offer.total.gpus) is gpu) and region in ("", offer.region)
            if fits and scores.get(offer.provider, 0) >= min_reputation:
                best[offer.provider] = min(best.get(offer.provider, offer), offer, key=_asked)
        found = [(offer, scores.get(address, 0)) for address, offer in best.items()]
        return sorted(found, key=rank)

    def provider(self, address: str) -> tuple[list[Offer], int]:
        """All live offers of one provider and its score; NotFound when it offers nothing."""
        offers = [offer for offer in self._live() if offer.provider == address]
        if not offers:
            raise NotFound("no such provider", id=address)
        return offers, self._book.scores().get(address, 0)

    def prices(self) -> MarketPrices:
        """What live offers ask."""
        return self._book.book.prices(self._clock.now())

    def stats(self) -> MarketStats:
        """How much is offered and wanted."""
        return self._book.book.stats(self._clock.now())

    def orders(self) -> list[Order]:
        """The demands that rest in the book, oldest first."""
        now = self._clock.now()
        found = (order for order in self._book.book.orders() if now < order.expires_at)
        return sorted(found, key=demand_place)

    def asks(self) -> list[Offer]:
        """The live offers, cheapest core first."""
        return sorted(self._live(), key=price_place)

    def _live(self) -> list[Offer]:
        now = self._clock.now()
        return [offer for offer in self._book.book.offers() if offer.issued_at - 5_000 <= now < offer.expires_at]


def rank(found: tuple[Offer, int]) -> tuple[int, int, str]:
    """Where a provider stands, by its cheapest offer and its score."""
    offer, score = found
    return -score, _asked(offer), offer.provider


def price_place(ask: Offer) -> tuple[int, str]:
    """Where an ask stands in the book."""
    return ask.prices.cpu, ask.id


def demand_place(order: Order) -> tuple[int, str]:
    """Where a demand stands in the book."""
    return order.issued_at, order.id


def _asked(offer: Offer) -> int:
    return price_of(offer.total, offer.prices)
