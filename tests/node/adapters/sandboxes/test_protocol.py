"""The stream between host and agent: any cut of it gives the same lines, and nobody else's words are taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from market.errors import InvalidParameters, Unavailable
from node.adapters.sandboxes.protocol import MAX_WORD, Ended, Lines, Run, order_bytes, word_of


def piece(data: bytes, stream: int = 1) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


@given(some.lists(some.binary(max_size=20), max_size=6), some.integers(1, 9), some.integers(1, 9))
def test_lines_come_whole_however_the_stream_is_cut(texts: list[bytes], wrapped: int, read: int) -> None:
    lines = [text.replace(b"\n", b"") for text in texts]
    said = b"".join(line + b"\n" for line in lines)
    stream = b"".join(piece(said[at : at + wrapped]) for at in range(0, len(said), wrapped))
    reader = Lines()
    found = [line for at in range(0, len(stream), read) for line in reader.feed(stream[at : at + read])]
    assert found == lines


def test_what_is_said_on_stderr_is_kept_apart_and_bounded() -> None:
    reader = Lines()
    assert reader.feed(piece(b"Traceback", 2) + piece(b"one\n") + piece(b"x" * 10_000, 2)) == [b"one"]
    assert reader.complaint.startswith(b"Traceback")
    assert len(reader.complaint) == 2000


@pytest.mark.parametrize("data", [piece(b"x" * (MAX_WORD + 1)), b"\x01\0\0\0\xff\xff\xff\xff" + b"x" * (MAX_WORD + 1)])
def test_a_flood_is_refused(data: bytes) -> None:
    with pytest.raises(Unavailable, match="more than it may"):
        Lines().feed(data)


@pytest.mark.parametrize("line", [b'{"code": 0}', b'wrong{"code": 0}', b"nonce{", b'nonce{"code": "x"}', b"nonce", b""])
def test_a_word_without_nonce_or_sense_is_refused(line: bytes) -> None:
    with pytest.raises(Unavailable):
        word_of(line, "nonce", Ended)


def test_a_word_with_the_nonce_is_taken() -> None:
    assert word_of(b'nonce{"code": -9, "kills": 1}', "nonce", Ended) == Ended(code=-9, kills=1)


def test_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(InvalidParameters):
        order_bytes(Run(command=(), env={}, seconds=1, output=1, stdin="\ud800"))
