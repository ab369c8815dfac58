"""Runs Alembic over an open engine, in one transaction: all steps or none."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from market.errors import Unavailable
from node.migrations import FOLDER


def upgrade(engine: Engine, name: str, to: str = "head") -> None:
    """Step up to revision `to`; `name` of the database is for messages. Raises Unavailable when a step fails."""
    with _transaction(engine, name) as config:
        command.upgrade(config, to)


def downgrade(engine: Engine, name: str, to: str) -> None:
    """Step down to revision `to`; "base" is an empty database. Raises Unavailable when a step fails."""
    with _transaction(engine, name) as config:
        command.downgrade(config, to)


def check(engine: Engine, name: str) -> None:
    """Raises `alembic.util.CommandError` when the migrations do not make the tables that the code declares."""
    with _transaction(engine, name) as config:
        command.check(config)


def write_revision(engine: Engine, name: str, number: str, message: str) -> None:
    """Write the file of revision `number` from what differs between the declared tables and the database."""
    with _transaction(engine, name) as config:
        command.revision(config, message, autogenerate=True, rev_id=number)


@contextmanager
def _transaction(engine: Engine, name: str) -> Iterator[Config]:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            yield config
    except SQLAlchemyError as error:
        raise Unavailable(f"{name} can not be brought to the schema of this program: {error}") from error
