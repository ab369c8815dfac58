"""A storage whose changes have consequences, in the same transaction, whoever makes them: the folds of records."""

from collections.abc import Awaitable, Callable, Mapping
from contextvars import copy_context
from typing import Any, TypeVar

from msgspec import Struct

from node.engine import Fold
from node.ports import Clock, Storage, Tx

R = TypeVar("R")
Folds = Mapping[type[Struct], tuple[Fold, ...]]
"""What follows from a change of a record of that type; its `after` is None when the record was deleted."""


class FollowedStorage:
    """The port `Storage` around another one; work runs in the context of who asked, in the writer's thread, too."""

    def __init__(self, storage: Storage, clock: Clock, folds: Folds) -> None:
        self.get, self.pair, self.find, self.count = storage.get, storage.pair, storage.find, storage.count
        self._storage = storage
        self._clock = clock
        self._folds = folds

    def write(self, work: Callable[[Tx], R]) -> Awaitable[R]:
        context, now = copy_context(), self._clock.now()
        return self._storage.write(lambda tx: context.run(work, _FollowedTx(tx, self._folds, now)))


class _FollowedTx:
    """One transaction, which knows what it has read: following costs no second read."""

    def __init__(self, tx: Tx, folds: Folds, now: int) -> None:
        self.get, self.find, self.count, self.announce = tx.get, tx.find, tx.count, tx.announce
        self._tx = tx
        self._folds = folds
        self._now = now

    def put(self, noun: Struct) -> None:
        before = self._before(type(noun), noun)
        self._tx.put(noun)
        self._follow(before, noun)

    def insert(self, noun: Struct) -> None:
        self._tx.insert(noun)
        self._follow(None, noun)

    def delete(self, noun: type[Struct], id: str) -> None:
        before = self.get(noun, id) if noun in self._folds else None
        self._tx.delete(noun, id)
        if before is not None:
            self._follow(before, None)

    def _before(self, noun: type[Struct], after: Any) -> Any:
        return self.get(noun, after.id) if noun in self._folds else None

    def _follow(self, before: Any, after: Any) -> None:
        for fold in self._folds.get(type(before if after is None else after), ()):
            fold(self, before, after, self._now)
