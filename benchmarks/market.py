"""The market's own figures: one match in a book of 100,000 offers, changes of that book, and signed orders per second.

CPU time is counted, for none of this waits for anything; so a busy machine does not disturb the figures.
"""

from collections.abc import Callable
from functools import partial
from random import Random
from statistics import median
from time import process_time
from typing import Final

import msgspec
from coincurve import PublicKey

from benchmarks.goals import Taken
from market.book import OrderBook
from market.messages import open_envelope, payload_of
from market.offers import Offer
from market.orders import Order
from market.resources import GIB, Prices, Resources
from market.signing import keccak
from tests.builders import NETWORK, NOW, a_message, a_signer, an_offer, an_order, constraints

OFFERS: Final = 100_000
MATCHES: Final = 2_000
PROVIDERS: Final = 20_000
REGIONS: Final = ("eu-west", "eu-east", "us-west", "us-east", "asia", "africa", "oceania", "latin")
GPUS: Final = {"nvidia-a100": 80, "nvidia-h100": 80, "nvidia-4090": 24, "nvidia-l4": 24, "nvidia-t4": 16}
"""Models and their GiB of memory."""


def measure() -> list[Taken]:
    """Verified orders over bare recoveries, and the p99 of a match in ms."""
    return [Taken(orders_per_second_ratio()), Taken(match_p99_ms())]


def match_p99_ms(offers: int = OFFERS) -> float:
    """The 99th percentile of one match in ms, over random orders in a book of random offers; goal: at most 1."""
    random = Random(1)
    book = a_book(offers, random)
    scores = {_provider(number): random.randint(0, 1000) for number in range(PROVIDERS)}
    orders = [a_random_order(random) for _ in range(MATCHES)]
    times = [_timed(partial(book.match, order, NOW, scores)) for order in orders]
    return 1000 * sorted(times)[len(times) * 99 // 100]


def changes_per_second(offers: int = OFFERS) -> float:
    """Offers put into an empty book per second."""
    made = [a_random_offer(Random(number), number) for number in range(offers)]
    book = OrderBook()
    return offers / _timed(lambda: [book.put_offer(offer) for offer in made])


def orders_per_second_ratio(orders: int = 1_000, rounds: int = 31) -> float:
    """Signed orders decoded and verified per second, over bare recoveries of keys by coincurve; goal: at least 0.8.

    The median over pairs of rounds, one right after the other, so that both see the same machine.
    """
    decoder = msgspec.json.Decoder(Order)
    messages = [a_message(an_order(id=f"ord_{number:06d}"), signer=a_signer(2), seq=number) for number in range(orders)]
    bare = [(keccak(b"neugrid message v1\n" + data[:-65]), data[-65:-1] + bytes([data[-1] - 27])) for data in messages]

    def ours() -> None:
        for data in messages:
            payload_of(open_envelope(data, NETWORK, NOW), decoder)

    def theirs() -> None:
        for digest, signature in bare:
            PublicKey.from_signature_and_message(signature, digest, hasher=None)

    return median(_timed(theirs) / _timed(ours) for _ in range(rounds))


def a_book(offers: int, random: Random) -> OrderBook:
    book = OrderBook()
    for number in range(offers):
        book.put_offer(a_random_offer(random, number))
    return book


def a_random_offer(random: Random, number: int) -> Offer:
    """A machine of 1 to 128 cores, partly taken, three in ten with GPUs; cheap and dear by log-normal factors."""
    cores, level = 2 ** random.randint(0, 7), random.lognormvariate(0, 0.5)
    gpus = random.randint(0, 8) if random.random() < 0.3 else 0
    model, vram = random.choice(list(GPUS.items())) if gpus else ("", 0)
    free = Resources(
        cpu=random.randint(0, cores * 10) * 100,
        memory=int(cores * random.choice((1, 2, 4, 8)) * random.random()) * GIB,
        disk=int(2 ** random.uniform(3, 12)) * GIB,
        gpus=gpus,
        gpu_model=model,
        vram=vram * GIB,
    )
    return an_offer(
        id=f"off_{number:08d}",
        provider=_provider(random.randrange(PROVIDERS)),
        total=free,
        free=free,
        prices=Prices(**{name: int(usual * level * random.lognormvariate(0, 0.2)) for name, usual in _USUAL.items()}),
        region=random.choice(REGIONS),
        isolation=random.choice(("hardened", "gvisor", "kata")),
        issued_at=NOW - random.randint(0, 600_000),
    )


def a_random_order(random: Random) -> Order:
    """A quarter core to 64 cores, some with GPUs, some with constraints, some with a tight cap."""
    cores = 2 ** random.uniform(-2, 6)
    gpus = random.randint(1, 4) if random.random() < 0.3 else 0
    need = Resources(
        cpu=int(cores * 1000),
        memory=int(cores * random.choice((1, 2, 4)) * GIB),
        disk=random.choice((0, 10, 100)) * GIB,
        gpus=gpus,
        gpu_model=random.choice(("", *GPUS)) if gpus else "",
        vram=random.choice((0, 16, 24)) * GIB if gpus else 0,
    )
    return an_order(
        resources=need,
        constraints=constraints(
            region=random.choice(("", *REGIONS)) if random.random() < 0.5 else "",
            isolation=random.choice(("", "", "hardened", "gvisor")),
            min_reputation=random.choice((0, 0, 0, random.randint(0, 900))),
        ),
        max_rate=random.choice((2**60, int(cores * 10**10))),
    )


_USUAL: Final = {"cpu": 10**10, "memory": 10**9, "disk": 10**7, "gpu": 10**12}


def _provider(number: int) -> str:
    return f"0x{number:040x}"


def _timed(work: Callable[[], object]) -> float:
    start = process_time()
    work()
    return process_time() - start
