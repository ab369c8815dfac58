"""Kept output: every line once, in order, whatever is sent; of what stays up the newest lines alone."""

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.dialogue import Line, LogPlace
from market.errors import Refused
from market.receipts import GENESIS, chain_log
from market.workloads import WorkloadKind
from node.actions import logs
from node.actions.logs import CHUNK_COST, drop_oldest, keep_lines, last_lines, next_line, read_lines
from node.records import LogChunk, LogHead
from tests.builders import NOW
from tests.fakes import MemoryStorage

LEASE = "lse_000001"
OUTPUT = tuple(Line(NOW, "stdout", str(number)) for number in range(30))


def head_after(storage: MemoryStorage, first: int, lines: tuple[Line, ...], ring: int = 0, now: int = NOW) -> LogHead:
    kind = WorkloadKind.SERVICE if ring else WorkloadKind.BATCH
    return asyncio.run(storage.write(lambda tx: keep_lines(tx, LEASE, kind, first, lines, now, ring)))


def kept(storage: MemoryStorage, first: int, lines: tuple[Line, ...], ring: int = 0) -> int:
    return head_after(storage, first, lines, ring).next


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


# --- what stays up -------------------------------------------------------------------------------------------------

LINE_SIZE = len(msgspec.json.encode(OUTPUT[:1]))


@settings(max_examples=60)
@given(st.lists(st.integers(1, 4), max_size=40), st.integers(1, 60))
def test_a_ring_keeps_the_newest_lines_and_their_numbers(sizes: list[int], chunks: int) -> None:
    storage, first = MemoryStorage(), 0
    limit = chunks * (CHUNK_COST + LINE_SIZE)
    for size in sizes:
        lines = tuple(Line(NOW, "stdout", f"{number % 10}") for number in range(first, first + size))
        first = kept(storage, first, lines, limit)
    found = list(read_lines(storage, LEASE))
    assert [number for number, _ in found] == list(range(first - len(found), first))
    head = storage.get(LogHead, LEASE)
    stored = storage.find(LogChunk, lease=LEASE)
    assert head is None or head.size == sum(len(chunk.body) + CHUNK_COST for chunk in stored)
    assert head is None or head.size <= max(limit, len(stored[-1].body) + CHUNK_COST)
    assert bool(found) is bool(sizes)


def test_a_reader_goes_on_over_lines_that_were_dropped() -> None:
    storage, limit = MemoryStorage(), 3 * (CHUNK_COST + LINE_SIZE)
    for number in range(9):
        kept(storage, number, OUTPUT[number : number + 1], limit)
    assert [number for number, _ in read_lines(storage, LEASE, 2)] == [6, 7, 8]
    assert [line.text for line in last_lines(storage, LEASE, 100)] == ["6", "7", "8"]
    assert [line.text for line in last_lines(storage, LEASE, 2)] == ["7", "8"]


def test_a_ring_is_never_full() -> None:
    storage = MemoryStorage()
    storage.put(LogHead(id=LEASE, kind="service", next=logs.MAX_LINES * 50, oldest=NOW, newest=NOW))
    assert kept(storage, logs.MAX_LINES * 50, OUTPUT[:1], 4096) == logs.MAX_LINES * 50 + 1


def test_lines_older_than_wanted_go_and_the_others_stay() -> None:
    storage = MemoryStorage()
    for number in range(4):
        head = head_after(storage, number, OUTPUT[number : number + 1], 10**6, NOW + number * 1000)
    after = drop_oldest(storage, head, head.size, NOW + 2000)
    assert texts(storage) == ["2", "3"]
    assert (after.oldest, after.next, after.size) == (NOW + 2000, 4, head.size // 2)


def test_the_head_says_where_each_stream_ends_and_chains_all_lines() -> None:
    storage, link = MemoryStorage(), GENESIS
    lines = [("stdout", 1), ("stderr", 1), ("stdout", 2), ("stdout", 2), ("node", 3), ("stderr", 2)]
    for number, (stream, second) in enumerate(lines):
        line = Line(NOW + second, stream, "x")
        link = chain_log(link, line.at, line.stream, line.text)
        head = head_after(storage, number, (line,), 10 * CHUNK_COST if number % 2 else 10**6)
    assert set(head.places) == {LogPlace("stdout", NOW + 2, 2), LogPlace("stderr", NOW + 2, 1)}
    assert head.head == link
