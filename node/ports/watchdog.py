"""What ends containers when the node can not."""

from collections.abc import Mapping
from typing import Protocol

from market.units import Timestamp


class Watchdog(Protocol):
    """Outlives the node, and knows until when each of its containers may run."""

    async def guard(self, deadlines: Mapping[str, Timestamp]) -> None:
        """Let each container (by name) run until its deadline and no longer, whatever becomes of the node.

        A container that is not named lives as long as the node does. To be called every second or so: one who does
        not is taken for gone. Raises Unavailable when the watchdog can not be told.
        """
        ...

    async def leave(self) -> None:
        """The node ends in peace: what still runs is seen to, and then the watchdog ends too."""
        ...
