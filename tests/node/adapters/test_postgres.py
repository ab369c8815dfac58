"""What PostgreSQL must do beyond the port: durability, one owner, one schema, a server that goes away."""

import asyncio
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, aclosing, suppress
from itertools import count
from typing import Any

import msgspec
import psycopg
import pytest

from market.errors import ConfigError, Conflict, NeugridError, Unavailable
from node.adapters import postgres_places, postgres_storage
from node.adapters.postgres import Connection, revision_of
from node.adapters.postgres_places import database_at
from node.adapters.postgres_storage import Use, open_postgres
from node.adapters.storage import SqlStorage
from node.migrations import HEAD
from node.ports import Tx
from node.records import ApiKey, Entry, Mark
from tests.node.adapters.postgres_server import Server, name_in
from tests.node.adapters.samples import a_mark, an_api_key, an_entry
from tests.node.adapters.writers import together

pytestmark = pytest.mark.anyio
WITHIN = 60.0

WRITERS = """
import asyncio, sys
from node.adapters.postgres_storage import open_postgres
from node.records import Mark

async def write(storage, writer, start):
    number = start
    while True:
        mark = Mark(id=f"{start}-{writer}-{number}", value="x" * 500)
        await storage.write(lambda tx: tx.insert(mark))
        sys.stdout.write(mark.id + "\\n")
        sys.stdout.flush()
        number += 1

async def main(url, start):
    async with open_postgres(url) as storage:
        await asyncio.gather(*(write(storage, writer, start) for writer in range(16)))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def url(postgres: Server) -> Iterator[str]:
    with postgres.database() as url:
        yield url


def end_sessions(postgres: Server, url: str, how: str = "neugrid") -> None:
    """End every session that a node has with the database, from outside; they are gone when this returns."""
    sessions = f"FROM pg_stat_activity WHERE datname = '{name_in(url)}' AND application_name = '{how}'"
    ended = {pid for pid, _ in postgres.execute(f"SELECT pid, pg_terminate_backend(pid) {sessions}")}
    deadline = time.monotonic() + WITHIN
    while ended & {pid for (pid,) in postgres.execute(f"SELECT pid {sessions}")}:
        assert time.monotonic() < deadline


async def eventually(act: Callable[[], Any]) -> Any:
    """What `act` returns once it raises no Unavailable any more."""
    async with asyncio.timeout(WITHIN):
        while True:
            try:
                return await act()
            except Unavailable:
                await asyncio.sleep(0.01)


def children_until_killed(url: str, start: int, enough: int, end: Callable[[subprocess.Popen[str]], None]) -> list[str]:
    """Let a child process write until `enough` writes are acknowledged, `end` it, and return all it acknowledged."""
    child = subprocess.Popen(
        [sys.executable, "-c", WRITERS, url, str(start)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert child.stdout is not None
    with child.stdout:
        try:
            ids = [child.stdout.readline().strip() for _ in range(enough)]
            end(child)
        finally:
            child.kill()
        ids += [line.strip() for line in child.stdout if line.endswith("\n")]
    child.wait()
    return ids


async def let_go(postgres: Server, url: str) -> None:
    """Wait until the server has seen that whoever used the database is dead: it may be syncing his last commit."""

    async def is_unused() -> None:
        if postgres.execute(f"SELECT 1 FROM pg_stat_activity WHERE datname = '{name_in(url)}'"):
            raise Unavailable("it is in use")

    await eventually(is_unused)


# --- what was acknowledged is kept ---------------------------------------------------------------------------------


async def test_every_acknowledged_write_survives_kill_minus_nine(postgres: Server, url: str) -> None:
    acked: list[str] = []
    for start in range(2):
        acked += children_until_killed(url, start, random.randint(1, 300), lambda child: child.kill())
        await let_go(postgres, url)

    async with open_postgres(url) as storage:
        found = {mark.id for mark in storage.find(Mark)}
    assert set(acked) <= found


async def test_every_acknowledged_write_survives_an_immediate_stop_of_the_server(postgres: Server, url: str) -> None:
    acked = children_until_killed(url, 0, random.randint(50, 300), lambda child: postgres.stop(signal.SIGQUIT))
    postgres.start()

    async with open_postgres(url) as storage:
        assert set(acked) <= {mark.id for mark in storage.find(Mark)}


async def test_reads_see_only_what_is_committed(url: str) -> None:
    written, seen = threading.Event(), threading.Event()

    def work(tx: Tx) -> None:
        tx.put(a_mark())
        assert tx.find(Mark) == [a_mark()]
        written.set()
        seen.wait(10)

    async with open_postgres(url) as storage:
        writing = asyncio.ensure_future(storage.write(work))
        await asyncio.to_thread(written.wait, 10)
        before = storage.find(Mark)
        seen.set()
        await writing
        assert (before, storage.find(Mark)) == ([], [a_mark()])


async def test_many_writers_share_few_commits(url: str) -> None:
    async with open_postgres(url) as storage:
        await together(storage, *(lambda tx, n=n: tx.insert(a_mark(n)) for n in range(500)))  # type: ignore[misc]

        assert storage.count(Mark) == 500
        assert storage.commits <= 3, "that of the work before, and two of 256 at most"


@pytest.mark.parametrize("setting", ["synchronous_commit"])
async def test_a_server_that_does_not_sync_is_refused(postgres: Server, url: str, setting: str) -> None:
    name = name_in(url)
    postgres.execute(f"ALTER DATABASE {name} SET {setting} = off")

    with pytest.raises(ConfigError, match=f"{setting} = off, and must have on"):
        await opened_and_closed(url)


# --- work that goes wrong ------------------------------------------------------------------------------------------


async def test_what_nobody_waited_for_fails_with_what_was_built_on_it_and_then_its_own_work_alone(url: str) -> None:
    def too_long(tx: Tx) -> None:
        tx.put(a_mark(1))
        tx.put(Entry(noun="Job", subject=random_text(20_000), at=1, event="x", body=b""))  # type: ignore[arg-type]

    async with open_postgres(url) as storage:
        works = (lambda tx: tx.put(a_mark(2)), too_long, lambda tx: tx.put(a_mark(3)))
        results = await together(storage, *works)
        assert {type(result) for result in results} == {Unavailable}
        assert "a write beside this one was refused" in str(results[2])
        results = await together(storage, *works)
        assert [type(result) for result in results] == [type(None), NeugridError, type(None)]
        assert "refused a statement: index row" in str(results[1])
        assert storage.find(Mark) == [a_mark(2), a_mark(3)]


async def test_work_with_more_writes_than_wait_at_once_fails_in_the_same_way(url: str) -> None:
    def large(tx: Tx) -> None:
        for number in range(1000):
            tx.put(a_mark(number))
            if number == 500:
                tx.put(Entry(noun="Job", subject=random_text(20_000), at=1, event="x", body=b""))  # type: ignore[arg-type]

    async with open_postgres(url) as storage:
        works = (lambda tx: tx.put(a_mark(2000)), large, lambda tx: tx.put(a_mark(3000)))
        assert {type(result) for result in await together(storage, *works)} == {Unavailable}
        assert storage.find(Mark) == []
        assert [type(result) for result in await together(storage, *works)] == [type(None), NeugridError, type(None)]
        assert storage.find(Mark) == [a_mark(2000), a_mark(3000)]


async def test_work_that_hides_an_error_of_the_server_stores_nothing(url: str) -> None:
    def work(tx: Tx) -> None:
        tx.put(a_mark(1))
        with suppress(NeugridError):
            tx.insert(msgspec.structs.replace(an_api_key("key_1"), account=random_text(20_000)))

    async with open_postgres(url) as storage:
        with pytest.raises(NeugridError):
            await storage.write(work)
        assert storage.find(Mark) == []
        await storage.write(lambda tx: tx.put(a_mark(2)))
        assert storage.find(Mark) == [a_mark(2)]


async def test_a_unique_column_that_is_taken_fails_its_own_work_alone(url: str) -> None:
    def taken(tx: Tx) -> None:
        tx.put(a_mark(1))
        tx.put(an_api_key("key_2", "a"))

    async with open_postgres(url) as storage:
        await storage.write(lambda tx: tx.put(an_api_key("key_1", "a")))
        works = (lambda tx: tx.put(a_mark(2)), taken, lambda tx: tx.put(a_mark(3)))
        results = await asyncio.gather(*map(storage.write, works), return_exceptions=True)

        assert [type(result) for result in results] == [type(None), Conflict, type(None)]
        assert "taken already" in str(results[1])
        assert storage.find(ApiKey) == [an_api_key("key_1", "a")]
        assert storage.find(Mark) == [a_mark(2), a_mark(3)]


async def test_work_that_fails_before_it_asks_for_anything_costs_the_server_nothing(url: str) -> None:
    def fails(tx: Tx) -> None:
        tx.put(a_mark(1))
        raise Conflict("no")

    async with open_postgres(url) as storage:
        with pytest.raises(Conflict, match="no"):
            await storage.write(fails)
        await storage.write(lambda tx: tx.put(a_mark(2)))
        assert storage.find(Mark) == [a_mark(2)]


def random_text(length: int) -> str:
    return "".join(random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=length))


# --- a server that goes away ---------------------------------------------------------------------------------------


async def test_a_session_that_was_ended_between_two_uses_is_not_noticed(postgres: Server, url: str) -> None:
    async with open_postgres(url) as storage:
        await storage.write(lambda tx: tx.put(a_mark(1)))
        end_sessions(postgres, url)

        assert storage.find(Mark) == [a_mark(1)]
        await eventually(lambda: storage.write(lambda tx: tx.put(a_mark(2))))
        assert storage.count(Mark) == 2


async def test_a_session_that_ends_inside_of_work_is_unavailable_and_stores_nothing(postgres: Server, url: str) -> None:
    def work(tx: Tx) -> None:
        tx.insert(a_mark(1))
        end_sessions(postgres, url)
        for number in (2, 3):
            try:
                tx.insert(a_mark(number))
            except Unavailable:
                continue

    async with open_postgres(url) as storage:
        results = await together(storage, work, lambda tx: tx.put(a_mark(4)))
        assert [type(result) for result in results] == [Unavailable, Unavailable]
        assert storage.find(Mark) == []
        await eventually(lambda: storage.write(lambda tx: tx.put(a_mark(5))))
        assert storage.find(Mark) == [a_mark(5)]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_a_server_that_is_stopped_is_unavailable_until_it_is_back(
    postgres: Server, url: str, how: signal.Signals
) -> None:
    async with open_postgres(url) as storage:
        await storage.write(lambda tx: tx.put(a_mark(1)))
        postgres.stop(how)
        try:
            with pytest.raises(Unavailable, match="can not be reached"):
                storage.find(Mark)
            with pytest.raises(Unavailable, match="can not be reached"):
                await storage.write(lambda tx: tx.put(a_mark(2)))
        finally:
            postgres.start()

        async def found() -> list[Mark]:
            return storage.find(Mark)

        assert await eventually(found) == [a_mark(1)]
        await eventually(lambda: storage.write(lambda tx: tx.put(a_mark(3))))
        assert storage.find(Mark) == [a_mark(1), a_mark(3)]


def backend_of(storage: SqlStorage) -> int | None:
    """The process of the server that the writer's session has, None while it has none."""
    session: Any = storage._writer.rows.__self__._session  # type: ignore[attr-defined]
    try:
        return session and int(session._raw.info.backend_pid)
    except psycopg.Error:  # it is closed in this moment
        return None


