"""The engine's log frames become lines: capped, and the same again after a restart."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import Unavailable
from node.adapters.docker_engine.logs import LINE_COST, MAX_LINE, MISSING, LineReader, Place
from node.ports import LogLine

LIMIT = 2**20


def frame(text: str, stream: int = 1, second: int = 40) -> bytes:
    payload = f"2025-06-15T15:06:{second:02}.000000000Z {text}".encode()
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


def test_reading_goes_on_after_the_lines_that_are_known() -> None:
    data = frame("one\n") + frame("two\n") + frame("three\n")
    assert texts(read(data, Place(lines=2))) == ["three"]


def test_reading_the_end_again_after_a_restart_adds_nothing() -> None:
    data = frame("one\n", second=1) + frame("two\n", second=2)
    place = Place(lines=1)
    place.lines += len(read(data, place))
    assert read(data, place) == []


def test_lines_that_the_engine_threw_away_are_told_and_nothing_comes_twice() -> None:
    place = Place()
    seen = read(frame("one\n", second=1) + frame("two\n", second=2), place)
    place.lines = len(seen)
    again = read(frame("two\n", second=2) + frame("nine\n", second=9), place)
    assert texts(again) == [MISSING, "nine"]


@given(st.lists(st.tuples(st.text(max_size=40), st.sampled_from([1, 2]), st.booleans())), st.data())
def test_chunks_of_any_size_give_the_same_lines(items: list[tuple[str, int, bool]], data: st.DataObject) -> None:
    stream = b"".join(frame(text + "\n" * ends, kind) for text, kind, ends in items)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    reader = LineReader(Place(), LIMIT)
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    lines = [line for piece in pieces for line in reader.feed(piece)] + reader.end()
    assert lines == read(stream)
