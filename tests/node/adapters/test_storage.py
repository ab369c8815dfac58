"""What every storage must do: these tests run on each implementation of the port."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from market.errors import Conflict, NeugridError
from market.jobs import Job, JobState
from market.leases import Lease
from market.units import Timestamp
from node.adapters.postgres_storage import open_postgres
from node.adapters.rows import SHAPES, shape_of
from node.adapters.storage import open_storage
from node.ports import Storage, Tx
from node.records import Answer, ApiKey, Entry, Happened, LogChunk, Mark, Pending
from tests.builders import NOW, PROVIDER, a_voucher
from tests.fakes import MemoryStorage
from tests.node.adapters.postgres_server import Server
from tests.node.adapters.samples import (
    EVERY_NOUN,
    a_chunk,
    a_job,
    a_lease,
    a_mark,
    a_pending,
    an_api_key,
    an_entry,
)

pytestmark = pytest.mark.anyio
IMPLEMENTATIONS = ("memory", "sqlite", "postgres")


@asynccontextmanager
async def _memory() -> AsyncIterator[Storage]:
    yield MemoryStorage()


@asynccontextmanager
async def _postgres(server: Server) -> AsyncIterator[Storage]:
    with server.database() as url:
        async with open_postgres(url) as storage:
            yield storage


def opened(implementation: str, folder: Path, request: pytest.FixtureRequest) -> AbstractAsyncContextManager[Storage]:
    """A fresh storage; skips where there is no server for it."""
    if implementation == "postgres":
        return _postgres(request.getfixturevalue("postgres"))
    return _memory() if implementation == "memory" else open_storage(folder / "node.db")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=IMPLEMENTATIONS)
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    async with opened(request.param, tmp_path, request) as fresh:
        yield fresh


async def put(storage: Storage, *nouns: Struct) -> None:
    def work(tx: Tx) -> None:
        for noun in nouns:
            tx.put(noun)

    await storage.write(work)


def refuse() -> None:
    raise NeugridError("refused")


# --- single nouns --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noun", EVERY_NOUN, ids=lambda noun: type(noun).__name__)
async def test_every_noun_comes_back_as_it_was_put(storage: Storage, noun: Struct) -> None:
    await put(storage, noun)

    assert storage.get(type(noun), str(getattr(noun, shape_of(type(noun)).key))) == noun
    assert storage.find(type(noun)) == [noun]


def test_every_noun_that_is_stored_has_a_sample() -> None:
    assert {type(noun) for noun in EVERY_NOUN} | {Entry, Happened} == set(SHAPES)


async def test_what_is_not_there_is_none(storage: Storage) -> None:
    assert storage.get(Job, "job_404404") is None
    assert storage.get(Entry, "1") is None
    assert storage.get(Entry, "no number") is None
    assert storage.get(Entry, "9" * 30) is None, "a number that no database has"


async def test_putting_again_replaces_body_and_columns(storage: Storage) -> None:
    await put(storage, a_job(state=JobState.PENDING))
    await put(storage, a_job(state=JobState.RUNNING))

    assert storage.find(Job, state=JobState.PENDING) == []
    assert storage.find(Job, state=JobState.RUNNING) == [a_job(state=JobState.RUNNING)]


async def test_inserting_a_taken_id_is_a_conflict(storage: Storage) -> None:
    await put(storage, a_mark(1, "first"))

    with pytest.raises(Conflict):
        await storage.write(lambda tx: tx.insert(a_mark(1, "second")))

    assert storage.find(Mark) == [a_mark(1, "first")]


async def test_two_keys_can_not_share_a_digest(storage: Storage) -> None:
    await put(storage, an_api_key("key_000001"))

    for write in (lambda tx: tx.insert(an_api_key("key_000002")), lambda tx: tx.put(an_api_key("key_000002"))):
        with pytest.raises(Conflict):
            await storage.write(write)

    await put(storage, an_api_key("key_000001"))
    assert storage.find(ApiKey) == [an_api_key("key_000001")]


async def test_deleting_removes_and_deleting_nothing_is_no_error(storage: Storage) -> None:
    await put(storage, a_mark(1), a_mark(2))

    await storage.write(lambda tx: tx.delete(Mark, a_mark(1).id))
    await storage.write(lambda tx: tx.delete(Mark, a_mark(1).id))

    assert storage.find(Mark) == [a_mark(2)]


async def test_a_noun_comes_with_the_other_that_it_names(storage: Storage) -> None:
    named, unnamed, astray = (
        a_job("job_000001", lease=a_lease().id), a_job("job_000002"), a_job("job_000003", lease="lse_404404")
    )  # fmt: skip
    await put(storage, named, unnamed, astray, a_lease())

    assert storage.pair(Job, named.id, "lease", Lease) == (named, a_lease())
    assert storage.pair(Job, unnamed.id, "lease", Lease) == (unnamed, None)
    assert storage.pair(Job, astray.id, "lease", Lease) == (astray, None)
    assert storage.pair(Job, "job_404404", "lease", Lease) == (None, None)
    with pytest.raises(TypeError):
        storage.pair(Job, "job_404404", "wings", Lease)


# --- find ----------------------------------------------------------------------------------------------------------


async def test_find_takes_equal_columns_and_any_of_several_values(storage: Storage) -> None:
    jobs = [a_job(f"job_{n:06}", account=f"acc_{n % 2}", state=state) for n, state in enumerate(JobState)]
    await put(storage, *jobs)

    assert storage.find(Job, account="acc_1") == jobs[1::2]
    assert storage.find(Job, state=tuple(JobState)[:3]) == jobs[:3]
    assert storage.find(Job, state=["running", "failed"], account="acc_1") == [jobs[3], jobs[5]]
    assert storage.find(Job, state=()) == []
    assert storage.count(Job, state=()) == 0
    assert storage.count(Job, account="acc_0") == 4
    assert storage.count(Job) == 7


async def test_leases_are_found_by_their_terms(storage: Storage) -> None:
    await put(storage, a_lease())

    assert storage.find(Lease, provider=PROVIDER, side="provider") == [a_lease()]
    assert storage.find(Lease, requester=PROVIDER) == []


async def test_pages_in_order_of_creation_hold_every_noun_once(storage: Storage) -> None:
    jobs = [a_job(f"job_{n:06}", created_at=NOW + n // 3) for n in range(10)]
    await put(storage, *jobs[::-1])

    for newest, expected in ((False, jobs), (True, jobs[::-1])):
        pages: list[list[Job]] = [[]]
        after = None
        while page := storage.find(Job, limit=4, after=after, newest=newest, account="acc_000001"):
            pages.append(page)
            after = (page[-1].created_at, page[-1].id)
        assert list(chain(*pages)) == expected
        assert [len(page) for page in pages] == [0, 4, 4, 2]


async def test_a_sweep_finds_deadlines_that_have_passed_and_no_others(storage: Storage) -> None:
    jobs = [a_job(f"job_{n:06}", deadline=deadline) for n, deadline in enumerate((0, NOW - 1, NOW, NOW + 1))]
    await put(storage, *jobs)

    assert storage.find(Job, deadline_until=NOW) == jobs[1:3]
    assert storage.count(Job, deadline_until=NOW, state=JobState.PENDING) == 2


async def test_an_effect_without_a_time_is_due_at_once(storage: Storage) -> None:
    pendings = [a_pending(f"{n}", not_before=Timestamp(at)) for n, at in enumerate((0, NOW, NOW + 1))]
    await put(storage, *pendings)

    assert storage.find(Pending, not_before_until=NOW) == pendings[:2]


async def test_old_answers_are_found_by_their_age(storage: Storage) -> None:
    answers = [Answer(id=f"a{n}", body_digest="", status=0, body=b"", created_at=Timestamp(NOW + n)) for n in range(3)]
    await put(storage, *answers)

    assert storage.find(Answer, created_until=NOW + 1) == answers[:2]


async def test_log_chunks_come_in_the_order_of_their_lines(storage: Storage) -> None:
    chunks = [a_chunk(first) for first in (0, 10, 100, 1000, 20)]
    await put(storage, *chunks)

    assert [chunk.first for chunk in storage.find(LogChunk, lease="lse_000001")] == [0, 10, 20, 100, 1000]
    assert storage.find(LogChunk, lease="lse_000001", first=100) == [a_chunk(100)]


async def test_a_column_that_is_not_there_is_a_type_error(storage: Storage) -> None:
    for condition in ({"bodi": 1}, {"body": "x"}, {"body_until": 1}):
        with pytest.raises(TypeError, match="mark has no column"):
            storage.find(Mark, **condition)
        with pytest.raises(TypeError, match="it has id, created"):
            storage.count(Mark, **condition)


async def test_a_noun_that_is_not_stored_is_a_type_error(storage: Storage) -> None:
    with pytest.raises(TypeError, match="Voucher is not stored"):
        await put(storage, a_voucher())


async def test_texts_are_in_the_order_of_their_bytes(storage: Storage) -> None:
    marks = [
        Mark(id=id, value="")
        for id in ("", "\0", "\1", "\1\1", "\2", "B", "_", "a", "a b", "ab", "z", "ä", "\u20ac", "\U0001f600")
    ]
    await put(storage, *marks[::-1])

    assert storage.find(Mark) == marks
    assert storage.find(Mark, after=(0, "a")) == marks[8:]


async def test_the_character_nul_is_like_any_other(storage: Storage) -> None:
    jobs = [a_job("job_\0", account="acc\0"), a_job("job_a", account="acc\0x"), a_job("job_b")]
    await put(storage, *jobs)

    assert storage.get(Job, "job_\0") == jobs[0]
    assert storage.get(Job, "job_a\0") is None
    assert storage.find(Job, account="acc\0") == [jobs[0]]
    assert storage.count(Job, account=("acc\0x", "acc\0")) == 2
    assert storage.count(Job, account="\0") == 0


async def test_times_and_amounts_have_64_bits(storage: Storage) -> None:
    job = a_job(deadline=2**63 - 1, created_at=2**62)
    await put(storage, job)

    assert storage.find(Job, deadline_until=2**63 - 1, limit=2**40) == [job]


# --- the journal ---------------------------------------------------------------------------------------------------


async def test_entries_are_numbered_in_the_order_of_writing(storage: Storage) -> None:
    await put(storage, an_entry("job_a"), an_entry("job_b", at=Timestamp(NOW - 5)), an_entry("job_a"))

    assert [(entry.seq, entry.subject) for entry in storage.find(Entry)] == [(1, "job_a"), (2, "job_b"), (3, "job_a")]
    assert [entry.seq for entry in storage.find(Entry, subject="job_a", newest=True)] == [3, 1]
    assert [entry.seq for entry in storage.find(Entry, after=(0, "1"), limit=1)] == [2]
    assert storage.get(Entry, "2") == an_entry("job_b", seq=2, at=Timestamp(NOW - 5))


async def test_the_number_of_an_entry_is_never_given_again(storage: Storage) -> None:
    await put(storage, an_entry(), an_entry())
    await storage.write(lambda tx: tx.delete(Entry, "2"))
    await put(storage, an_entry())

    assert [entry.seq for entry in storage.find(Entry)] == [1, 3]


# --- transactions --------------------------------------------------------------------------------------------------


async def test_write_returns_what_the_work_returned_and_the_work_sees_its_own_writes(storage: Storage) -> None:
    def work(tx: Tx) -> list[Mark]:
        tx.put(a_mark(1))
        tx.delete(Mark, a_mark(1).id)
        tx.insert(a_mark(2))
        return tx.find(Mark)

    assert await storage.write(work) == [a_mark(2)]


async def test_work_that_fails_undoes_its_own_writes_and_nobody_elses(storage: Storage) -> None:
    def work(tx: Tx, number: int) -> int:
        tx.insert(a_mark(number))
        tx.put(a_mark(0, f"seen by {number}"))
        if number % 3 == 0:
            refuse()
        return number

    writes = [storage.write(partial(work, number=number)) for number in range(1, 31)]
    results = await asyncio.gather(*writes, return_exceptions=True)

    assert [n for n, result in enumerate(results, 1) if isinstance(result, NeugridError)] == list(range(3, 31, 3))
    assert [int(mark.value) for mark in storage.find(Mark)[1:]] == [n for n in range(1, 31) if n % 3]
    assert storage.get(Mark, a_mark(0).id) == a_mark(0, "seen by 29")


async def test_work_runs_exactly_once_also_beside_work_that_fails(storage: Storage) -> None:
    runs: list[int] = []

    def work(tx: Tx, number: int) -> None:
        runs.append(number)
        tx.put(a_mark(number))
        if number % 2:
            refuse()

    writes = [storage.write(partial(work, number=number)) for number in range(20)]
    await asyncio.gather(*writes, return_exceptions=True)

    assert runs == list(range(20))


async def test_work_knows_what_it_and_others_of_its_transaction_have_written_or_undone(storage: Storage) -> None:
    await put(storage, a_mark(1, "old"))
    seen: list[object] = []

    def look(tx: Tx) -> None:
        seen.append([(mark.id, mark.value) for mark in (*tx.find(Mark), tx.get(Mark, a_mark(2).id)) if mark])

    def work(tx: Tx, fails: bool) -> None:
        look(tx)
        tx.put(a_mark(1, "new"))
        tx.insert(a_mark(2))
        look(tx)
        tx.delete(Mark, a_mark(2).id)
        look(tx)
        if fails:
            refuse()

    one, two = a_mark(1).id, (a_mark(2).id, a_mark(2).value)
    writes = [storage.write(each) for each in (partial(work, fails=True), look, partial(work, fails=False), look)]
    results = await asyncio.gather(*writes, return_exceptions=True)

    assert [type(result) for result in results] == [NeugridError, type(None), type(None), type(None)]
    old, new = [(one, "old")], [(one, "new")]
    assert seen == [old, [*new, two, two], new, old, old, [*new, two, two], new, new]


async def test_work_that_runs_out_of_an_iterator_fails_like_any_other(storage: Storage) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await storage.write(lambda tx: next(iter(tx.find(Mark))))

    await put(storage, a_mark())
    assert storage.count(Mark) == 1


# --- random histories ----------------------------------------------------------------------------------------------

NUMBERS = st.integers(1, 4)
STEPS = st.one_of(
    st.tuples(st.just("put"), NUMBERS, st.sampled_from("abc")),
    st.tuples(st.just("insert"), NUMBERS, st.sampled_from("abc")),
    st.tuples(st.just("delete"), NUMBERS),
    st.tuples(st.just("journal"), NUMBERS),
    st.tuples(st.just("fail")),
)


def _key(number: int, letter: str) -> ApiKey:
    return an_api_key(f"key_{number}", letter * 64)


def _play(tx: Tx, history: list[tuple[object, ...]]) -> None:
    for name, *values in history:
        if name in ("put", "insert"):
            getattr(tx, str(name))(_key(*values))  # type: ignore[arg-type]
        elif name == "delete":
            tx.delete(ApiKey, f"key_{values[0]}")
        elif name == "journal":
            tx.put(an_entry(f"job_{values[0]}"))
        else:
            refuse()


async def _outcomes(storage: Storage, histories: list[list[tuple[object, ...]]]) -> list[object]:
    async def outcome(history: list[tuple[object, ...]]) -> str:
        try:
            await storage.write(lambda tx: _play(tx, history))
        except NeugridError as error:
            return error.code
        return "ok"

    codes = [await outcome(history) for history in histories]
    keys, entries = storage.find(ApiKey), [entry.subject for entry in storage.find(Entry)]
    return [codes, keys, entries, [storage.find(ApiKey, digest=letter * 64) for letter in "abc"]]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS[1:])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(histories=st.lists(st.lists(STEPS, max_size=6), max_size=6))
def test_all_storages_tell_the_same_story(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    implementation: str,
    histories: list[list[tuple[object, ...]]],
) -> None:
    async def told(implementation: str) -> list[object]:
        async with opened(implementation, tmp_path_factory.mktemp("story"), request) as storage:
            return await _outcomes(storage, histories)

    assert asyncio.run(told(implementation)) == asyncio.run(told("memory"))


TOGETHER = st.one_of(
    st.tuples(st.just("put"), NUMBERS, st.sampled_from("abc")),
    st.tuples(st.just("delete"), NUMBERS),
    st.tuples(st.just("journal"), NUMBERS),
    st.tuples(st.just("look"), NUMBERS),
    st.tuples(st.just("key"), NUMBERS, st.sampled_from("abc")),
    st.tuples(st.just("fail")),
)


def _play_together(tx: Tx, history: list[tuple[Any, ...]], seen: list[object]) -> None:
    for name, *values in history:
        if name == "put":
            tx.put(a_mark(values[0], values[1]))
        elif name == "delete":
            tx.delete(Mark, a_mark(values[0]).id)
        elif name == "journal":
            tx.put(an_entry(f"job_{values[0]}"))
        elif name == "key":
            tx.put(_key(*values))
        elif name == "look":
            entries = [entry.subject for entry in tx.find(Entry)]
            seen.append((tx.get(Mark, a_mark(values[0]).id), tx.find(Mark), entries, tx.count(ApiKey)))
        else:
            refuse()


async def _seen_together(storage: Storage, histories: list[list[tuple[Any, ...]]]) -> list[object]:
    """What each work saw and came to, when all come at once, and what is stored then."""
    seen: list[list[object]] = [[] for _ in histories]
    works = [partial(_play_together, history=history, seen=each) for history, each in zip(histories, seen, strict=True)]
    results = await asyncio.gather(*(storage.write(work) for work in works), return_exceptions=True)
    entries = [entry.subject for entry in storage.find(Entry)]
    return [seen, [type(result) for result in results], storage.find(Mark), entries, storage.find(ApiKey)]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS[1:])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(histories=st.lists(st.lists(TOGETHER, max_size=6), max_size=8))
def test_work_that_comes_together_sees_and_leaves_what_work_does_that_comes_alone(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    implementation: str,
    histories: list[list[tuple[Any, ...]]],
) -> None:
    async def told(implementation: str) -> list[object]:
        async with opened(implementation, tmp_path_factory.mktemp("story"), request) as storage:
            return await _seen_together(storage, histories)

    assert asyncio.run(told(implementation)) == asyncio.run(told("memory"))
