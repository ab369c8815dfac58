"""How often an account may call: exact sliding windows in memory, and the headers that say where it stands."""

from collections import deque
from typing import Final

from msgspec import Struct

from market.errors import RateLimited

SWEEP_EVERY: Final = 60_000


class Standing(Struct, frozen=True):
    """An account within its window: how many calls are left, and when (epoch ms) the oldest one leaves it."""

    limit: int
    remaining: int
    reset_at: int
    seconds: int


class SlidingWindow:
    """At most `limit` calls of one key in any `seconds`; the keys of the silent are forgotten."""

    def __init__(self, limit: int, seconds: int) -> None:
        self.limit = limit
        self.seconds = seconds
        self._calls: dict[str, deque[int]] = {}
        self._swept_at = 0

    def hit(self, key: str, now: int) -> Standing:
        """Count one call at `now` (epoch ms); RateLimited when the window is full, and then nothing is counted."""
        self._sweep(now)
        calls = self._calls.get(key)
        if calls is None:
            calls = self._calls[key] = deque()
        start = now - self.seconds * 1000
        while calls and calls[0] <= start:
            calls.popleft()
        reset_at = (calls[0] if calls else now) + self.seconds * 1000
        if len(calls) >= self.limit:
            raise _refusal(self.limit, self.seconds, now, reset_at)
        calls.append(now)
        return Standing(self.limit, self.limit - len(calls), reset_at, self.seconds)

    def _sweep(self, now: int) -> None:
        if now - self._swept_at < SWEEP_EVERY:
            return
        self._swept_at = now
        start = now - self.seconds * 1000
        self._calls = {key: calls for key, calls in self._calls.items() if calls and calls[-1] > start}


def headers_of(standing: Standing, now: int) -> list[tuple[bytes, bytes]]:
    """X-RateLimit-* (reset in epoch seconds) and the IETF RateLimit fields."""
    wait = max(0, -(-(standing.reset_at - now) // 1000))
    return [
        (b"x-ratelimit-limit", b"%d" % standing.limit),
        (b"x-ratelimit-remaining", b"%d" % standing.remaining),
        (b"x-ratelimit-reset", b"%d" % -(-standing.reset_at // 1000)),
        (b"ratelimit-policy", b'"general";q=%d;w=%d' % (standing.limit, standing.seconds)),
        (b"ratelimit", b'"general";r=%d;t=%d' % (standing.remaining, wait)),
    ]


def _refusal(limit: int, seconds: int, now: int, reset_at: int) -> RateLimited:
    wait = max(1, -(-(reset_at - now) // 1000))
    return RateLimited(
        f"more than {limit} requests in {seconds} s; try again in {wait} s",
        limit=limit,
        window=seconds,
        retry_after=wait,
        reset_at=reset_at,
    )
