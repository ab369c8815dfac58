"""DNS as bytes: what was asked comes back, and hostile bytes are refused or harmless."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import BadMessage
from node.adapters.egress.dns import (
    IPV4,
    MAX_ADDRESSES,
    MAX_QUERY,
    NO_SUCH_NAME,
    OK,
    Answer,
    read_answer,
    read_question,
    write_query,
    write_reply,
)

names = st.lists(st.from_regex(r"[a-z0-9_-]{1,20}", fullmatch=True), min_size=1, max_size=6).map(".".join)
addresses = st.lists(st.ip_addresses(v=4).map(str), max_size=20).map(tuple)


@given(st.integers(0, 65_535), names)
def test_a_question_arrives_as_it_was_asked(number: int, name: str) -> None:
    question = read_question(write_query(number, name))
    assert (question.id, question.name, question.kind) == (number, name, IPV4)


@given(names, addresses, st.integers(0, 300))
def test_a_reply_holds_the_addresses_and_fits_into_what_every_client_takes(
    name: str, found: tuple[str, ...], ttl: int
) -> None:
    reply = write_reply(read_question(write_query(7, name)), Answer(OK, found, ttl))
    assert len(reply) <= MAX_QUERY
    told = found[:MAX_ADDRESSES]
    assert read_answer(reply, 7, name) == Answer(OK, told, ttl if told else 0)


def test_an_answer_through_aliases_is_the_names_own() -> None:
    head = write_query(9, "www.example.org")
    asked = head[12 : len(head) - 11]
    alias = b"\xc0\x0c\0\5\0\1\0\0\0\x1e\0\x05\3cdn\0"
    address = b"\3cdn\0\0\1\0\1\0\0\0\x0a\0\4\1\2\3\4"
    packet = b"\0\x09\x81\x80\0\1\0\2\0\0\0\0" + asked + alias + address
    assert read_answer(packet, 9, "www.example.org") == Answer(OK, ("1.2.3.4",), 10)


def test_the_code_of_an_answer_is_kept() -> None:
    reply = write_reply(read_question(write_query(1, "a.b")), Answer(NO_SUCH_NAME))
    assert read_answer(reply, 1, "a.b") == Answer(NO_SUCH_NAME)


@pytest.mark.parametrize(
    ("number", "name"), [(2, "a.b"), (1, "a.c")], ids=["the number of another", "the name of another"]
)
def test_an_answer_to_another_question_is_refused(number: int, name: str) -> None:
    reply = write_reply(read_question(write_query(1, "a.b")), Answer(OK, ("1.2.3.4",), 1))
    with pytest.raises(BadMessage):
        read_answer(reply, number, name)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        bytes(12),
        bytes(513),
        write_query(1, "a.b")[:15],
        b"\0\1\x81\x80\0\1\0\0\0\0\0\0\1a\1b\0\0\1\0\1",
        b"\0\1\x01\0\0\2\0\0\0\0\0\0\1a\1b\0\0\1\0\1",
        b"\0\1\x01\0\0\1\0\0\0\0\0\0\0\0\1\0\1",
        b"\0\1\x01\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1",
        b"\0\1\x01\0\0\1\0\0\0\0\0\0\2a.\1b\0\0\1\0\1",
        b"\0\1\x01\0\0\1\0\0\0\0\0\0\1a\1b\0\0\1\0\3",
    ],
    ids=["none", "head", "long", "cut", "answer", "two", "root", "pointer", "dot", "class"],
)
def test_what_is_no_plain_question_is_refused(packet: bytes) -> None:
    with pytest.raises(BadMessage):
        read_question(packet)


@given(st.binary(max_size=600), st.binary(max_size=80))
def test_hostile_bytes_do_no_more_than_be_refused(noise: bytes, tail: bytes) -> None:
    reply = write_reply(read_question(write_query(1, "a.b")), Answer(OK, ("1.2.3.4",), 1))
    for packet in (noise, reply[:7] + b"\xff" + reply[8:] + tail, reply + tail, reply[: len(tail)] + noise):
        with suppress(BadMessage):
            read_question(packet)
        with suppress(BadMessage):
            read_answer(packet, 1, "a.b")
