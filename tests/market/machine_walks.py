"""Walks over a machine's table: every state with every event that its module knows, so that new ones are covered."""

import inspect
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from market.dialogue import RunEnd
from market.leases import LeaseState, Terms
from market.machines import DeadlinePassed, Event, QuietEvent
from market.receipts import Receipt
from market.units import Amount, Rate
from market.workloads import DirectPort, Workload
from tests.builders import NOW, a_receipt, a_workload, terms

Step = Callable[[Any, Event, int], tuple[Any, list[Any]]]
VALUES: dict[Any, Any] = {
    str: "x",
    int: NOW + 1,
    bytes: b"",
    Amount: Amount(1),
    Rate: Rate(1),
    Workload: a_workload(),
    Receipt: a_receipt(),
    Terms: terms(),
    tuple[RunEnd, ...]: (RunEnd(stdout="1"),),
    tuple[DirectPort, ...]: (DirectPort(port=80, address="203.0.113.7:30000"),),
    LeaseState: LeaseState.RUNNING,
}


def events_of(*modules: ModuleType) -> list[type[Event]]:
    """Every event that these modules define, and the passing of a deadline."""
    found = [
        kind
        for module in modules
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Event)
        and kind not in (Event, QuietEvent, DeadlinePassed)
        and kind.__module__ == module.__name__
    ]
    return [*found, DeadlinePassed]


def an_event(kind: type[Event], **changes: object) -> Event:
    """An event of this kind with some value in every field that needs one."""
    needed = {
        field.name: VALUES[field.type]
        for field in fields(kind)
        if field.default is NODEFAULT and field.default_factory is NODEFAULT
    }
    return kind(**{**needed, **changes})


def refused(rules: Iterable[tuple[str, type[Event]]], states: Iterable[str], events: list[type[Event]]) -> list[Any]:
    """Every pair of state and event that is not in the table."""
    known = set(rules)
    return [(state, event) for state in states for event in events if (state, event) not in known]


def name_of(value: object) -> str:
    """How pytest names a state or an event in a case."""
    return value.__name__ if isinstance(value, type) else str(value)


def effects_named(effects: list[Any]) -> list[str]:
    """The names of the effects' types, in order."""
    return [type(effect).__name__ for effect in effects]


def kinds(effects: list[Struct]) -> set[type]:
    """The types of the effects."""
    return {type(effect) for effect in effects}
