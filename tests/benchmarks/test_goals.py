"""Goals and the figures held against them."""

import msgspec
import pytest

from benchmarks.goals import GOALS, Figure, Goal, percentile

LATENCY = Goal(name="latency", unit="ms", most=50)
RATE = Goal(name="rate", unit="1/s", least=100)


@pytest.mark.parametrize(("goal", "value", "met"), [(LATENCY, 50, True), (LATENCY, 50.1, False), (RATE, 99.9, False)])
def test_a_figure_is_held_against_its_goal(goal: Goal, value: float, met: bool) -> None:
    assert goal.reached(value).met is met


def test_a_count_without_a_goal_is_met_by_whatever_it_is() -> None:
    figure = Goal(name="start", unit="s").reached(1e9)

    assert figure.met
    assert figure.goal is None


def test_what_could_not_be_measured_is_missed_and_says_why() -> None:
    figure = LATENCY.missing("no engine answers")

    assert (figure.measured, figure.met, figure.remark) == (None, False, "no engine answers")


def test_the_file_has_the_five_fields_of_every_figure() -> None:
    written = msgspec.json.decode(msgspec.json.encode(LATENCY.reached(12.5)))

    assert written == {"name": "latency", "measured": 12.5, "goal": 50, "unit": "ms", "met": True}


def test_every_figure_has_a_name_of_its_own() -> None:
    names = [goal.name for group in GOALS.values() for goal in group]

    assert len(names) == len(set(names))


def test_a_percentile_is_the_value_that_so_many_do_not_exceed() -> None:
    hundred = [float(number) for number in range(100, 0, -1)]

    assert [percentile(hundred, share) for share in (0.5, 0.99, 1.0)] == [50, 99, 100]
    assert percentile([7.0], 0.99) == 7.0


def test_a_figure_comes_back_as_it_was_written() -> None:
    figure = RATE.reached(130, "ten clients")

    assert msgspec.json.decode(msgspec.json.encode(figure), type=Figure) == figure
