"""What all machines share: the table is the law, and a deadline that moved on has not passed."""

import pytest
from msgspec import Struct

from market.errors import InvalidTransition
from market.machines import DeadlinePassed, Event, take_step


class Lamp(Struct, frozen=True, kw_only=True):
    state: str = "off"
    deadline: int = 0


class Pressed(Event, frozen=True, tag=True, kw_only=True):
    pass


RULES = {
    ("off", Pressed): lambda lamp, event, now: (Lamp(state="on", deadline=now + 10), []),
    ("on", DeadlinePassed): lambda lamp, event, now: (Lamp(), []),
}


def test_a_pair_in_the_table_takes_its_step() -> None:
    assert take_step(RULES, Lamp(), "off", Pressed(), 5) == (Lamp(state="on", deadline=15), [])


def test_a_pair_that_is_not_in_the_table_is_refused_and_named() -> None:
    with pytest.raises(InvalidTransition, match="Pressed is not allowed in state on"):
        take_step(RULES, Lamp(state="on"), "on", Pressed(), 5)


def test_a_deadline_that_is_behind_us_has_passed() -> None:
    assert take_step(RULES, Lamp(state="on", deadline=15), "on", DeadlinePassed(), 15) == (Lamp(), [])


@pytest.mark.parametrize(("deadline", "now"), [(15, 14), (0, 99)], ids=["moved on", "none"])
def test_a_deadline_that_is_ahead_or_none_has_not_passed(deadline: int, now: int) -> None:
    with pytest.raises(InvalidTransition, match="moved on"):
        take_step(RULES, Lamp(state="on", deadline=deadline), "on", DeadlinePassed(), now)
