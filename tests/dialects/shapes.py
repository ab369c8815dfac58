"""Samples of the documented answers as data, and what it means that an answer has their shape."""

import re
from typing import Any

_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")
_ID = re.compile(r"^([a-z]{3,5}_)[0-9a-z]+$")


class Always:
    """A value that the page promises, not only its type."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Maybe:
    """A value of this shape, or null."""

    def __init__(self, sample: Any) -> None:
        self.sample = sample


def must_fit(answer: Any, sample: Any, place: str = "$") -> None:
    """At least the sample's names, with the same JSON types; times are times, ids have their prefix.

    Every item of a list has the shape of the sample's first, and there is at least one.
    """
    if isinstance(sample, Always):
        assert (answer, type(answer)) == (sample.value, type(sample.value)), place
    elif isinstance(sample, Maybe):
        assert answer is None or must_fit(answer, sample.sample, place) is None
    elif isinstance(sample, dict):
        _must_have(answer, sample, place)
    elif isinstance(sample, list):
        assert isinstance(answer, list), f"{place} is no list: {answer!r}"
        assert answer or not sample, f"{place} is empty"
        for number, item in enumerate(answer if sample else ()):
            must_fit(item, sample[0], f"{place}[{number}]")
    else:
        assert _kind(answer) == _kind(sample), f"{place} is {answer!r}, but documented as {sample!r}"
        _must_read_alike(answer, sample, place)


def _must_have(answer: Any, sample: dict[str, Any], place: str) -> None:
    assert isinstance(answer, dict), f"{place} is no object: {answer!r}"
    assert not sample.keys() - answer.keys(), f"{place} lacks {sorted(sample.keys() - answer.keys())}"
    for name, part in sample.items():
        must_fit(answer[name], part, f"{place}.{name}")


def _kind(value: Any) -> str:
    kinds = {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}
    return kinds.get(type(value), type(value).__name__)


def _must_read_alike(answer: Any, sample: Any, place: str) -> None:
    if not isinstance(sample, str):
        return
    if _TIME.match(sample):
        assert _TIME.match(answer), f"{place} is no time: {answer!r}"
    prefix = _ID.match(sample)
    if prefix:
        assert answer.startswith(prefix[1]), f"{place} is {answer!r}, but documented as {sample!r}"
