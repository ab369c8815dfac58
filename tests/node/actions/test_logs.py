"""Kept output: every line once, in order, whatever is sent."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.dialogue import Line
from market.errors import Refused
from node.actions import logs
from node.actions.logs import keep_lines, last_lines, next_line, read_lines
from tests.builders import NOW
from tests.fakes import MemoryStorage

LEASE = "lse_000001"
OUTPUT = tuple(Line(NOW, "stdout", str(number)) for number in range(30))


def kept(storage: MemoryStorage, first: int, lines: tuple[Line, ...]) -> int:
    return asyncio.run(storage.write(lambda tx: keep_lines(tx, LEASE, first, lines)))


def texts(storage: MemoryStorage, after: int = 0) -> list[str]:
    return [line.text for _, line in read_lines(storage, LEASE, after)]


def test_lines_are_numbered_across_chunks() -> None:
    storage = MemoryStorage()
    assert [kept(storage, 0, OUTPUT[:10]), kept(storage, 10, OUTPUT[10:12])] == [10, 12]
    assert [number for number, _ in read_lines(storage, LEASE, 9)] == [9, 10, 11]


def test_a_gap_keeps_nothing_and_says_what_is_wanted() -> None:
    storage = MemoryStorage()
    kept(storage, 0, OUTPUT[:3])
    assert (kept(storage, 5, OUTPUT[5:8]), next_line(storage, LEASE)) == (3, 3)


def test_what_is_here_already_is_not_kept_again() -> None:
    storage = MemoryStorage()
    kept(storage, 0, OUTPUT[:5])
    assert [kept(storage, 0, OUTPUT[:5]), kept(storage, 3, OUTPUT[3:8])] == [5, 8]
    assert texts(storage) == [str(number) for number in range(8)]


def test_an_empty_message_asks_where_to_go_on() -> None:
    storage = MemoryStorage()
    kept(storage, 0, OUTPUT[:5])
    assert kept(storage, 0, ()) == 5


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=12))
def test_in_any_order_of_messages_the_lines_are_the_output(ranges: list[tuple[int, int]]) -> None:
    storage = MemoryStorage()
    for first, count in ranges:
        kept(storage, first, OUTPUT[first : first + count])
    assert texts(storage) == [line.text for line in OUTPUT[: next_line(storage, LEASE)]]


@pytest.mark.parametrize(("name", "value"), [("MAX_LINES", 5), ("MAX_BYTES", 200)])
def test_a_lease_that_has_written_enough_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: int) -> None:
    monkeypatch.setattr(logs, name, value)
    storage = MemoryStorage()
    kept(storage, 0, OUTPUT[:4])
    with pytest.raises(Refused) as caught:
        kept(storage, 4, OUTPUT[4:10])
    assert caught.value.details["codes"] == ("LOGS_FULL",)
    assert next_line(storage, LEASE) == 4


def written(*sizes: int) -> MemoryStorage:
    """Chunks of so many lines; line n says n, at second n, odd ones on stderr."""
    storage, first = MemoryStorage(), 0
    for size in sizes:
        numbers = range(first, first + size)
        kept(storage, first, tuple(Line(NOW + n * 1000, ("stdout", "stderr")[n % 2], str(n)) for n in numbers))
        first += size
    return storage


@settings(max_examples=50)
@given(st.lists(st.integers(1, 5), max_size=40), st.integers(0, 120))
def test_lines_from_any_number_on_are_those_behind_it(sizes: list[int], after: int) -> None:
    assert texts(written(*sizes), after) == [str(number) for number in range(after, sum(sizes))]


@settings(max_examples=50)
@given(st.lists(st.integers(1, 5), max_size=40), st.integers(1, 120), st.integers(0, 120))
def test_the_last_lines_are_the_end_of_all_lines(sizes: list[int], count: int, since: int) -> None:
    found = last_lines(written(*sizes), LEASE, count, NOW + since * 1000)
    assert [line.text for line in found] == [str(number) for number in range(since, sum(sizes))][-count:]


def test_the_last_lines_of_one_stream() -> None:
    assert [line.text for line in last_lines(written(3, 3, 3), LEASE, 2, stream="stderr")] == ["5", "7"]


def test_following_a_long_log_reads_its_end_alone() -> None:
    storage, read = written(*[1] * 500), list[int]()
    find = storage.find

    def counted(*args: Any, **where: Any) -> Any:
        found = find(*args, **where)
        read.append(len(found))
        return found

    storage.find = counted  # type: ignore[method-assign]
    assert texts(storage, 499) == ["499"]
    assert texts(storage, 500) == []
    assert sum(read) <= 3
