"""Attacks that are more than a program: outputs, images, sessions, volumes, and what one piece of code leaves behind.

A scene returns what escaped, in words; an end that is not the right one fails an assertion.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from msgspec import Struct

Play = Callable[[Any], Awaitable[list[str]]]


class Scene(Struct, frozen=True, kw_only=True):
    """One scripted attack on a stage of one of the `tiers`."""

    id: str
    group: str
    play: Play
    tiers: tuple[str, ...]
    left: str = ""
    """Why it can not be stopped yet: told, and not counted as an escape."""


def scene(group: str, *tiers: str) -> Callable[[Play], Scene]:
    """Make a scene of a function; its name is the attack's."""

    def made(play: Play) -> Scene:
        name: str = getattr(play, "__name__", "")
        return Scene(id=name.replace("_", "-"), group=group, play=play, tiers=tiers or ALL)

    return made


ALL: Final = ("batch", "service")
