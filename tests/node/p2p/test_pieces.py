"""Pieces on the socket between node and network process."""

from hypothesis import given
from hypothesis import strategies as st

from node.p2p.pieces import END, Pieces, piece


@given(st.lists(st.binary(min_size=1, max_size=50)), st.lists(st.integers(1, 40), min_size=1), st.integers(1, 30))
def test_bytes_come_out_as_they_went_in_wherever_they_are_cut(parts: list[bytes], cuts: list[int], most: int) -> None:
    wire, pieces, taken = b"".join(map(piece, parts)) + END, Pieces(), b""
    while wire:
        size = cuts[len(wire) % len(cuts)]
        pieces.feed(wire[:size])
        wire = wire[size:]
        while data := pieces.take(most):
            assert len(data) <= most
            taken += data
    assert taken == b"".join(parts)
    assert pieces.has_ended
    assert pieces.take(most) == b""


def test_without_the_end_there_is_only_more_to_wait_for() -> None:
    pieces = Pieces()
    pieces.feed(piece(b"abc"))
    assert pieces.take(10) == b"abc"
    assert pieces.take(10) is None
    assert not pieces.has_ended
