"""The engine's log frames become lines: capped, and the same again after a restart."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.dialogue import LogPlace
from market.errors import Unavailable
from market.units import Timestamp
from node.adapters.docker_engine.logs import LINE_COST, MAX_LINE, MISSING, LineReader, Place
from node.ports import LogLine

LIMIT = 2**20
AT = Timestamp(1_750_000_000_000)


def frame(text: str, stream: int = 1, second: int = 40, part: str = "000000000") -> bytes:
    payload = f"2025-06-15T15:06:{second:02}.{part}Z {text}".encode()
    return struct.pack(">BxxxL", stream, len(payload)) + payload


def read(data: bytes, place: Place | None = None, limit: int = LIMIT) -> list[LogLine]:
    reader = LineReader(place or Place(), limit)
    return reader.feed(data) + reader.end()


def texts(lines: list[LogLine]) -> list[str]:
    return [line.text for line in lines]


def test_lines_know_their_stream_and_time() -> None:
    assert read(frame("out\n") + frame("err\n", stream=2)) == [
        LogLine(at=1750000000000, stream="stdout", text="out"),
        LogLine(at=1750000000000, stream="stderr", text="err"),
    ]


def test_a_last_line_without_newline_is_kept() -> None:
    assert texts(read(frame("one\n") + frame("two"))) == ["one", "two"]


def test_parts_of_a_long_line_are_joined_even_when_another_stream_talks_between() -> None:
    data = frame("first, ") + frame("other\n", stream=2) + frame("second\n")
    assert texts(read(data)) == ["other", "first, second"]


def test_a_line_is_cut_and_says_so() -> None:
    line = read(frame("x" * MAX_LINE) + frame("y" * 10 + "\n"))[0]
    assert line.text == "x" * MAX_LINE + " [cut]"


def test_after_the_limit_one_line_says_that_the_rest_is_missing() -> None:
    place = Place()
    lines = read(frame("12345678\n") * 10, place, limit=3 * (8 + LINE_COST))
    assert len(lines) == 3
    assert "limit" in lines[-1].text
    assert place.is_full


def test_empty_lines_are_bounded_too() -> None:
    assert len(read(frame("\n") * 1000, limit=10 * LINE_COST)) == 10


def test_a_line_that_never_ends_is_not_read_for_ever() -> None:
    place = Place()
    lines = read(frame("x" * MAX_LINE) * 10, place, limit=3 * MAX_LINE)
    assert place.is_full
    assert "limit" in lines[-1].text


def test_two_open_lines_at_the_limit_are_one_end() -> None:
    assert len(read(frame("x" * 100) + frame("y" * 100, stream=2), limit=50)) == 1


@pytest.mark.parametrize("stream", [1, 3])
def test_an_engine_that_lost_its_place_is_asked_again_and_not_believed(stream: int) -> None:
    said = b"Error grabbing logs: unexpected EOF\n"
    with pytest.raises(Unavailable, match="unexpected EOF"):
        read(frame("one\n") + struct.pack(">BxxxL", stream, len(said)) + said)


def test_bytes_that_are_not_text_do_not_break_the_stream() -> None:
    payload = b"2025-06-15T15:06:40.0Z \xff\xfe\n"
    assert texts(read(struct.pack(">BxxxL", 1, len(payload)) + payload)) == ["\ufffd\ufffd"]


def test_the_first_lines_can_be_passed_over() -> None:
    data = frame("one\n") + frame("two\n") + frame("three\n")
    assert texts(read(data, Place(skip=2))) == ["three"]


def test_reading_the_end_again_after_a_restart_adds_nothing() -> None:
    data = frame("one\n", second=1) + frame("two\n", second=2)
    place = Place(skip=1)
    assert texts(read(data, place)) == ["two"]
    assert read(data, place) == []


def test_what_was_written_meanwhile_is_told_once_also_within_one_millisecond() -> None:
    place = Place()
    known = frame("one\n", second=1) + frame("two\n", second=2) + frame("warn\n", 2, second=2)
    read(known, place)
    again = known + frame("late\n", 2, second=2) + frame("three\n", second=2) + frame("four\n", second=3)
    assert texts(read(again, place)) == ["late", "three", "four"]


def test_lines_that_the_engine_threw_away_unread_are_told_and_nothing_comes_twice() -> None:
    place = Place()
    read(frame("one\n", second=1) + frame("two\n", second=2), place)
    found = read(frame("nine\n", second=9) + frame("ten\n", second=10), place)
    assert [(line.stream, line.text) for line in found] == [("node", MISSING), ("stdout", "nine"), ("stdout", "ten")]
    assert read(frame("nine\n", second=9) + frame("ten\n", second=10), place) == []


def test_lines_that_were_read_before_the_engine_threw_them_away_are_not_missing() -> None:
    place = Place()
    read(frame("one\n", second=1) + frame("two\n", second=2), place)
    assert texts(read(frame("two\n", second=2) + frame("nine\n", second=9), place)) == ["nine"]


def test_a_line_of_the_other_stream_that_overtook_the_last_one_is_no_gap() -> None:
    place = Place(ends={"stdout": LogPlace("stdout", AT + 500, 1), "stderr": LogPlace("stderr", AT, 1)})
    data = (
        frame("over\n", 2, second=40, part="500900000") + frame("last\n", part="500000000") + frame("new\n", second=41)
    )
    assert texts(read(data, place)) == ["over", "new"]


def test_a_log_is_read_again_from_shortly_before_its_last_line() -> None:
    assert LineReader(Place(ends={"stdout": LogPlace("stdout", AT + 500, 1)}), LIMIT).since == AT // 1000 - 1
    assert LineReader(Place(), LIMIT).since == 0


def test_without_a_limit_nothing_stops() -> None:
    place = Place()
    assert len(read(frame("x" * 1000 + "\n") * 20_000, place, limit=0)) == 20_000
    assert not place.is_full


def test_the_limit_counts_what_was_read_before_a_break() -> None:
    place, line = Place(), 8 + LINE_COST
    read(frame("12345678\n", second=1), place, limit=3 * line)
    found = read(frame("12345678\n", second=1) + frame("12345678\n", second=2) * 9, place, limit=3 * line)
    assert len(found) == 2
    assert "limit" in found[-1].text


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([1, 2])), max_size=30), st.integers(0, 30))
def test_a_break_anywhere_loses_and_doubles_nothing(items: list[tuple[int, int]], cut: int) -> None:
    seconds, frames = 1, []
    for number, (later, kind) in enumerate(items):
        seconds += later
        frames.append(frame(f"{number}\n", kind, second=seconds % 60))
        if seconds >= 55:
            break
    place = Place()
    found = read(b"".join(frames[:cut]), place) + read(b"".join(frames), place)
    assert [line.text for line in found] == [str(number) for number in range(len(frames))]


@given(st.lists(st.tuples(st.text(max_size=40), st.sampled_from([1, 2]), st.booleans())), st.data())
def test_chunks_of_any_size_give_the_same_lines(items: list[tuple[str, int, bool]], data: st.DataObject) -> None:
    stream = b"".join(frame(text + "\n" * ends, kind) for text, kind, ends in items)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    reader = LineReader(Place(), LIMIT)
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    lines = [line for piece in pieces for line in reader.feed(piece)] + reader.end()
    assert lines == read(stream)
