"""Who goes into the next block, and in which order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.devnet.errors import Refused
from contracts.devnet.pool import Pool, Waiting


def waiting(sender: int, nonce: int, most: int = 100, tip: int = 1) -> Waiting:
    name = b"%d/%d/%d/%d" % (sender, nonce, most, tip)
    return Waiting(hash=name, sender=b"%d" % sender, nonce=nonce, most=most, tip=tip, body=None)


def order(pool: Pool, base_fee: int = 10) -> list[tuple[bytes, int]]:
    return [(one.sender, one.nonce) for one in pool.ready(lambda _: 0, base_fee)]


def test_better_tips_go_first() -> None:
    pool = Pool()
    for sender, tip in ((1, 5), (2, 9), (3, 7)):
        pool.add(waiting(sender, 0, tip=tip))
    assert order(pool) == [(b"2", 0), (b"3", 0), (b"1", 0)]


def test_a_low_fee_holds_up_what_comes_behind_it() -> None:
    pool = Pool()
    pool.add(waiting(1, 0, most=9))
    pool.add(waiting(1, 1))
    assert order(pool) == []
    assert pool.next_nonce(b"1", 0) == 2


def test_what_a_block_overtook_is_forgotten() -> None:
    pool = Pool()
    pool.add(waiting(1, 0))
    pool.add(waiting(1, 1))
    pool.forget_stale(lambda _: 1)
    assert (len(pool), pool.get(b"1/0/100/1")) == (1, None)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4), st.integers(5, 40), st.integers(1, 40)), max_size=30))
def test_each_sender_goes_in_nonce_order_without_gaps(rows: list[tuple[int, int, int, int]]) -> None:
    pool = Pool()
    for sender, nonce, most, tip in rows:
        try:
            pool.add(waiting(sender, nonce, most, tip))
        except Refused:
            continue
    for sender in (b"1", b"2", b"3"):
        nonces = [nonce for who, nonce in order(pool) if who == sender]
        assert nonces == list(range(len(nonces)))


def test_a_replacement_takes_the_place_of_the_old_one() -> None:
    pool = Pool()
    pool.add(waiting(1, 0, most=100, tip=10))
    with pytest.raises(Refused, match="underpriced"):
        pool.add(waiting(1, 0, most=109, tip=11))
    pool.add(waiting(1, 0, most=110, tip=11))
    assert len(pool) == 1
