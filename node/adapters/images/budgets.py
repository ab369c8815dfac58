"""What requesters had pulled within the last hour, so that one of them can not use up disk and registries for all."""

from collections import deque
from typing import Final

from msgspec import Struct

from market.errors import RateLimited
from node.adapters.images.limits import ImageLimits
from node.ports import Clock

WINDOW: Final = 3_600_000
"""An hour, in ms."""
LOOKS: Final = 60
"""How often one requester may have a registry asked in an hour; what is here already is no question."""
IN_ALL: Final = 5
"""All requesters together have so many times what one has: a new name costs nothing."""


class _Use(Struct, frozen=True, kw_only=True):
    at: int
    requester: str
    digest: str = ""
    """The image that was pulled, "" for a look."""
    size: int = 0


class Budgets:
    """Sliding sums, in memory; the node's own pulls, by requester "", are free."""

    def __init__(self, clock: Clock, limits: ImageLimits) -> None:
        self._clock = clock
        self._limits = limits
        self._uses: deque[_Use] = deque()

    def look(self, requester: str) -> None:
        """Count a question to a registry; RateLimited when it is one too many."""
        if requester:
            self._take(_Use(at=self._clock.now(), requester=requester), LOOKS)

    def pull(self, requester: str, digest: str, size: int) -> None:
        """Count `size` bytes, once for an image and hour, however often it is tried; RateLimited above the budget."""
        uses = self._recent()
        if requester and not any(use.requester == requester and use.digest == digest for use in uses):
            self._take(_Use(at=self._clock.now(), requester=requester, digest=digest, size=size), 0)

    def _take(self, use: _Use, looks: int) -> None:
        uses = [other for other in self._recent() if bool(other.digest) == bool(use.digest)]
        own = [other for other in uses if other.requester == use.requester]
        for whose, found, share in (("you", own, 1), ("all requesters together", uses, IN_ALL)):
            if use.digest:
                self._check_bytes(whose, sum(other.size for other in found) + use.size, share)
            elif len(found) >= looks * share:
                raise _used_up(whose, f"{looks * share} images looked up", len(found) + 1)
        self._uses.append(use)

    def _check_bytes(self, whose: str, size: int, share: int) -> None:
        most = self._limits.pull_budget * share
        if size > most:
            raise _used_up(whose, f"{most} bytes pulled", size)

    def _recent(self) -> "deque[_Use]":
        """The uses that still count; old ones go, and there are never more than all may have."""
        while self._uses and self._uses[0].at <= self._clock.now() - WINDOW:
            self._uses.popleft()
        return self._uses


def _used_up(whose: str, most: str, got: int) -> RateLimited:
    sentence = f"the pull budget of {whose} is used up: at most {most} in an hour, got {got}"
    return RateLimited(sentence, limit="pull_budget", expected=most, got=got)