async def test_what_was_acknowledged_stays_when_a_backend_is_killed(postgres: Server, url: str) -> None:
    """Whoever writes is told, unless no transaction was open, or the server has committed it: then he goes on."""
    acked: list[str] = []

    async def write_on(storage: SqlStorage) -> None:
        for number in count():
            await storage.write(lambda tx, n=number: tx.insert(a_mark(n)))  # type: ignore[misc]
            acked.append(a_mark(number).id)

    async with open_postgres(url) as storage:
        writing = asyncio.create_task(write_on(storage))
        while len(acked) < 20:
            await asyncio.sleep(0)
        pid = backend_of(storage)
        subprocess.run(["kill", "-9", str(pid)], check=True)
        async with asyncio.timeout(WITHIN):
            while not writing.done() and backend_of(storage) in (None, pid):
                await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises((Unavailable, asyncio.CancelledError)):
            await writing
        more = a_mark(900_000)
        await eventually(lambda: storage.write(lambda tx: tx.put(more)))
        assert {*acked, more.id} <= {mark.id for mark in storage.find(Mark)}


async def test_a_lost_answer_to_a_commit_is_asked_after(postgres: Server, url: str) -> None:
    """The server commits, and the connection is gone before it says so; or it is gone before the server commits."""
    connection = Connection(database_at(url))
    for is_stored in (True, False):
        connection.begin()
        connection.later("INSERT INTO mark (id, created, body) VALUES (%(id)s, 0, '')", {"id": str(is_stored)})
        asked = connection.rows

        def lose(sql: str, values: dict[str, Any], is_stored: bool = is_stored, asked: Any = asked) -> list[Any]:
            if sql != "COMMIT":
                return asked(sql, values)
            if is_stored:
                asked(sql, values)
            end_sessions(postgres, url)
            return asked("SELECT 1", {}) and []

        connection.rows = lose  # type: ignore[method-assign]
        if is_stored:
            connection.commit()
        else:
            with pytest.raises(Unavailable):
                connection.commit()
            connection.rollback()
        connection.rows = asked  # type: ignore[method-assign]
    assert connection.rows("SELECT id FROM mark", {}) == [("True",)]
    connection.close()


