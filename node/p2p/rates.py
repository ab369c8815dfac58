"""Token buckets by name, and blame by name: both forget by themselves and never hold more than a fixed number."""

from collections import OrderedDict
from typing import Final

from msgspec import Struct

_MOST: Final = 10_000
HALF_LIFE: Final = 60.0


class _Level(Struct):
    value: float
    at: float


class Buckets:
    """One token bucket per name: `rate` tokens a second, at most `burst`; times in seconds of any one clock."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._levels: OrderedDict[str, _Level] = OrderedDict()

    def has(self, name: str, now: float) -> bool:
        """Whether a token is there; takes none."""
        return self._level(name, now).value >= 1

    def take(self, name: str, now: float) -> bool:
        """Take a token; False when there is none."""
        level = self._level(name, now)
        if level.value < 1:
            return False
        level.value -= 1
        return True

    def _level(self, name: str, now: float) -> _Level:
        level = self._levels.get(name)
        if level is None:
            level = self._levels[name] = _Level(self._burst, now)
            if len(self._levels) > _MOST:
                self._levels.popitem(last=False)
        level.value = min(self._burst, level.value + (now - level.at) * self._rate)
        level.at = now
        return level


class Blame:
    """Points against peers; they halve every minute. At `limit` a peer is banned for `ban` seconds."""

    def __init__(self, limit: float, ban: float) -> None:
        self._limit, self._ban = limit, ban
        self._points: OrderedDict[str, _Level] = OrderedDict()
        self._until: OrderedDict[str, float] = OrderedDict()

    def add(self, name: str, points: float, now: float) -> bool:
        """Count `points`; True when this is the moment at which the peer is to be kicked."""
        level = self._points.setdefault(name, _Level(0.0, now))
        level.value = level.value * 0.5 ** ((now - level.at) / HALF_LIFE) + points
        level.at = now
        if len(self._points) > _MOST:
            self._points.popitem(last=False)
        if level.value < self._limit:
            return False
        del self._points[name]
        self._until[name] = now + self._ban
        if len(self._until) > _MOST:
            self._until.popitem(last=False)
        return True

    def is_banned(self, name: str, now: float) -> bool:
        """Whether the peer is banned now."""
        until = self._until.get(name)
        if until is not None and until <= now:
            del self._until[name]
            return False
        return until is not None

    def banned(self, now: float) -> int:
        """How many are banned now."""
        return sum(1 for until in self._until.values() if until > now)
