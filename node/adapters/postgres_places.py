"""Where a PostgreSQL database is, and how a connection to it is made: by whom, with which settings, for how long."""

from typing import Any, Final

import psycopg
from msgspec import Struct
from psycopg.conninfo import conninfo_to_dict

from market.errors import ConfigError, Unavailable
from node.adapters.postgres_session import Raw

_SESSION: Final = (
    "timezone=UTC",
    r"default_transaction_isolation=read\ committed",
    "idle_in_transaction_session_timeout=60s",
    "tcp_keepalives_idle=5",
    "tcp_keepalives_interval=2",
    "tcp_keepalives_count=3",
    "tcp_user_timeout=15s",
)
"""The server ends the session of a machine that vanished within a quarter of a minute, and with it its locks.

Whatever role or database have as their default, each statement sees what was committed before it: a transaction that
waited for its turn must see what was written meanwhile, and not what stood when it began to wait.
"""
_NETWORK: Final = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""The same for a server that vanished; seconds, the last in milliseconds."""


class Database(Struct, frozen=True):
    """Where the database is; `password` overrides that of the URL. `name` is how messages call it, without secrets."""

    url: str
    password: str = ""
    name: str = ""

    def __repr__(self) -> str:
        return f"Database({self.name})"


def database_at(url: str, password: str = "") -> Database:
    """The database that a URL names; ConfigError when it is none of PostgreSQL."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error:
        raise ConfigError("storage.url is no URL of PostgreSQL such as postgresql://user@host:5432/name") from None
    place = f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}"
    return Database(url, password, f"{parts.get('dbname', '')} at {place}")


def connected(database: Database, seconds: int) -> Raw:
    """A new session whose statements take at most `seconds`, or any time with 0; Unavailable without a server."""
    try:
        return psycopg.connect(database.url, autocommit=True, **terms_of(database, seconds))
    except psycopg.Error as error:
        raise Unavailable(f"the database {database.name} can not be reached: {first_line(error)}") from error


def terms_of(database: Database, seconds: int) -> dict[str, Any]:
    """What is said to the driver besides the URL."""
    settings = " ".join(f"-c {setting}" for setting in (*_SESSION, f"statement_timeout={seconds}s"))
    secret = {"password": database.password} if database.password else {}
    fixed = {"application_name": "neugrid", "client_encoding": "UTF8", "options": settings}
    return {**fixed, **_NETWORK, **secret}


def first_line(error: psycopg.Error) -> str:
    """What the error says, without its hints and places."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