# --- who may open it -----------------------------------------------------------------------------------------------


async def test_a_second_node_is_refused_until_the_first_one_ends(url: str) -> None:
    async with open_postgres(url):
        with pytest.raises(Conflict, match="is in use by another node; stop it first"):
            await opened_and_closed(url)
        with pytest.raises(Conflict, match="in use by another node"):
            await opened_and_closed(url, use=Use.API)

    await opened_and_closed(url)


async def test_a_node_that_lost_its_database_to_another_writes_no_more(postgres: Server, url: str) -> None:
    async with open_postgres(url) as first:
        end_sessions(postgres, url)
        async with open_postgres(url):
            with pytest.raises(Conflict, match="in use by another node"):
                await first.write(lambda tx: tx.put(a_mark()))
        await first.write(lambda tx: tx.put(a_mark()))


async def test_processes_that_share_a_database_lose_nothing_of_each_others_writes(url: str) -> None:
    def add(tx: Tx) -> None:
        before = tx.get(Mark, "sum")
        tx.put(Mark(id="sum", value=str(int(before.value if before else 0) + 1)))
        tx.put(an_entry())

    async with open_postgres(url, use=Use.NODE) as one, open_postgres(url, use=Use.API) as other:
        with pytest.raises(Conflict):
            await opened_and_closed(url)
        await asyncio.gather(*(storage.write(add) for _ in range(100) for storage in (one, other)))
        assert one.get(Mark, "sum") == other.get(Mark, "sum") == Mark(id="sum", value="200")
        assert one.count(Entry) == 200


