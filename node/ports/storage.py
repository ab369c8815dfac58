"""Storage: nouns in, nouns out; one writer, and transactions that are on disk when they are answered."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from msgspec import Struct

N = TypeVar("N", bound=Struct)
M = TypeVar("M", bound=Struct)
R = TypeVar("R")


class Reader(Protocol):
    """Reads of nouns; each noun is a table of its searched columns and a JSON body."""

    def get(self, noun: type[N], id: str) -> N | None:
        """The noun with that id."""
        ...

    def find(
        self,
        noun: type[N],
        *,
        limit: int = 0,
        offset: int = 0,
        after: tuple[int, str] | None = None,
        newest: bool = False,
        **where: object,
    ) -> list[N]:
        """Nouns whose columns equal `where` (a tuple or list value means any of), in order of (created, id).

        `<column>_until=n` means at most n; a deadline of 0 is none and never found so. `limit` 0 = all; `offset` passes
        over as many, where there is a limit; `newest` turns the order round; `after` is the (created, id) of the last
        one seen. Entries come in order of `seq` alone, their id is `str(seq)`; log chunks in order of `first`. Raises
        TypeError for a column that the noun's row lacks.
        """
        ...

    def count(self, noun: type[Struct], **where: object) -> int:
        """How many nouns have these columns."""
        ...


class Tx(Reader, Protocol):
    """One open transaction in the writer's thread: synchronous, never kept."""

    def put(self, noun: Struct) -> None:
        """Insert or replace by id; an Entry with seq 0 is inserted. Conflict when a unique column is taken.

        The work ends with an error of a write: what it writes afterwards may be refused, too.
        """
        ...

    def insert(self, noun: Struct) -> None:
        """Insert; when the id is taken nothing of the work is stored, and it or its `write` has an error."""
        ...

    def delete(self, noun: type[Struct], id: str) -> None:
        """Delete by id, or do nothing."""
        ...

    def announce(self, ids: Sequence[str]) -> None:
        """Say to the other processes on this database, once it is committed, that these have changed."""
        ...


class Storage(Reader, Protocol):
    """Durable state. Reads see what is committed; writes are grouped, and answered after the commit is on disk."""

    def pair(self, noun: type[N], id: str, column: str, other: type[M]) -> tuple[N | None, M | None]:
        """The noun with that id, and the `other` whose id its `column` holds, both as they are at one moment.

        Raises TypeError for a column that the noun's row lacks.
        """
        ...

    def write(self, work: Callable[[Tx], R]) -> Awaitable[R]:
        """Run `work` once in the writer's thread, undone alone when it fails; its result comes once COMMIT has synced.

        It is called in the event loop. An error in `work` undoes only its own writes and is raised here. Raises
        Unavailable when the commit fails (disk full), or when a write of other work in it was refused: then nothing of
        it is stored, unless it says that this is not known, of a database server that went away in the middle of a
        COMMIT and stayed away. Cancelling the caller does not undo it.
        """
        ...


class Bells(Protocol):
    """What other processes on the same database announce."""

    def heard(self) -> AsyncIterator[tuple[str, ...]]:
        """The ids that changed elsewhere, without end; () means that anything may have, as at the beginning."""
        ...
