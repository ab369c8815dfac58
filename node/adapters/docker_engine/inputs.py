"""The /input folder, made readable for the unprivileged user of a container before anything of it runs."""

import os
import stat
from pathlib import Path
from typing import Final

from market.errors import InvalidParameters

FOLDER: Final = 0o755
FILE: Final = 0o555
"""An input may be a program; what runs there could copy it and run the copy all the same."""


def make_readable(folder: Path) -> None:
    """Give everybody read access to the folder's files, which the node wrote; InvalidParameters at anything else.

    Called before the container exists. Afterwards the host never touches the folder while a workload can see it.
    """
    os.chmod(folder, FOLDER)
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(where) / name
            mode = path.lstat().st_mode
            if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
                raise InvalidParameters(f"an input must be a regular file: {name!r}", field="inputs", value=name)
            path.chmod(FOLDER if stat.S_ISDIR(mode) else FILE)
