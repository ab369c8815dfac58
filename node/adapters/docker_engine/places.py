"""Going on in a log that is read again: which lines are known already, and whether some are missing between."""

from collections.abc import Sequence
from typing import Final

from market.dialogue import LogPlace
from node.ports import LogLine

STRAY: Final = 1000
"""Milliseconds that a line of one stream may be older than lines of another that are before it in the log."""


class Resumption:
    """Tells the lines behind `places` from those up to them, in a log that is read from some time before on.

    What the engine no longer has was cut off from the beginning: so nothing is missing where the line is still there
    that was read last.
    """

    def __init__(self, places: Sequence[LogPlace]) -> None:
        self._places = {place.stream: place for place in places}
        self._last = max(places, key=lambda place: place.at, default=None)
        self._seen = dict.fromkeys(self._places, 0)
        self._is_whole = self._last is None

    @property
    def since(self) -> int:
        """Seconds since the epoch from which the log is to be read again; 0 = from its beginning."""
        return max(0, self._last.at - STRAY) // 1000 if self._last else 0

    def is_known(self, line: LogLine) -> bool:
        """Whether the line was read before."""
        place = self._places.get(line.stream)
        if place is None or line.at > place.at:
            return False
        if self._last is not None and line.stream == self._last.stream and line.at == self._last.at:
            self._is_whole = True
        self._seen[line.stream] += line.at == place.at
        return line.at < place.at or self._seen[line.stream] <= place.count

    def is_behind_gap(self, line: LogLine) -> bool:
        """Whether lines are missing before this one, which is new; told once."""
        last = self._last
        if self._is_whole or last is None:
            return False
        self._is_whole = line.at > (last.at if line.stream == last.stream else last.at + STRAY)
        return self._is_whole
