"""How often who may call: exact sliding windows, and the headers that say where one stands.

A request counts as "general" and, on some routes, as its action. All windows must have room, or nothing is counted.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from market.errors import RateLimited
from node.ports import Calls, Standing, Window

GENERAL: Final = "general"
ACTIONS: Final = (GENERAL, "deploy", "power", "upload", "code-submit", "key-create", "withdraw", "auth")
ANONYMOUS: Final = "anonymous"

Rules = Mapping[str, Mapping[str, tuple[Window, ...]]]
"""By tier and action."""
UNLIMITED: Final[Rules] = {"": {}}
"""No windows for anybody."""
_Key = tuple[str, str, int]
"""Who, the action, and how long the window is in seconds."""


class MemoryCalls:
    """The port `Calls` for one process."""

    def __init__(self) -> None:
        self._calls: dict[_Key, deque[int]] = {}

    def take(self, who: str, windows: Sequence[tuple[str, Window]], now: int) -> list[Standing]:
        places = [self._place(who, action, window, now) for action, window in windows]
        if all(standing.remaining for standing, _ in places):
            for _, calls in places:
                calls.append(now)
        return [standing for standing, _ in places]

    def sweep(self, now: int) -> int:
        kept = {key: calls for key, calls in self._calls.items() if calls and calls[-1] > now - key[2] * 1000}
        gone, self._calls = len(self._calls) - len(kept), kept
        return gone

    def _place(self, who: str, action: str, window: Window, now: int) -> tuple[Standing, deque[int]]:
        calls = self._calls.setdefault((who, action, window.seconds), deque())
        start = now - window.seconds * 1000
        while calls and calls[0] <= start:
            calls.popleft()
        reset_at = (calls[0] if calls else now) + window.seconds * 1000
        remaining = max(0, window.limit - len(calls))
        return Standing(action, window.limit, remaining, reset_at, window.seconds), calls


class Limiter:
    """Holds the calls of everybody against the rules; they are counted in `calls`, which are this process's own."""

    def __init__(self, rules: Rules, calls: Calls | None = None) -> None:
        self._rules = rules
        self._calls = calls or MemoryCalls()

    def hit(self, who: str, tier: str, action: str, now: int) -> Standing | None:
        """Count one call at `now` (epoch ms); where the least is left, or None without any window.

        RateLimited when a window is full; `standing_of` it is that window's.
        """
        return self._take(who, self._windows(tier, GENERAL, action), now)

    def hit_also(self, who: str, tier: str, action: str, now: int) -> Standing | None:
        """The same for a call that counts as general already, and of which only now is known what it is."""
        return self._take(who, self._windows(tier, action), now)

    def _take(self, who: str, windows: list[tuple[str, Window]], now: int) -> Standing | None:
        if not windows:
            return None
        found = self._calls.take(who, windows, now)
        full = [standing for standing in found if standing.remaining == 0]
        if full:
            raise _refusal(max(full, key=lambda standing: standing.reset_at), now)
        return _counted(min(found, key=lambda standing: standing.remaining))

    def _windows(self, tier: str, *actions: str) -> list[tuple[str, Window]]:
        rules = self._rules.get(tier, {})
        return [(name, window) for name in dict.fromkeys(actions) for window in rules.get(name, ())]


def headers_of(standing: Standing, now: int) -> list[tuple[bytes, bytes]]:
    """X-RateLimit-* (reset in epoch seconds) and the IETF RateLimit fields."""
    wait = max(0, -(-(standing.reset_at - now) // 1000))
    name = standing.action.encode()
    return [
        (b"x-ratelimit-limit", b"%d" % standing.limit),
        (b"x-ratelimit-remaining", b"%d" % standing.remaining),
        (b"x-ratelimit-reset", b"%d" % -(-standing.reset_at // 1000)),
        (b"ratelimit-policy", b'"%s";q=%d;w=%d' % (name, standing.limit, standing.seconds)),
        (b"ratelimit", b'"%s";r=%d;t=%d' % (name, standing.remaining, wait)),
    ]


def standing_of(refusal: RateLimited) -> Standing:
    """The window that had no room."""
    action, limit, seconds, reset_at = (refusal.details[name] for name in ("action", "limit", "window", "reset_at"))
    return Standing(str(action), int(str(limit)), 0, int(str(reset_at)), int(str(seconds)))


def _counted(standing: Standing) -> Standing:
    return Standing(
        standing.action, standing.limit, standing.remaining - 1, standing.reset_at, standing.seconds
    )  # fmt: skip


def _refusal(full: Standing, now: int) -> RateLimited:
    wait = max(1, -(-(full.reset_at - now) // 1000))
    what = "requests" if full.action == GENERAL else f"requests of the kind {full.action!r}"
    return RateLimited(
        f"more than {full.limit} {what} in {full.seconds} s; try again in {wait} s",
        action=full.action,
        limit=full.limit,
        window=full.seconds,
        retry_after=wait,
        reset_at=full.reset_at,
    )