@pytest.mark.parametrize("whose", ["DATABASE {name}", "ROLE neugrid IN DATABASE {name}"])
@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
async def test_work_that_waited_for_its_turn_sees_what_was_written_meanwhile_whatever_the_default(
    postgres: Server, url: str, whose: str, isolation: str
) -> None:
    postgres.execute(f"ALTER {whose.format(name=name_in(url))} SET default_transaction_isolation = '{isolation}'")
    begun, still = threading.Event(), threading.Event()

    def first(tx: Tx) -> None:
        begun.set()
        still.wait(WITHIN)
        tx.put(a_mark(1))

    def second(tx: Tx) -> int:
        found = tx.count(Mark)
        tx.put(a_mark(2))
        return found

    async with open_postgres(url, use=Use.NODE) as one, open_postgres(url, use=Use.API) as other:
        holding = asyncio.ensure_future(one.write(first))
        await asyncio.to_thread(begun.wait, WITHIN)
        waiting = asyncio.ensure_future(other.write(second))
        await eventually(lambda: is_waited_for(postgres, url))
        still.set()
        await holding
        assert await waiting == 1


async def is_waited_for(postgres: Server, url: str) -> None:
    """Unavailable until a transaction waits for its turn."""
    waiting = "wait_event = 'advisory' AND query LIKE '%pg_advisory_xact_lock%'"
    if not postgres.execute(f"SELECT 1 FROM pg_stat_activity WHERE datname = '{name_in(url)}' AND {waiting}"):
        raise Unavailable("nobody waits")


