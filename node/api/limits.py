"""How often who may call: exact sliding windows in memory, and the headers that say where one stands.

A request counts as "general" and, on some routes, as its action. All windows must have room, or nothing is counted.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct

from market.errors import RateLimited

GENERAL: Final = "general"
ACTIONS: Final = (GENERAL, "deploy", "power", "code-submit", "key-create", "auth")
ANONYMOUS: Final = "anonymous"
SWEEP_EVERY: Final = 60_000


class Window(Struct, frozen=True):
    """At most `limit` calls in any `seconds`."""

    limit: int
    seconds: int


Rules = Mapping[str, Mapping[str, tuple[Window, ...]]]
"""By tier and action."""
UNLIMITED: Final[Rules] = {"": {}}
"""No windows for anybody."""
_Key = tuple[str, str, int]
"""Who, the action, and how long the window is in seconds."""


class Standing(Struct, frozen=True):
    """Where somebody stands in one window: what is left, and when (epoch ms) the oldest call leaves it."""

    action: str
    limit: int
    remaining: int
    reset_at: int
    seconds: int


class Limiter:
    """Counts calls by who makes them; the silent are forgotten."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._calls: dict[_Key, deque[int]] = {}
        self._swept_at = 0

    def hit(self, who: str, tier: str, action: str, now: int) -> Standing | None:
        """Count one call at `now` (epoch ms); where the least is left, or None without any window.

        RateLimited when a window is full; `standing_of` it is that window's.
        """
        self._sweep(now)
        places = [self._place(who, name, window, now) for name, window in self._windows(tier, action)]
        full = [found for found, _ in places if found.remaining == 0]
        if full:
            raise _refusal(max(full, key=lambda found: found.reset_at), now)
        for _, calls in places:
            calls.append(now)
        left = [found for found, _ in places]
        return _counted(min(left, key=lambda found: found.remaining)) if left else None

    def _windows(self, tier: str, action: str) -> Iterator[tuple[str, Window]]:
        rules = self._rules.get(tier, {})
        for name in (GENERAL, action) if action != GENERAL else (GENERAL,):
            for window in rules.get(name, ()):
                yield name, window

    def _place(self, who: str, action: str, window: Window, now: int) -> tuple[Standing, deque[int]]:
        calls = self._calls.setdefault((who, action, window.seconds), deque())
        start = now - window.seconds * 1000
        while calls and calls[0] <= start:
            calls.popleft()
        reset_at = (calls[0] if calls else now) + window.seconds * 1000
        remaining = max(0, window.limit - len(calls))
        return Standing(action, window.limit, remaining, reset_at, window.seconds), calls

    def _sweep(self, now: int) -> None:
        if now - self._swept_at < SWEEP_EVERY:
            return
        self._swept_at = now
        self._calls = {key: calls for key, calls in self._calls.items() if calls and calls[-1] > now - key[2] * 1000}


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
