"""`neugrid exec` and `neugrid cp`: a command inside of what runs, and files out of it and into it."""

import os
import select
import shutil
import signal
import sys
import tarfile
import tempfile
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from cyclopts import Parameter

from cli.remote import LOCAL, Remote, connected
from market.errors import InvalidParameters, NeugridError

if TYPE_CHECKING:
    from cli.client import Client

Flag = Parameter(negative="")
INPUT, END, SIZE, LAST = 0, 1, 2, 3
PIECE: Final = 32 * 1024


def execute(
    id: str,
    /,
    *command: str,
    terminal: Annotated[bool, Parameter(alias="-t", help="With a terminal; by itself where there is one.")] = (
        sys.stdin.isatty() and sys.stdout.isatty()
    ),
    remote: Remote = LOCAL,
) -> int:
    """Run a command inside of a running job or pod: neugrid exec job_... -- sh. Its exit code is ours."""
    size = shutil.get_terminal_size()
    query = [("command", word) for word in command or ("sh",)]
    query += [("rows", str(size.lines)), ("columns", str(size.columns))] if terminal else []
    query += [("terminal", "true")] if terminal else []
    with connected(remote) as client, client.console(id, query) as socket, _raw(terminal):
        return _converse(socket, terminal)


def copy(source: str, target: str, /, *, remote: Remote = LOCAL) -> None:
    """Copy files: neugrid cp job_...:/output/x ./here, or neugrid cp ./x job_...:/tmp."""
    out, into = _inside(source), _inside(target)
    if (out is None) == (into is None):
        raise InvalidParameters("one of the two must be <id>:<path>", field="source", value=source)
    with connected(remote) as client:
        if out is not None:
            _fetch(client, *out, Path(target))
        elif into is not None:
            _send(client, Path(source), *into)


def _inside(place: str) -> tuple[str, str] | None:
    """Id and path of a place inside of a job or pod; None for a path of this machine."""
    id, colon, path = place.partition(":")
    return (id, path) if colon and path.startswith("/") and id.startswith(("job_", "pod_")) else None


# --- files ---------------------------------------------------------------------------------------------------------


def _fetch(client: "Client", id: str, path: str, target: Path) -> None:
    """Unpack what is at `path`: regular files and folders alone, and nothing outside of the target."""
    name = PurePosixPath(path).name
    with tempfile.TemporaryFile() as archive:
        for chunk in client.read_files(id, path):
            archive.write(chunk)
        archive.seek(0)
        with tarfile.open(fileobj=archive) as members:
            for member in members:
                _unpack(members, member, target, name)


def _unpack(members: tarfile.TarFile, member: tarfile.TarInfo, target: Path, name: str) -> None:
    """Into the target where that is a folder, else under its name, as cp does."""
    inner = PurePosixPath(member.name)
    if inner.is_absolute() or ".." in inner.parts:
        raise InvalidParameters("the archive leads out of its folder", field="path", value=member.name)
    rest = inner.relative_to(name) if inner.parts[:1] == (name,) else inner
    place = (target / name if target.is_dir() else target) / rest
    if member.isdir():
        place.mkdir(parents=True, exist_ok=True)
    elif member.isfile() and (content := members.extractfile(member)) is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            shutil.copyfileobj(content, file)
        place.chmod(0o755 if member.mode & 0o100 else 0o644)


def _send(client: "Client", source: Path, id: str, path: str) -> None:
    if not source.exists():
        raise InvalidParameters(f"there is no {source}", field="source", value=str(source))
    with tempfile.TemporaryFile() as archive:
        with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as members:
            members.add(source, source.name, filter=_plain)
        archive.seek(0)
        client.write_files(id, path, iter(lambda: archive.read(2**20), b""))


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Files and folders, without the names of this machine's users."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member if member.isfile() or member.isdir() else None


# --- a command -----------------------------------------------------------------------------------------------------


def _converse(socket: Any, has_terminal: bool) -> int:
    """Carry our input and its output until the command ends."""
    ended = threading.Event()
    if has_terminal:
        signal.signal(signal.SIGWINCH, lambda *_: _resize(socket))
    threading.Thread(target=_speak, args=(socket, ended), daemon=True).start()
    try:
        for message in _heard(socket):
            if message[0] == LAST:
                return _ended(message[1:])
            sys.stdout.buffer.write(message[1:])
            sys.stdout.buffer.flush()
    finally:
        ended.set()
    raise NeugridError("the connection to the node ended before the command")


def _heard(socket: Any) -> Iterator[bytes]:
    from websockets.exceptions import ConnectionClosed

    with suppress(ConnectionClosed):
        for message in socket:
            if isinstance(message, bytes) and message:
                yield message


def _speak(socket: Any, ended: threading.Event) -> None:
    """Our input, to its end; looked at twice a second, so that the end of the command ends this too."""
    from websockets.exceptions import ConnectionClosed

    with suppress(ConnectionClosed, OSError, ValueError):
        while not ended.is_set():
            if not select.select([sys.stdin], [], [], 0.5)[0]:
                continue
            data = os.read(sys.stdin.fileno(), PIECE)
            socket.send(bytes([INPUT]) + data if data else bytes([END]))
            if not data:
                return


def _resize(socket: Any) -> None:
    size = shutil.get_terminal_size()
    with suppress(Exception):
        socket.send(bytes([SIZE]) + msgspec.json.encode({"rows": size.lines, "columns": size.columns}))


def _ended(body: bytes) -> int:
    outcome = msgspec.json.decode(body)
    if outcome["code"]:
        raise NeugridError(outcome["message"], code=outcome["code"])
    return int(outcome["exit_code"]) & 0xFF


@contextmanager
def _raw(has_terminal: bool) -> Iterator[None]:
    """Our terminal hands on every key, and is itself again afterwards."""
    if not has_terminal:
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