async def test_a_session_that_did_not_get_our_isolation_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_places, "_SESSION", (r"default_transaction_isolation=repeatable\ read",))

    with pytest.raises(ConfigError, match="default_transaction_isolation = repeatable read, and must have read comm"):
        await opened_and_closed(url)


async def test_a_database_has_one_node_and_its_api_processes_outlive_it(url: str) -> None:
    async with open_postgres(url, use=Use.API) as api:
        async with open_postgres(url, use=Use.NODE):
            for use in (Use.NODE, Use.ALONE):
                with pytest.raises(Conflict, match="is in use by another node; stop it first"):
                    await opened_and_closed(url, use=use)
            await opened_and_closed(url, use=Use.API)
        await api.write(lambda tx: tx.put(a_mark()))
        await opened_and_closed(url, use=Use.NODE)


async def test_a_node_that_lost_its_place_to_another_writes_no_more_though_api_processes_do(
    postgres: Server, url: str
) -> None:
    async with open_postgres(url, use=Use.NODE) as first, open_postgres(url, use=Use.API) as api:
        end_sessions(postgres, url)
        async with open_postgres(url, use=Use.NODE):
            with pytest.raises(Conflict, match="in use by another node"):
                await first.write(lambda tx: tx.put(a_mark()))
            await eventually(lambda: api.write(lambda tx: tx.put(a_mark())))
        await first.write(lambda tx: tx.put(a_mark()))


async def test_a_node_brings_the_schema_up_to_date_before_its_api_processes_come(postgres: Server) -> None:
    with postgres.database("template0") as url:
        await opened_and_closed(url, use=Use.NODE)
        async with open_postgres(url, use=Use.API):
            connection = Connection(database_at(url))
            connection.rows("UPDATE alembic_version SET version_num = '0001'", {})
            connection.close()
            with pytest.raises(Conflict, match=r"has schema 0001, this program .*: stop its API processes"):
                await opened_and_closed(url, use=Use.NODE)


