"""The keys that `neugrid login` got, in a file of the user's own that nobody else may read."""

import os
import tempfile
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from market.errors import ConfigError

FILE: Final = Path("neugrid/logins.json")
"""Below XDG_CONFIG_HOME."""
OTHERS: Final = 0o077


class Logins(Struct, frozen=True, kw_only=True):
    """Keys by the addresses of their nodes; commands talk to the `current` one ("" = none) unless told otherwise."""

    current: str = ""
    keys: dict[str, str] = {}

    def key_of(self, url: str) -> str:
        """The key of the node at this address, "" without one: a key goes to nobody else."""
        return self.keys.get(url.rstrip("/"), "")


def read_logins() -> Logins:
    """What is kept; ConfigError for a file that others may read, or that holds something else."""
    file = _file()
    try:
        if file.stat().st_mode & OTHERS:
            raise ConfigError(f"others may read {file}, which holds keys: make it yours with chmod 600")
        return msgspec.json.decode(file.read_bytes(), type=Logins)
    except FileNotFoundError:
        return Logins()
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{file} can not be read: {error}") from error


def keep_login(url: str, key: str) -> None:
    """Remember the key, and talk to this node from now on."""
    known = read_logins()
    _write(Logins(current=url, keys={**known.keys, url: key}))


def forget_login(url: str) -> None:
    """Remember it no more."""
    known = read_logins()
    left = {each: key for each, key in known.keys.items() if each != url}
    _write(replace(known, current="" if known.current == url else known.current, keys=left))


def _write(logins: Logins) -> None:
    """Whole or not at all; the file is never anybody else's to read."""
    file = _file()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".logins-")  # 0600 from the beginning
    try:
        with os.fdopen(handle, "wb") as made:
            made.write(msgspec.json.encode(logins))
            made.flush()
            os.fsync(made.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _file() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / FILE
