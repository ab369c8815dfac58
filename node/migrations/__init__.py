"""Brings a database to the schema of this program; Alembic is imported only when there is something to do."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from market.errors import Conflict

if TYPE_CHECKING:
    from sqlalchemy import Engine

FOLDER: Final = Path(__file__).parent
REVISIONS: Final = tuple(sorted(file.name.partition("_")[0] for file in (FOLDER / "versions").glob("[0-9]*.py")))
"""The shipped revisions, oldest first; a file is named by its number."""
HEAD: Final = REVISIONS[-1]


def migrate(present: str, engine: "Callable[[], Engine]", name: str) -> None:
    """Bring a database from revision `present` ("" = fresh) to HEAD, all steps or none; `name` is for messages.

    Raises Conflict when a newer program wrote it, Unavailable when a step fails.
    """
    if present == HEAD:
        return
    if present and present not in REVISIONS:
        raise Conflict(f"{name} has schema {present}, newer than this program knows ({HEAD}); use the newer program")
    from node.migrations.steps import upgrade

    upgrade(engine(), name)
