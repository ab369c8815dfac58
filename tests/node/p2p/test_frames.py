"""What crosses the socket arrives as it was sent, however the bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.p2p.frames import COMMANDS, EVENTS, Arrived, BadFrame, Called, Done, Failed, Publish, Request, Unframer, frame


@given(st.lists(st.binary(max_size=300), max_size=6), st.integers(1, 50))
def test_frames_survive_any_cut(payloads: list[bytes], cut: int) -> None:
    unframer, found = Unframer(), []
    stream = b"".join(frame(Publish(n, "topic", data)) for n, data in enumerate(payloads))
    for start in range(0, len(stream), cut):
        found += [COMMANDS.decode(body) for body in unframer.feed(stream[start : start + cut])]
    assert [command.data for command in found] == payloads


@pytest.mark.parametrize(
    "event", [Arrived([("t", b"\x00\xff")]), Called(3, "peer", b"x"), Done(1, b"bytes"), Done(2), Failed(4, "no", True)]
)
def test_events_keep_their_values(event: object) -> None:
    (body,) = Unframer().feed(frame(event))  # type: ignore[arg-type]
    assert EVENTS.decode(body) == event


def test_a_request_keeps_its_bytes_apart_from_its_text() -> None:
    (body,) = Unframer().feed(frame(Request(1, "peer", bytes(range(256)), 2.5)))
    assert COMMANDS.decode(body) == Request(1, "peer", bytes(range(256)), 2.5)


def test_an_absurd_length_is_refused() -> None:
    with pytest.raises(BadFrame):
        list(Unframer().feed(b"\xff\xff\xff\xff"))
