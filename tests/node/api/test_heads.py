"""How answers leave: all that was written in a turn of the loop at its end, and in one go."""

from collections.abc import Callable
from typing import Any

import pytest

from node.api.heads import LARGE, Turns


class FakeTransport:
    """Knows what was written in one go, and whether it is closed."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def get_extra_info(self, name: str) -> str:
        return f"the {name}"


class FakeLoop:
    """Does what was put off when it is told to."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def call_soon(self, work: Callable[[], None]) -> None:
        self.soon.append(work)

    def turn(self) -> None:
        soon, self.soon = self.soon, []
        for work in soon:
            work()


@pytest.fixture
def loop() -> Any:
    return FakeLoop()


@pytest.fixture
def transport() -> Any:
    return FakeTransport()


@pytest.fixture
def turns(loop: Any, transport: Any) -> Turns:
    return Turns(loop, transport)


def test_an_answer_leaves_in_one_go_and_once(turns: Turns, loop: Any, transport: Any) -> None:
    for answer in (b"first", b"second"):
        turns.gather()
        turns.write(answer)
        turns.write(b" body")
        loop.turn()
        loop.turn()
    assert transport.written == [b"first body", b"second body"]


def test_what_comes_in_a_later_turn_leaves_at_once(turns: Turns, loop: Any, transport: Any) -> None:
    turns.gather()
    turns.write(b"head")
    assert transport.written == []
    loop.turn()
    turns.write(b"event")
    assert transport.written == [b"head", b"event"]


def test_what_grows_large_leaves_at_once_and_in_order(turns: Turns, loop: Any, transport: Any) -> None:
    turns.gather()
    large = b"x" * (LARGE - 5)
    for data in (b"head ", large, b"rest"):
        turns.write(data)
    loop.turn()
    assert transport.written == [b"head " + large, b"rest"]


def test_a_second_answer_does_not_overtake_the_first(turns: Turns, loop: Any, transport: Any) -> None:
    turns.gather()
    turns.write(b"head ")
    loop.turn()
    turns.gather()
    turns.write(b"body ")
    turns.write(b"next")
    loop.turn()
    assert b"".join(transport.written) == b"head body next"


def test_closing_sends_what_was_written(turns: Turns, loop: Any, transport: Any) -> None:
    turns.gather()
    turns.write(b"last words")
    turns.close()
    loop.turn()
    assert (transport.written, transport.is_closed) == ([b"last words"], True)


def test_nothing_is_sent_to_who_has_gone(turns: Turns, loop: Any, transport: Any) -> None:
    turns.gather()
    turns.write(b"head")
    transport.close()
    loop.turn()
    assert transport.written == []


def test_all_else_is_the_transports_own(turns: Turns) -> None:
    assert turns.get_extra_info("peername") == "the peername"
    assert not turns.is_closing()
