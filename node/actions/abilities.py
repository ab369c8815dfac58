"""What this provider can do beyond work that ends: measured, offered by name, and held against what is committed."""

from collections.abc import Awaitable, Callable, Collection, Sequence

from market.errors import Refused
from market.matching import has_all
from market.workloads import Workload, needs_of

Source = Callable[[], Awaitable[Sequence[str]]]
"""Asks some part of the machine what it can do now, in the words of `Offer.capabilities`."""
MOST = 32


class Abilities:
    """The capabilities of this node, as they were at the last look."""

    def __init__(self, sources: Sequence[Source], lacks: Collection[str] = ()) -> None:
        self._sources = sources
        self._lacks = frozenset(lacks)
        """What others can do without naming it, and this node can not: "files" in and out, "probes"."""
        self.names: tuple[str, ...] = ()

    async def look(self) -> tuple[str, ...]:
        """Ask every part again; Unavailable when one does not answer."""
        found = {name for source in self._sources for name in await source()}
        self.names = tuple(sorted(found))[:MOST]
        return self.names

    def check(self, workload: Workload) -> None:
        """Refuse a workload that wants what is not sold here."""
        needs = needs_of(workload)
        lacking = self._lacks & _unnamed(workload)
        if lacking or not has_all(needs, self.names):
            missing = sorted({*needs, *lacking} - set(self.names))
            raise Refused(f"this provider does not sell {', '.join(missing)}", codes=("NOT_SOLD", *missing))


def _unnamed(workload: Workload) -> set[str]:
    """What it wants beyond the capabilities that have names in offers."""
    found = {"files"} if workload.inputs or workload.outputs else set()
    return found | ({"probes"} if workload.probe is not None else set())
