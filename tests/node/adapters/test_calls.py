"""Calls are counted exactly: in one process alone, and in one place for several."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from market.errors import Unavailable
from node.adapters.postgres_calls import AT_ONCE, PostgresCalls
from node.adapters.postgres_places import database_at
from node.api.limits import MemoryCalls
from node.ports import Calls, Window
from tests.builders import NOW
from tests.node.adapters.postgres_server import Server

GENERAL = [("general", Window(3, 60)), ("general", Window(5, 600))]
DEPLOY = [*GENERAL, ("deploy", Window(1, 60))]
NAMES = count()


@pytest.fixture(scope="module")
def url(postgres: Server) -> Iterator[str]:
    with postgres.database() as url:
        yield url


@pytest.fixture(params=["memory", "postgres"])
def calls(request: pytest.FixtureRequest) -> Iterator[Calls]:
    if request.param == "memory":
        yield MemoryCalls()
        return
    opened = PostgresCalls(database_at(request.getfixturevalue("url")))
    opened.sweep(NOW * 2)
    yield opened
    opened.close()


def left(calls: Calls, windows: list[tuple[str, Window]], now: int, who: str = "a") -> list[int]:
    """What is left in each window before this call."""
    return [standing.remaining for standing in calls.take(who, windows, now)]


def test_a_call_leaves_its_window_when_that_has_moved_on(calls: Calls) -> None:
    assert left(calls, GENERAL[:1], NOW) == [3]
    assert left(calls, GENERAL[:1], NOW + 50_000) == [2]
    assert left(calls, GENERAL[:1], NOW + 59_999) == [1]
    assert left(calls, GENERAL[:1], NOW + 60_000) == [1], "the first call is as old as the window is long"
    assert calls.take("a", GENERAL[:1], NOW + 60_001)[0].reset_at == NOW + 50_000 + 60_000
    assert left(calls, GENERAL[:1], NOW + 60_001, who="b") == [3], "others have windows of their own"


def test_a_call_that_one_window_has_no_room_for_counts_in_none(calls: Calls) -> None:
    assert left(calls, DEPLOY, NOW) == [3, 5, 1]
    for _ in range(4):
        assert left(calls, DEPLOY, NOW + 1) == [2, 4, 0]
    assert left(calls, GENERAL, NOW + 2) == [2, 4]


def test_where_one_stands_says_when_there_is_room_again(calls: Calls) -> None:
    calls.take("a", DEPLOY, NOW)
    [minute, longer, deploy] = calls.take("a", DEPLOY, NOW + 5)
    assert (minute.action, minute.limit, minute.seconds, minute.reset_at) == ("general", 3, 60, NOW + 60_000)
    assert (longer.seconds, longer.reset_at, deploy.action) == (600, NOW + 600_000, "deploy")


def test_a_clock_that_is_behind_makes_no_room(calls: Calls) -> None:
    calls.take("a", GENERAL[:1], NOW + 1000)
    assert left(calls, GENERAL[:1], NOW) == [2]
    assert left(calls, GENERAL[:1], NOW + 1000) == [1]


def test_what_has_left_all_windows_is_forgotten_and_nothing_else(calls: Calls) -> None:
    calls.take("a", GENERAL, NOW)
    calls.take("b", GENERAL, NOW + 1)
    calls.sweep(NOW + 599_999)
    assert left(calls, GENERAL, NOW + 599_999) == [3, 4]
    assert calls.sweep(NOW + 10**7) > 0
    assert calls.sweep(NOW + 10**7) == 0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pauses=st.lists(st.integers(0, 30_000), max_size=60))
def test_no_window_ever_holds_more_than_its_limit_and_none_refuses_early(calls: Calls, pauses: list[int]) -> None:
    now, passed, who = NOW, [], f"user {next(NAMES)}"
    for pause in pauses:
        now += pause
        held = [sum(now - window.seconds * 1000 < at for at in passed) for _, window in GENERAL]
        found = calls.take(who, GENERAL, now)
        assert [standing.remaining for standing in found] == [
            window.limit - much for (_, window), much in zip(GENERAL, held, strict=True)
        ]
        if all(standing.remaining for standing in found):
            passed.append(now)


def test_processes_that_count_at_once_let_nobody_through_twice(url: str) -> None:
    """Each thread is a process to the server: it has a session of its own."""
    windows = [("general", Window(100, 60)), ("deploy", Window(70, 60))]

    def passed(number: int) -> int:
        calls = PostgresCalls(database_at(url))
        try:
            return sum(all(left(calls, windows, NOW + turn, who="all")) for turn in range(50))
        finally:
            calls.close()

    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(passed, range(6))) == 70


def test_a_session_that_was_lost_is_opened_anew(postgres: Server, url: str) -> None:
    calls = PostgresCalls(database_at(url))
    assert left(calls, GENERAL, NOW, who="lost") == [3, 5]
    postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'neugrid'")
    assert left(calls, GENERAL, NOW, who="lost") == [2, 4]
    calls.close()


def test_without_a_server_nobody_is_let_through() -> None:
    calls = PostgresCalls(database_at("postgresql://me@127.0.0.1:1/none"))
    with pytest.raises(Unavailable):
        calls.take("a", GENERAL, NOW)


def test_more_is_forgotten_than_one_statement_forgets(url: str) -> None:
    calls = PostgresCalls(database_at(url))
    many = [("general", Window(10**6, 1))]
    for _ in range(AT_ONCE + 10):
        calls.take("many", many, NOW)
    assert calls.sweep(NOW + 1000) == AT_ONCE
    assert calls.sweep(NOW + 1000) >= 10
    calls.close()
