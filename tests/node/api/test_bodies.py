"""Reading bodies: work in proportion to what came, however large, deep or odd that is."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from market.errors import InvalidParameters
from node.api import bodies
from node.api.bodies import read_body, shown_value
from node.api.sign_in import DeviceCodeBody
from node.api.submissions import Body, SubmitJob

MANY = 20_000
BOTH = b'"device_code": "x", "deviceCode": "x"'


def refusal(body: bytes, kind: type[Body] = DeviceCodeBody) -> InvalidParameters:
    with pytest.raises(InvalidParameters) as refused:
        read_body(body, "application/json", kind)
    return refused.value


@pytest.fixture
def lines() -> Iterator[list[int]]:
    """How many lines of the module are run, which is its work without the machine's mood."""
    counted = [0]

    def trace(frame: Any, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != bodies.__file__:
            return None
        counted[0] += event == "line"
        assert counted[0] < MANY, "the work grows with what came"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    yield counted
    sys.settrace(before)


@pytest.mark.parametrize(
    ("body", "kind", "field"),
    [
        (b"{" + b"".join(b'"k%d": 0, ' % number for number in range(MANY)) + BOTH + b"}", DeviceCodeBody, "k0"),
        (b'{"device_code": [' + b"1, " * MANY + b"1]}", DeviceCodeBody, "deviceCode"),
        (b'{"inputs": [' + b"{}, " * MANY + b"{}]}", SubmitJob, "inputs[0].path"),
    ],
    ids=["unknown fields", "a list for a text", "more items than any list has"],
)
def test_a_large_body_that_does_not_fit_is_refused_at_once(
    lines: list[int], body: bytes, kind: type[Body], field: str
) -> None:
    assert refusal(body, kind).details["field"] == field
    assert lines[0]


@pytest.mark.parametrize("depth", [50, 600, 900, 100_000])
@pytest.mark.parametrize("opening", [b"[", b'{"a": '])
def test_a_deep_body_is_refused_and_no_surprise(depth: int, opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    deep = opening * depth + b"1" + closing * depth
    assert refusal(deep).code == "INVALID_PARAMETERS"
    assert refusal(b'{"device_code": ' + deep + b"}").details["field"] in ("deviceCode", "body")
    assert refusal(b'{"resources": ' + deep + b"}", SubmitJob).code == "INVALID_PARAMETERS"


def test_a_field_in_both_casings_is_refused_by_name() -> None:
    assert refusal(b"{" + BOTH + b"}").details["field"] == "deviceCode"


def test_a_refusal_is_short_whatever_came() -> None:
    odd = " - at `$" * MANY
    for body in (f'{{"{odd}": 1}}', f'{{"device_code": ["{odd}"]}}', f'{{"device_code": {{"{odd}": "{odd}"}}}}'):
        refused = refusal(body.encode())
        assert len(f"{refused.message}{refused.details}") < 1000


def test_an_unknown_field_is_named_where_it_stands() -> None:
    body = b'{"image": "a", "max_price": 1, "inputs": [{"path": "a"}, {"path": "b", "foo": 1}]}'
    assert refusal(body, SubmitJob).details["field"] == "inputs[1].foo"


def test_the_beginning_of_a_value_is_shown() -> None:
    assert shown_value([[1], {"a": "b"}]) == "[[1], {'a': 'b'}]"
    assert shown_value([[[[[1]]]]]) == "[[[['...']]]]"
    assert (shown_value(7), shown_value(None), shown_value("x" * 99)) == (7, None, "x" * 80)
