"""A node's database into a file and back; what a restore would forget is refused unless it is accepted."""

import os
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from market.errors import Conflict, NeugridError
from node.adapters import sqlite
from node.adapters.backups import Made, copy_of_sqlite, digest, opened, remove, save, sqlite_side
from node.adapters.clock import SystemClock
from node.adapters.locks import held
from node.adapters.sqlite import Connection
from node.config import Config, database_password
from node.database import file_of
from node.migrations import migrate
from node.version import VERSION


class Restored(Struct, frozen=True, kw_only=True):
    """What a restore did: when its backup was made, and where what was there before is kept; None without any."""

    made: Made
    kept: Path | None


def back_up(config: Config, file: Path) -> Made:
    """Write the node's database as it is now to the new `file`; the node may run.

    Raises Conflict when there is such a file already, Unavailable when the database or the file can not be used.
    """
    made = Made(made_at=SystemClock().now(), program=VERSION)
    if config.storage.url:
        from node.adapters.postgres_backups import copy_of_postgres
        from node.adapters.postgres_places import database_at

        save(copy_of_postgres(database_at(config.storage.url, database_password())), file, made)
        return made
    if not file_of(config).exists():
        raise Conflict(f"there is no {file_of(config)}")
    save(copy_of_sqlite(file_of(config)), file, made)
    return made


def restore(config: Config, file: Path, *, accept_loss: bool = False) -> Restored:
    """Put the backup `file` in the place of the node's database, which is kept beside as `node.db.before-restore`.

    Raises InvalidParameters for what is no backup, and Conflict when a node runs, when something is kept there already,
    for a backup of a newer program, and, unless `accept_loss`, when the database has anything that the backup has not.
    """
    database = file_of(config)
    kept = database.with_name(database.name + ".before-restore")
    place = database.with_name(database.name + ".restoring")
    with held(database):
        if kept.exists():
            raise Conflict(f"{kept} is there already: move it away first", path=str(kept))
        try:
            put = _into_server if config.storage.url else _into_file
            return put(config, file, place, kept, accept_loss)
        finally:
            remove(place)


def _into_file(config: Config, file: Path, place: Path, kept: Path, accept_loss: bool) -> Restored:
    present = file_of(config)
    with opened(file, place) as (connection, made):
        if present.exists() and not accept_loss:
            _require_no_loss(_digest_of_file(present), digest(sqlite_side(connection)), made)
    is_kept = present.exists()
    if is_kept:
        _fold(present)
        os.link(present, kept)
        _move_log(present, kept)
    place.replace(present)
    return Restored(made=made, kept=kept if is_kept else None)


def _into_server(config: Config, file: Path, place: Path, kept: Path, accept_loss: bool) -> Restored:
    from node.adapters.postgres_backups import fill_with, held_alone, postgres_side, replace_rows
    from node.adapters.postgres_places import database_at

    with held_alone(database_at(config.storage.url, database_password())) as server, opened(file, place) as found:
        source, made = sqlite_side(found[0]), found[1]
        before = digest(postgres_side(server))
        if not accept_loss:
            _require_no_loss(before, digest(source), made)
        if before:
            mark = Made(made_at=SystemClock().now(), program=VERSION)
            save(lambda target: fill_with(postgres_side(server), target), kept, mark)
        replace_rows(server, source)
    return Restored(made=made, kept=kept if before else None)


def _require_no_loss(present: bytes, backup: bytes, made: Made) -> None:
    if present and present != backup:
        when = datetime.fromtimestamp(made.made_at / 1000, UTC).isoformat(" ", "seconds")
        raise Conflict(
            f"the database has writes that the backup of {when} has not. Vouchers that were signed or received since "
            "would be forgotten, and with them money that was promised or earned; --accept-loss restores all the same"
        )


def _digest_of_file(present: Path) -> bytes:
    """The rows of the present file, whose schema is brought up to date for that."""
    try:
        writer = sqlite.open_writer(present)
        try:
            migrate(sqlite.revision_of(writer), lambda: sqlite.engine_over(writer), str(present))
            return digest(sqlite_side(writer))
        finally:
            writer.close()
    except NeugridError as error:
        raise Conflict(
            f"{error.message}: nobody can say what it has that the backup has not; --accept-loss restores all the same"
        ) from error


def _fold(present: Path) -> None:
    """Bring what is in the log into the file, as far as the file can be read at all."""
    try:
        connection: Connection = sqlite.open_writer(present)
    except NeugridError:
        return
    connection.close()


def _move_log(present: Path, kept: Path) -> None:
    """What is left of the log belongs to the file that is kept; a new file must not find it."""
    for end in ("-wal", "-shm"):
        log = present.with_name(present.name + end)
        if log.exists():
            log.replace(kept.with_name(kept.name + end))
