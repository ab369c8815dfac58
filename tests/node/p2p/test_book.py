"""Whom to dial, when, and what is remembered."""

from pathlib import Path

import pytest

from node.p2p.book import Book

HERE = "/ip4/127.0.0.1/tcp/4001"


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book("me", tmp_path / "peers.json")


def test_a_lost_peer_is_dialled_every_second_at_first(book: Book) -> None:
    book.learn("a", [HERE], keep=True)
    book.connected("a")
    for second in range(10):
        assert book.due(set(), 8, now=float(second)) == ["a"]
        book.failed("a", now=float(second))
        assert book.due(set(), 8, now=second + 0.9) == []


def test_a_kept_peer_is_never_given_up(book: Book) -> None:
    book.learn("a", [HERE], keep=True)
    for _ in range(100):
        book.failed("a", now=0.0)
    assert book.due(set(), 8, now=31.0) == ["a"]


def test_hearsay_that_never_worked_is_forgotten(book: Book) -> None:
    book.learn("a", [HERE])
    for _ in range(30):
        book.failed("a", now=0.0)
    assert book.addresses("a") == []


def test_no_more_are_dialled_than_wanted(book: Book) -> None:
    for number in range(20):
        book.learn(f"p{number}", [HERE])
    assert len(book.due({"x", "y"}, 8, now=0.0)) == 6


def test_known_good_peers_come_first(book: Book) -> None:
    for number in range(20):
        book.learn(f"p{number}", [HERE])
    book.connected("p7")
    assert book.due(set(), 1, now=0.0) == ["p7"]


def test_kept_peers_are_dialled_however_many_there_are(book: Book) -> None:
    book.learn("a", [HERE], keep=True)
    assert book.due({str(n) for n in range(50)}, 8, now=0.0) == ["a"]


def test_we_do_not_dial_ourselves(book: Book) -> None:
    book.learn("me", [HERE], keep=True)
    assert book.due(set(), 8, now=0.0) == []


def test_addresses_that_cannot_be_dialled_are_not_learnt(book: Book) -> None:
    book.learn("a", ["/ip4/0.0.0.0/tcp/1", "nonsense"])
    assert book.addresses("a") == []


def test_what_worked_is_there_after_a_restart(book: Book, tmp_path: Path) -> None:
    book.learn("good", [HERE])
    book.learn("hearsay", [HERE])
    book.connected("good")
    book.save()
    again = Book("me", tmp_path / "peers.json")
    again.load()
    assert (again.addresses("good"), again.addresses("hearsay")) == ([HERE], [])


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"a": 1}'])
def test_a_broken_file_is_no_reason_not_to_start(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "peers.json"
    path.write_bytes(content)
    Book("me", path).load()


def test_the_book_does_not_grow_without_end(book: Book) -> None:
    for number in range(3_000):
        book.learn(f"p{number}", [HERE])
    assert len(book.due(set(), 5_000, now=0.0)) == 1_000
