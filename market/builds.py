"""Builds: a git source becomes an image; what both sides know about it, and how its steps stand in its log.

The lines of the builder itself are on a stream of their own, which no command of a build can write to:

    step 3 begins: RUN make
    step 3 done
    step 3 failed: exit code 2
"""

import re
from collections.abc import Iterable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

BUILDER: Final = "neugrid/build"
"""What stands as image in a workload that makes one."""
RESULT: Final = "image.tar"
"""The only output of a build: its image, as an archive."""
STREAM: Final = "build"
"""The stream of the builder's own lines."""
CODES: Final = ("BUILD_FAILED", "CLONE_FAILED", "BUILD_TOO_LARGE", "OUT_OF_MEMORY", "TIMEOUT")
"""How a build fails by its requester's doing: another provider would repeat it."""
MAX_STEPS: Final = 1024
MAX_NAME: Final = 200
_LINE: Final = re.compile(r"step (\d{1,4}) (?:begins: (.*)|(done)|failed(?:: (.*))?)", re.DOTALL)


class BuildOrder(Struct, frozen=True, kw_only=True):
    """What a build is for: its project, and the GPUs (`vram` in bytes each) that its image wants when it runs."""

    project: str
    gpus: int | None = None
    """None = not said: none for a first pod, and for a later one what it has."""
    vram: int = 0


class BuildStep(Struct, frozen=True, kw_only=True):
    """One step; `status` is "active", "done" or "failed", times in ms since the epoch, 0 = not yet."""

    number: int
    name: str
    status: str = "active"
    started_at: int
    finished_at: int = 0


def step_begins(number: int, name: str) -> str:
    """The line with which a step begins."""
    return f"step {number} begins: {' '.join(name.split())[:MAX_NAME]}"


def step_ends(number: int, problem: str = "") -> str:
    """The line with which it ends, well or with a problem."""
    return f"step {number} failed: {problem[:MAX_NAME]}" if problem else f"step {number} done"


def steps_after(steps: tuple[BuildStep, ...], lines: Iterable[tuple[int, str]]) -> tuple[BuildStep, ...]:
    """The steps when further lines of the builder came, each with its time; what is no line of a step is passed."""
    found = {step.number: step for step in steps}
    for at, text in lines:
        match = _LINE.fullmatch(text)
        if match is None:
            continue
        number, known = int(match[1]), found.get(int(match[1]))
        if match[2] is not None and known is None and len(found) < MAX_STEPS:
            found[number] = BuildStep(number=number, name=match[2][:MAX_NAME], started_at=at)
        elif match[2] is None and known is not None and known.status == "active":
            found[number] = replace(known, status="done" if match[3] else "failed", finished_at=at)
    return tuple(found[number] for number in sorted(found))
