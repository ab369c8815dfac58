"""Topics: what is published where, and that those who need it have joined."""

import pytest

from market.topics import joined_topics, offer_topic, order_topic
from tests.builders import NETWORK, a_gpu_offer, an_offer, an_order, constraints, resources

PREFIX = f"neugrid/1/{NETWORK.hex()}"


def test_an_offer_goes_to_its_class_and_region() -> None:
    assert offer_topic(NETWORK, an_offer(region="eu")) == f"{PREFIX}/offers/cpu/eu"
    assert offer_topic(NETWORK, a_gpu_offer(region="eu")) == f"{PREFIX}/offers/gpu/eu"


def test_a_machine_whose_gpus_are_taken_stays_in_its_class() -> None:
    assert offer_topic(NETWORK, a_gpu_offer(free=resources())).endswith("/gpu/local")


def test_an_order_goes_to_the_region_it_names_or_to_its_home() -> None:
    wanted = an_order(constraints=constraints(region="eu"))
    assert order_topic(NETWORK, wanted, "us") == f"{PREFIX}/orders/cpu/eu"
    assert order_topic(NETWORK, an_order(resources=resources(gpus=1)), "us") == f"{PREFIX}/orders/gpu/us"


@pytest.mark.parametrize("order", [an_order(), an_order(constraints=constraints(region="eu"))])
def test_a_node_of_the_region_hears_of_its_orders_and_of_those_for_anywhere(order: object) -> None:
    assert order_topic(NETWORK, order) in joined_topics(NETWORK, ["eu", "us"])  # type: ignore[arg-type]


def test_a_node_joins_each_topic_once() -> None:
    joined = joined_topics(NETWORK, ["eu", "us", "eu"])
    assert len(joined) == len(set(joined)) == 2 * 2 + 3 * 2


def test_a_region_can_not_spell_another_topic() -> None:
    assert offer_topic(NETWORK, an_offer(region="eu/../us")) == f"{PREFIX}/offers/cpu/eu%2F..%2Fus"
