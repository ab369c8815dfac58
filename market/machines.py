"""What all machines share: a step from (noun, event, now) to (noun, effects), looked up in a table that is the law."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from msgspec import Struct

from market.errors import InvalidTransition

N = TypeVar("N", bound=Struct)


class Event(Struct, frozen=True, tag=True, kw_only=True):
    """Something that happened, named in the past tense."""


class QuietEvent(Event, frozen=True, tag=True, kw_only=True):
    """An event that is too frequent for the journal: it changes the noun and leaves no line."""


class DeadlinePassed(Event, frozen=True, tag=True, kw_only=True):
    """The present state lasted too long: the noun's `deadline` is behind us.

    The sweep reads first and tells later: an event that comes when the deadline has moved on meanwhile is refused.
    """


class Effect(Struct, frozen=True, tag=True, kw_only=True):
    """A command to the outside world about one subject; performing it twice must do no harm."""

    subject: str


class Tell(Effect, frozen=True, tag=True, kw_only=True):
    """Hand `event` to another machine's subject, in the same transaction."""

    noun: str
    event: Any


Step = tuple[N, list[Effect]]
Rule = Callable[[N, Any, int], tuple[N, list[Effect]]]
Rules = Mapping[tuple[str, type[Event]], Rule[N]]


def take_step(rules: Rules[N], noun: N, state: str, event: Event, now: int) -> Step[N]:
    """The noun after `event` and what to do; InvalidTransition when (state, event) is not in `rules`."""
    rule = rules.get((state, type(event)))
    if rule is None:
        raise InvalidTransition(f"{type(event).__name__} is not allowed in state {state}", state=state)
    if isinstance(event, DeadlinePassed) and not 0 < (deadline := noun.deadline) <= now:  # type: ignore[attr-defined]
        raise InvalidTransition("the deadline has moved on", state=state, deadline=deadline, now=now)
    return rule(noun, event, now)
