"""Who called how often, for all processes on one PostgreSQL: exact windows, in one round trip.

Every call of somebody for an action has the next number. What lies in a window is the difference between the last
number and that of the first call in it: two looks into an index, however many calls there are.
"""

from collections.abc import Sequence
from functools import cache
from typing import Final

from node.adapters.postgres import Connection
from node.adapters.postgres_places import Database
from node.ports import Standing, Window

LOCKS: Final = int.from_bytes(b"call")
"""Whose calls are counted now: advisory locks of two numbers, which are others than those of one."""
AT_ONCE: Final = 1000
"""Calls that are forgotten in one statement: the loop stands still for it."""
_ONE_AT_A_TIME: Final = f"SELECT pg_advisory_xact_lock({LOCKS}, hashtext(%(who)s))"
_SWEEP: Final = f"""
    WITH over AS (SELECT who, action, n FROM called WHERE until <= %(now)s LIMIT {AT_ONCE}),
    gone AS (
        DELETE FROM called USING over
        WHERE called.who = over.who AND called.action = over.action AND called.n = over.n RETURNING 1
    )
    SELECT count(*) FROM gone
"""  # noqa: S608 - a number of ours


class PostgresCalls:
    """The port `Calls` over a session of its own, which does not wait for the disk: a power cut may forget calls."""

    def __init__(self, database: Database) -> None:
        self._connection = Connection(database, _do_not_wait_for_disk)

    def take(self, who: str, windows: Sequence[tuple[str, Window]], now: int) -> list[Standing]:
        values: dict[str, object] = {"who": who, "now": now}
        for place, (action, window) in enumerate(windows):
            values |= {
                f"action_{place}": action,
                f"most_{place}": window.limit,
                f"long_{place}": window.seconds * 1000,
            }
        rows = self._connection.rows(_counting(len(windows)), values, first=(_ONE_AT_A_TIME,))
        return [_standing(action, window, now, *row) for (action, window), row in zip(windows, rows, strict=True)]

    def sweep(self, now: int) -> int:
        return int(self._connection.rows(_SWEEP, {"now": now})[0][0])

    def close(self) -> None:
        """End the session."""
        self._connection.close()


def _do_not_wait_for_disk(session: Connection) -> None:
    session.rows("SET synchronous_commit = off", {})


def _standing(action: str, window: Window, now: int, used: int, oldest: int | None) -> Standing:
    reset_at = (now if oldest is None else oldest) + window.seconds * 1000
    return Standing(action, window.limit, max(0, window.limit - used), reset_at, window.seconds)


@cache
def _counting(windows: int) -> str:
    """Counts a call where all windows have room; for each what was in it before, and its oldest call.

    No call is earlier than the one before it, whatever the clocks of the processes say.
    """
    wanted = ", ".join(
        f"({place}, %(action_{place})s, %(most_{place})s::bigint, %(long_{place})s::bigint)" for place in range(windows)
    )
    return f"""
        WITH wanted (place, action, most, long) AS (VALUES {wanted}),
        found AS (
            SELECT wanted.*, latest.n AS last, greatest(latest.at, %(now)s::bigint) AS at,
                   coalesce(latest.n - oldest.n + 1, 0) AS used, oldest.at AS oldest
            FROM wanted
            LEFT JOIN LATERAL (
                SELECT n, at FROM called WHERE who = %(who)s AND called.action = wanted.action ORDER BY n DESC LIMIT 1
            ) latest ON true
            LEFT JOIN LATERAL (
                SELECT n, at FROM called WHERE who = %(who)s AND called.action = wanted.action
                AND at > %(now)s::bigint - long ORDER BY at, n LIMIT 1
            ) oldest ON true
        ),
        counted AS (
            INSERT INTO called (who, action, n, at, until)
            SELECT %(who)s, action, coalesce(max(last), 0) + 1, max(at), max(at + long) FROM found
            WHERE NOT EXISTS (SELECT 1 FROM found WHERE used >= most) GROUP BY action
        )
        SELECT used, oldest FROM found ORDER BY place
    """  # noqa: S608 - the names of placeholders
