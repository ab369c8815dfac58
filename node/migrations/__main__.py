"""`python -m node.migrations "what changes"` writes the next revision from what the declared tables have and lack."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from node.adapters import sqlite
from node.migrations import REVISIONS
from node.migrations.steps import upgrade, write_revision


def main() -> None:
    """Bring a fresh database to the last revision, compare, and write the file beside the others."""
    with TemporaryDirectory() as folder:
        engine = sqlite.engine_over(sqlite.open_writer(Path(folder) / "compare.db"))
        upgrade(engine, "the database to compare with")
        write_revision(engine, "the database to compare with", f"{len(REVISIONS) + 1:04}", " ".join(sys.argv[1:]))
        engine.dispose()


main()