async def test_a_process_that_stands_still_in_a_transaction_does_not_keep_the_others_from_writing(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, still = threading.Event(), threading.Event()

    def stand_still(tx: Tx) -> None:
        tx.put(a_mark())
        begun.set()
        still.wait(WITHIN)

    async with open_postgres(url, use=Use.API) as other, AsyncExitStack() as stack:
        monkeypatch.setattr(postgres_storage, "STALLED", 0.2)  # for that one alone: the other may be slow, too
        stalled = await stack.enter_async_context(open_postgres(url, use=Use.API))
        held = asyncio.ensure_future(stalled.write(stand_still))
        await asyncio.to_thread(begun.wait, WITHIN)
        async with asyncio.timeout(WITHIN / 2):
            await other.write(lambda tx: tx.put(a_mark()))
        still.set()
        with pytest.raises(NeugridError):
            await held


# --- what is announced ---------------------------------------------------------------------------------------------


async def test_what_is_announced_is_heard_by_others_once_it_is_committed(url: str) -> None:
    def work(tx: Tx) -> None:
        tx.put(a_mark())
        tx.announce(["a", "b", "a"])
        tx.announce([])

    async with open_postgres(url, use=Use.NODE) as node, open_postgres(url, use=Use.API) as api:
        assert node.bells
        assert api.bells
        async with asyncio.timeout(WITHIN), aclosing(api.bells.heard()) as heard, aclosing(node.bells.heard()) as own:
            assert (await anext(heard), await anext(own)) == ((), ()), "anything may have happened before"
            await node.write(work)
            assert await anext(heard) == ("a", "b")
            assert api.find(Mark) == [a_mark()]
            await api.write(lambda tx: tx.announce(["c"]))
            assert await anext(own) == ("c",), "a process does not hear itself"


async def test_more_ids_than_one_notification_takes_are_all_heard(url: str) -> None:
    ids = [f"lse_{number:040}" for number in range(1000)]
    async with open_postgres(url, use=Use.NODE) as node, open_postgres(url, use=Use.API) as api:
        assert api.bells
        async with asyncio.timeout(WITHIN), aclosing(api.bells.heard()) as heard:
            await anext(heard)
            await node.write(lambda tx: tx.announce(ids))
            found: list[str] = []
            while len(found) < len(ids):
                found += await anext(heard)
    assert found == ids


async def test_who_could_not_hear_for_a_while_is_told_that_anything_may_have_happened(
    postgres: Server, url: str
) -> None:
    async with open_postgres(url, use=Use.API) as api:
        assert api.bells
        async with asyncio.timeout(WITHIN), aclosing(api.bells.heard()) as heard:
            assert await anext(heard) == ()
            end_sessions(postgres, url)
            assert await anext(heard) == ()


# --- what is opened ------------------------------------------------------------------------------------------------


async def opened_and_closed(url: str, password: str = "", use: Use = Use.ALONE) -> None:
    async with open_postgres(url, password, use=use):
        pass


async def test_a_fresh_database_gets_its_tables_and_a_newer_one_is_refused(postgres: Server) -> None:
    with postgres.database("template0") as url:
        with pytest.raises(Conflict, match=f"has schema none, this program {HEAD}: stop its API processes"):
            await opened_and_closed(url, use=Use.API)
        await opened_and_closed(url)
        connection = Connection(database_at(url))
        assert revision_of(connection) == HEAD
        connection.rows("UPDATE alembic_version SET version_num = '9999'", {})
        connection.close()
        for use in Use:
            with pytest.raises(Conflict, match="schema 9999, newer than this program knows"):
                await opened_and_closed(url, use=use)


async def test_the_password_is_given_beside_the_url_and_told_to_nobody(postgres: Server, url: str) -> None:
    name = name_in(url)
    await opened_and_closed(postgres.loopback_url(name), postgres.password)
    wrong = postgres.loopback_url(name).replace("@", ":secret-word@")
    with pytest.raises(Unavailable, match="password authentication failed") as refused:
        await opened_and_closed(wrong)
    assert "secret-word" not in refused.value.message
    assert "secret-word" not in repr(database_at(wrong))


@pytest.mark.parametrize("wrong", ["mysql://u:secret@h/db", "postgresql://u:se%cret@h/db", "host"])
def test_what_is_no_url_is_a_config_error_without_secrets(wrong: str) -> None:
    with pytest.raises(ConfigError, match="no URL of PostgreSQL") as refused:
        database_at(wrong)
    assert "secret" not in refused.value.message
    assert "se%cret" not in refused.value.message


async def test_the_sessions_have_our_settings(url: str) -> None:
    connection = Connection(database_at(url))
    found = {
        name: connection.rows(f"SHOW {name}", {})[0][0]
        for name in (
            "timezone",
            "statement_timeout",
            "idle_in_transaction_session_timeout",
            "application_name",
            "fsync",
        )
    }
    connection.close()
    assert list(found.values()) == ["UTC", "5s", "1min", "neugrid", "on"]


async def test_every_searched_text_is_compared_by_its_bytes(url: str) -> None:
    connection = Connection(database_at(url))
    found = connection.rows(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
        "AND data_type = 'character varying' AND collation_name IS DISTINCT FROM 'C' "
        "AND table_name <> 'alembic_version'",
        {},
    )
    connection.close()
    assert found == []
