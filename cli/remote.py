"""Which node a command talks to, and how it shows what came back."""

import json as jsonlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from cli.logins import read_logins
from market.errors import ConfigError

if TYPE_CHECKING:
    from cli.client import Client

HOME: Final = Path("~/.neugrid")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Remote:
    """The node: by address and key, by `neugrid login`, or by the data directory of a node on this machine."""

    url: Annotated[str, Parameter(env_var="NEUGRID_URL", help="Address of the node's API.")] = ""
    key: Annotated[str, Parameter(env_var="NEUGRID_KEY", help="API key.")] = ""
    data_dir: Annotated[
        Path, Parameter(env_var="NEUGRID_DATA_DIR", help="Data directory of a node on this machine.")
    ] = HOME
    json: Annotated[bool, Parameter(negative="", help="Print JSON.")] = False


LOCAL: Final = Remote()


@contextmanager
def connected(remote: Remote) -> "Iterator[Client]":
    """A client of the node; ConfigError says what to do when none is known."""
    url, key = address_of(remote)
    from cli.client import Client

    with Client(url, key) as client:
        yield client


def address_of(remote: Remote) -> tuple[str, str]:
    """Address and key: as given, else of the last login, else from the api.json that a running node writes.

    A data directory that was named goes before the login.
    """
    if remote.url:
        return remote.url, remote.key or _local_key(remote) or read_logins().key_of(remote.url)
    logins = read_logins()
    if logins.current and remote.data_dir == HOME:
        return logins.current, remote.key or logins.key_of(logins.current)
    contact = _contact(remote)
    if contact is None:
        folder = remote.data_dir
        raise ConfigError(f"no node runs on {folder}: start one with `neugrid up`, or sign in with `neugrid login URL`")
    return contact["url"], remote.key or contact["key"]


def print_json(value: Any) -> None:
    """One JSON document, indented for people when it goes to a terminal."""
    print(jsonlib.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False), flush=True)


def print_lines(records: Iterable[Any], as_json: bool, *, is_live: bool) -> None:
    """The texts of log lines; as JSON one list, or an object a line while they come."""
    if as_json and not is_live:
        print_json(list(records))
        return
    for record in records:
        print_json(record) if as_json else print(record["message"], flush=True)


def print_fields(fields: Sequence[tuple[str, Any]]) -> None:
    """Names and values in two columns; what is not there is left out."""
    shown = [(name, value) for name, value in fields if value not in (None, "", [], ())]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print(f"{name:<{width}}  {value}", flush=True)


def print_object(found: Mapping[str, Any], as_json: bool) -> None:
    """One object: as JSON, or its fields in two columns, those of a part named by both."""
    if as_json:
        print_json(found)
        return
    parts = {name: value if isinstance(value, dict) else {"": value} for name, value in found.items()}
    print_fields([(f"{name} {inner}".strip(), item) for name, part in parts.items() for inner, item in part.items()])


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> None:
    """A table for people, or one sentence when there is nothing in it."""
    if not rows:
        print(empty)
        return
    texts = [[_text(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(len(row[at]) for row in texts) for at in range(len(columns))]
    for number, row in enumerate(texts):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        print(_bold(line) if number == 0 else line)


def say(line: str) -> None:
    """A line about progress, beside the output."""
    print(line, file=sys.stderr, flush=True)


def _contact(remote: Remote) -> dict[str, str] | None:
    file = remote.data_dir.expanduser() / "api.json"
    try:
        found: dict[str, str] = jsonlib.loads(file.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} can not be read: {error}") from error
    return found


def _local_key(remote: Remote) -> str:
    """The key of the local node, only when the address is its own: a key goes to nobody else."""
    contact = _contact(remote)
    is_own = contact is not None and contact["url"].rstrip("/") == remote.url.rstrip("/")
    return contact["key"] if contact is not None and is_own else ""


def _text(cell: Any) -> str:
    return "-" if cell is None or cell == "" else str(cell)


def _bold(line: str) -> str:
    return f"\x1b[1m{line}\x1b[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else line
