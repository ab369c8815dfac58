"""`neugrid db`: back a node's database up, and put a backup in its place."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from cli.nodes import ConfigFile, DataDir, Flag, settings_file
from cli.remote import HOME, print_fields, print_json

if TYPE_CHECKING:
    from node.adapters.backups import Made

app = App(
    name="db",
    help="A node's database: jobs, leases, channels, received vouchers, accounts, logs.",
)
FORGETS = (
    "What this node signed or received after the backup was made is forgotten: it may count money as free that is "
    "promised, and vouchers that it had not claimed are lost. Look at `neugrid wallet balance` before it trades on.\n"
)


@app.command
def backup(
    file: Path,
    *,
    config: ConfigFile = None,
    data_dir: DataDir = HOME,
    json: Annotated[bool, Flag] = False,
) -> None:
    """Write the whole database into one new file; the node may run.

    In it is what the node knows: orders, jobs, services, leases, channels
    with the highest vouchers of both sides, accounts and digests of API
    keys, kept logs. It is as secret as the database itself.

    NOT in it are the other files of the data directory, which must be kept
    as well: keys/ and password (without them the money is gone), wallet.db
    (the journal of transactions), node.toml, operator.key, the network
    file, audit-heads.jsonl, files/.

    A backup is old from the next voucher on. It is for a disk that fails
    and for a move, not for going back in time.
    """
    from node.backup import back_up
    from node.config import load_config

    made = back_up(load_config(settings_file(config, data_dir)), file.expanduser())
    fields = {"file": str(file), "made": _time(made), "bytes": file.expanduser().stat().st_size}
    print_json(fields) if json else print_fields(list(fields.items()))


@app.command
def restore(
    file: Path,
    *,
    accept_loss: Annotated[
        bool, Flag, Parameter(help="Restore although the present database has writes that the backup has not.")
    ] = False,
    config: ConfigFile = None,
    data_dir: DataDir = HOME,
    json: Annotated[bool, Flag] = False,
) -> None:
    """Put a backup in the place of the database; the node must not run.

    DANGEROUS where the node has traded since the backup was made. Vouchers
    are promises that only grow. What it signed since is forgotten:
    providers refuse its next vouchers as too low, and money counts as free
    that is promised. What it received since and had not claimed on the
    chain is lost for good. So a restore is refused while the present
    database has anything that the backup has not, unless --accept-loss is
    given.

    What was there is kept beside as node.db.before-restore, itself a backup
    where the database is PostgreSQL. Keys, wallet.db, settings and files
    are no part of a backup and stay as they are. A backup of SQLite can be
    restored into PostgreSQL and the other way round: `[storage] url` says
    where to.
    """
    from node.backup import restore as put_back
    from node.config import load_config

    done = put_back(load_config(settings_file(config, data_dir)), file.expanduser(), accept_loss=accept_loss)
    fields = {"made": _time(done.made), "kept": str(done.kept) if done.kept else None}
    print_json(fields) if json else print_fields(list(fields.items()))
    sys.stderr.write(FORGETS)


def _time(made: "Made") -> str:
    return datetime.fromtimestamp(made.made_at / 1000, UTC).isoformat(timespec="seconds")
