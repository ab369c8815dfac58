"""The port `Storage` without storage: keys of users, marks, and the last of what is numbered are kept, no more."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from msgspec import Struct

from market.audit import AuditEntry
from node.ports import Tx
from node.records import Account, ApiKey, Happened, Mark

N = TypeVar("N", bound=Struct)
M = TypeVar("M", bound=Struct)
R = TypeVar("R")
KEPT: Final = (Account, ApiKey, Mark)
LAST: Final = (Happened, AuditEntry)


class NoStorage:
    """What a route costs without its storage; for that alone."""

    def __init__(self) -> None:
        self._kept: dict[str, Struct] = {}

    def get(self, noun: type[N], id: str) -> N | None:
        found = self._kept.get(id)
        return found if isinstance(found, noun) else None

    def pair(self, noun: type[N], id: str, column: str, other: type[M]) -> tuple[N | None, M | None]:
        return self.get(noun, id), None

    def find(self, noun: type[N], *, limit: int = 0, newest: bool = False, **where: Any) -> list[N]:
        found = [kept for kept in self._kept.values() if isinstance(kept, noun)]
        return [kept for kept in found if all(_fits(getattr(kept, name, ""), value) for name, value in where.items())]

    def count(self, noun: type[Struct], **where: object) -> int:
        return sum(isinstance(kept, noun) for kept in self._kept.values())

    async def write(self, work: Callable[[Tx], R]) -> R:
        result = work(self)
        await asyncio.sleep(0)
        return result

    def put(self, noun: Struct) -> None:
        if isinstance(noun, KEPT):
            self._kept[noun.id] = noun
        elif isinstance(noun, LAST):
            self._kept[type(noun).__name__] = noun

    insert = put

    def announce(self, ids: Sequence[str]) -> None:
        """Nobody else is there."""

    def delete(self, noun: type[Struct], id: str) -> None:
        self._kept.pop(id, None)


def _fits(found: object, wanted: object) -> bool:
    return found in wanted if isinstance(wanted, tuple | list) else found == wanted
