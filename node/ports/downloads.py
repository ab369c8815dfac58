"""Files from addresses that users name: fetched by this node, and therefore only from where strangers may look."""

from collections.abc import AsyncIterator
from typing import Protocol


class Downloads(Protocol):
    """Fetches what anybody may fetch. Raises InvalidParameters when the address leads elsewhere or nothing comes."""

    def fetch(self, url: str) -> AsyncIterator[bytes]:
        """The file behind an http or https URL, in chunks; its size is the caller's to bound, its time is bounded."""
        ...
