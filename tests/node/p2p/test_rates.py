"""Tokens come back with time; blame fades; bans end."""

from node.p2p.rates import Blame, Buckets


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    buckets = Buckets(rate=10, burst=3)
    assert [buckets.take("a", now=0.0) for _ in range(4)] == [True, True, True, False]
    assert [buckets.take("a", now=0.2) for _ in range(3)] == [True, True, False]


def test_one_name_does_not_use_up_the_tokens_of_another() -> None:
    buckets = Buckets(rate=1, burst=1)
    buckets.take("a", now=0.0)
    assert buckets.take("b", now=0.0)


def test_looking_takes_nothing() -> None:
    buckets = Buckets(rate=1, burst=1)
    assert [buckets.has("a", now=0.0) for _ in range(5)] == [True] * 5


def test_blame_adds_up_to_a_ban_that_ends() -> None:
    blame = Blame(limit=300, ban=60)
    assert [blame.add("a", 100, now=0.0) for _ in range(3)] == [False, False, True]
    assert blame.is_banned("a", now=59.0)
    assert not blame.is_banned("a", now=61.0)


def test_a_fault_a_minute_is_forgiven() -> None:
    blame = Blame(limit=300, ban=60)
    assert not any(blame.add("a", 100, now=60.0 * minute) for minute in range(1000))
