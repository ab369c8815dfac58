"""The folders of services that outlive their containers."""

from typing import Protocol

from market.units import Timestamp


class KeptFolders(Protocol):
    """What services left at this provider."""

    async def drop_kept_volumes(self, before: Timestamp) -> tuple[str, ...]:
        """Remove for ever those that no container has and nobody has used since `before`; says which."""
        ...
