"""The patterns of `.dockerignore`, matched in time that the patterns' author can not blow up."""

from collections.abc import Sequence
from typing import Final

MAX_PATTERNS: Final = 128
MAX_PATTERN: Final = 256
MAX_SIZE: Final = 64 * 1024


class Ignored:
    """What a list of patterns leaves out of a context; the last pattern that fits decides, "!" takes back in."""

    def __init__(self, text: str) -> None:
        lines = [line.strip() for line in text.splitlines()]
        kept = [line for line in lines if line and not line.startswith("#") and len(line) <= MAX_PATTERN]
        self._patterns = [_pattern(line) for line in kept[:MAX_PATTERNS]]

    def has(self, path: str) -> bool:
        """Whether the path, or a folder that it lies in, is left out."""
        parts, is_out = path.split("/"), False
        for is_taken, pattern in self._patterns:
            if is_taken == is_out and _is_under(pattern, parts):
                is_out = not is_taken
        return is_out


def _pattern(line: str) -> tuple[bool, tuple[str, ...]]:
    plain = line.removeprefix("!").strip()
    return line.startswith("!"), tuple(part for part in plain.split("/") if part not in ("", "."))


def _is_under(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether the pattern fits the path or a folder above it; "**" stands for any number of folders."""
    reached = {0}
    for part in ("", *parts):
        if part:
            reached = {after for at in reached for after in _after(pattern, at, part)}
        reached |= {at + 1 for at in reached if at < len(pattern) and pattern[at] == "**"}
        if part and len(pattern) in reached:
            return True
    return False


def _after(pattern: Sequence[str], at: int, part: str) -> tuple[int, ...]:
    if at >= len(pattern):
        return ()
    if pattern[at] == "**":
        return (at,)
    return (at + 1,) if _fits(pattern[at], part) else ()


def _fits(pattern: str, text: str) -> bool:
    """Whether a part fits: "*" is any number of characters, "?" one. Going back to the last star alone is enough."""
    at, star, mark = 0, -1, 0
    place = 0
    while place < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, mark, at = at, place, at + 1
        elif at < len(pattern) and pattern[at] in ("?", text[place]):
            at, place = at + 1, place + 1
        elif star >= 0:
            mark, at = mark + 1, star + 1
            place = mark
        else:
            return False
    return not pattern[at:].strip("*")
