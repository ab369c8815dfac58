"""Summaries: prices and totals over what is live."""

from market.summaries import Amounts, PriceRange, price_ranges, totals
from market.units import GIB, Rate
from tests.builders import NOW, a_gpu_offer, an_address, an_offer, an_order, prices, resources

CHEAP = an_offer(id="off_000001", prices=prices(cpu=10, memory=1))
DEAR = an_offer(id="off_000002", prices=prices(cpu=25, memory=4))
GPU = a_gpu_offer(id="off_000003", prices=prices(cpu=13, memory=1, gpu=700))
GONE = an_offer(id="off_000004", prices=prices(cpu=1, memory=1), expires_at=NOW)


def test_prices_are_least_mean_and_greatest_of_the_live_offers() -> None:
    found = price_ranges([CHEAP, DEAR, GPU, GONE], NOW)
    assert found.cpu == PriceRange(min=Rate(10), avg=Rate(16), max=Rate(25))
    assert found.memory == PriceRange(min=Rate(1), avg=Rate(2), max=Rate(4))


def test_gpu_prices_are_by_model_and_only_of_machines_that_have_them() -> None:
    same = PriceRange(min=Rate(700), avg=Rate(700), max=Rate(700))
    assert price_ranges([CHEAP, GPU], NOW).gpu == {"nvidia-a100": same}


def test_gpus_of_one_model_are_summed_under_one_name_whatever_their_drivers_say() -> None:
    names = ("NVIDIA A100-SXM4-80GB", "NVIDIA A100 80GB PCIe", "nvidia-a100")
    offers = [
        a_gpu_offer(id=f"off_00000{n}", total=machine, free=machine, prices=prices(gpu=700 + n))
        for n, machine in enumerate(resources(gpus=1, gpu_model=name) for name in names)
    ]
    assert price_ranges(offers, NOW).gpu == {"nvidia-a100": PriceRange(min=Rate(700), avg=Rate(701), max=Rate(702))}
    assert totals(offers, [], NOW).total.gpus == {"nvidia-a100": 3}


def test_where_nothing_is_offered_there_is_no_price() -> None:
    found = price_ranges([GONE], NOW)
    assert (found.cpu, found.memory, found.gpu) == (None, None, {})


def test_totals_count_what_is_live() -> None:
    busy = a_gpu_offer(
        id="off_000005", provider=an_address(5), region="eu", free=resources(gpus=1, gpu_model="nvidia-a100")
    )
    found = totals([CHEAP, DEAR, GONE, busy], [an_order(), an_order(expires_at=NOW)], NOW)
    assert (found.offers, found.providers, found.orders) == (3, 2, 1)
    assert found.regions == {"eu": 1, "local": 2}
    assert found.total == Amounts(cpu=48_000, memory=320 * GIB, disk=700 * GIB, gpus={"nvidia-a100": 4})
    assert found.free == Amounts(cpu=17_000, memory=65 * GIB, disk=200 * GIB, gpus={"nvidia-a100": 1})
