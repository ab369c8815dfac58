"""How many sandboxes should wait."""

from hypothesis import given
from hypothesis import strategies as some

from node.adapters.sandboxes.demand import peak, targets


def test_the_peak_is_the_most_within_two_seconds_of_the_last_minute() -> None:
    assert peak([], 100) == 0
    assert peak([10, 10, 10, 50, 51, 52.5, 53, 99], 100) == 3
    assert peak([10, 10, 10, 10], 100) == 0


def test_each_image_has_one_before_any_has_two_and_demand_decides_then() -> None:
    assert targets({"a": 0, "b": 0}, 10) == {"a": 1, "b": 1}
    assert targets({"a": 5, "b": 0}, 4) == {"a": 3, "b": 1}
    assert targets({"a": 5, "b": 5}, 100) == {"a": 6, "b": 6}
    assert targets({"a": 0, "b": 3, "c": 1}, 2) == {"a": 0, "b": 1, "c": 1}
    assert targets({}, 3) == {}


@given(some.dictionaries(some.text(min_size=1, max_size=2), some.integers(0, 50), max_size=6), some.integers(1, 40))
def test_the_budget_holds_and_nobody_gets_more_than_he_wants(peaks: dict[str, int], most: int) -> None:
    found = targets(peaks, most)
    assert sum(found.values()) == min(most, sum(peaks.values()) + len(peaks))
    assert all(0 <= found[name] <= peaks[name] + 1 for name in peaks)
