"""Random markets to try the order book with, of small variety so that ties and boundaries happen; and the oracle."""

from random import Random

from hypothesis import strategies as st

from market.book import FEW
from market.matching import Match, is_live, shortcomings
from market.offers import Offer
from market.orders import Order
from market.resources import GIB, Prices, Resources, price_of
from tests.builders import NOW, an_offer, an_order, constraints

PROVIDERS = tuple(f"0x{number:040x}" for number in range(12))
SCORES = {provider: 100 * number for number, provider in enumerate(PROVIDERS[:10])}
CROWD = {f"0x{number:040x}": 500 for number in range(100, 100 + 5 * FEW)} | SCORES
"""The same scores among so many others that the book does not look at each."""
MODELS = ("nvidia-a100", "NVIDIA A100-SXM4-80GB", "Tesla T4", "nvidia-t4")
randoms = st.integers(0, 2**32).map(Random)


def a_random_offer(random: Random, number: int, seq: int = 1) -> Offer:
    """Offer `number`; its provider goes with the number, so that it may be replaced."""
    gpus = random.choice((0, 0, 1, 2, 4))
    free = Resources(
        cpu=random.choice((0, 500, 1000, 1001, 4000, 8000, 64_000)),
        memory=random.choice((0, GIB - 1, GIB, 3 * GIB, 4 * GIB, 100 * GIB)),
        disk=random.choice((0, 10 * GIB, 1000 * GIB)),
        gpus=gpus,
        gpu_model=random.choice(MODELS) if gpus else "",
        vram=random.choice((16, 40, 80)) * GIB if gpus else 0,
    )
    issued = NOW - random.randint(0, 3)
    return an_offer(
        id=f"off_{number:06d}",
        provider=PROVIDERS[number % len(PROVIDERS)],
        seq=seq,
        free=free,
        total=free,
        prices=_prices(random),
        region=random.choice(("eu", "us", "local")),
        isolation=random.choice(("hardened", "gvisor")),
        issued_at=issued,
        expires_at=NOW + random.randint(0, 5) * 1000,
    )


def a_random_order(random: Random, number: int = 1) -> Order:
    gpus = random.choice((0, 0, 0, 1, 2))
    need = Resources(
        cpu=random.choice((100, 500, 1000, 1001, 8000)),
        memory=random.choice((0, GIB, 2 * GIB, 4 * GIB)),
        disk=random.choice((0, 0, 10 * GIB)),
        gpus=gpus,
        gpu_model=random.choice(("", *MODELS)),
        vram=random.choice((0, 16 * GIB, 41 * GIB)),
    )
    return an_order(
        id=f"ord_{number:06d}",
        resources=need,
        constraints=constraints(
            region=random.choice(("", "", "eu", "mars")),
            isolation=random.choice(("", "", "gvisor")),
            min_reputation=random.choice((0, 0, 300, 900)),
            avoid=tuple(random.sample(PROVIDERS, random.choice((0, 0, 2)))),
        ),
        max_rate=random.choice((0, 2 * 10**9, 10**10, 2**60)),
        issued_at=NOW - random.randint(0, 3),
        expires_at=NOW + random.randint(0, 5) * 1000,
    )


def best_of(offers: list[Offer], order: Order, now: int, limit: int) -> list[Match]:
    """What a match must be, by looking at every offer: the oracle."""
    matches = [
        Match(offer, price_of(order.resources, offer.prices))
        for offer in offers
        if is_live(offer, now) and not shortcomings(order, offer, SCORES)
    ]
    matches.sort(key=lambda m: (m.rate, -SCORES.get(m.offer.provider, 0), m.offer.issued_at, m.offer.id))
    return matches[:limit]


def _prices(random: Random) -> Prices:
    cpu, memory, disk, gpu = (random.choice((0, 1, 10**9, 10**9 + 1, 3 * 10**9)) for _ in range(4))
    return Prices(cpu=cpu, memory=memory, disk=disk, gpu=gpu)
