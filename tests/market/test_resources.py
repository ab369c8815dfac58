"""Resources: what fits, what it costs, what is left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.resources import GIB, Prices, Resources, minus, misfits, price_of
from tests.builders import prices, resources

amounts = st.builds(
    Resources,
    cpu=st.integers(0, 64_000),
    memory=st.integers(0, 2**40),
    disk=st.integers(0, 2**44),
    gpus=st.integers(0, 8),
    gpu_model=st.sampled_from(["", "nvidia-a100"]),
    vram=st.integers(0, 2**37),
)
price_lists = st.builds(Prices, **{name: st.integers(0, 2**60) for name in ("cpu", "memory", "disk", "gpu")})


def test_what_is_exactly_as_large_fits() -> None:
    need = resources(gpus=1, gpu_model="nvidia-a100", vram=GIB)
    assert misfits(need, need) == ()


@pytest.mark.parametrize("name", ["cpu", "memory", "disk", "gpus"])
def test_one_more_than_there_is_does_not_fit(name: str) -> None:
    have = resources(disk=GIB, gpus=1)
    need = resources(**{name: getattr(have, name) + 1})
    assert misfits(need, have) == (name,)


def test_gpu_model_and_vram_count_only_where_gpus_are_needed() -> None:
    assert misfits(resources(gpu_model="nvidia-a100", vram=80 * GIB), resources()) == ()
    need = resources(gpus=1, gpu_model="nvidia-a100", vram=80 * GIB)
    assert misfits(need, resources(gpus=1, gpu_model="nvidia-t4", vram=16 * GIB)) == ("gpu_model", "vram")


def test_a_need_without_model_takes_any() -> None:
    assert misfits(resources(gpus=1), resources(gpus=1, gpu_model="nvidia-t4")) == ()


@pytest.mark.parametrize("name", ["A100", "nvidia-a100", "NVIDIA A100 80GB PCIe", "NVIDIA A100-SXM4-80GB"])
def test_a_model_fits_under_every_name_that_it_has(name: str) -> None:
    have = resources(gpus=1, gpu_model="NVIDIA A100-SXM4-80GB")
    assert misfits(resources(gpus=1, gpu_model=name), have) == ()
    assert misfits(resources(gpus=1, gpu_model=name), resources(gpus=1, gpu_model="NVIDIA A10")) == ("gpu_model",)


def test_the_price_is_the_sum_over_cores_gibibytes_and_gpus() -> None:
    need = resources(cpu=1500, memory=2 * GIB, disk=10 * GIB, gpus=2)
    assert price_of(need, prices(cpu=100, memory=10, disk=1, gpu=1000)) == 150 + 20 + 10 + 2000


def test_the_price_is_rounded_up_once() -> None:
    assert price_of(resources(cpu=1, memory=1), prices(cpu=1, memory=1)) == 1


@given(amounts, amounts, price_lists)
def test_a_larger_need_never_costs_less(need: Resources, more: Resources, asked: Prices) -> None:
    both = resources(
        cpu=need.cpu + more.cpu,
        memory=need.memory + more.memory,
        disk=need.disk + more.disk,
        gpus=need.gpus + more.gpus,
    )
    assert price_of(need, asked) <= price_of(both, asked) <= price_of(need, asked) + price_of(more, asked)


@given(amounts, amounts)
def test_what_is_left_is_never_negative_and_fits_into_what_was(have: Resources, taken: Resources) -> None:
    left = minus(have, taken)
    assert misfits(left, have) == ()
    assert min(left.cpu, left.memory, left.disk, left.gpus) >= 0


@given(amounts, amounts)
def test_two_needs_that_fit_one_after_the_other_fit_together(have: Resources, need: Resources) -> None:
    if not misfits(need, have):
        left = minus(have, need)
        assert left.cpu + need.cpu == have.cpu
        assert left.memory + need.memory == have.memory
