"""How a container ended, told from what the engine reports about it: pure functions of its state."""

import re
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from market.units import Timestamp
from node.ports import Exit

SIGNALLED: Final = (137, 143)
"""128 + SIGKILL and 128 + SIGTERM: what an engine leaves behind that is stopped or killed under a container."""
NOT_STARTED: Final = (126, 127)
"""The command can not be run, or is not in the image."""
COMMAND: Final = re.compile(r'exec: "|chdir to cwd')
"""What the runtime says when it is the command, or the folder that it begins in."""
VANISHED: Final = 255
"""Also what an engine notes for a container that did not survive a crash of it: its true code is lost."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


RESTORING: Final = 60_000
"""How long after its start, in ms, an engine may still note ends that it did not see."""


class Sight(Enum):
    """What was seen of a container's life: all of it, some of it, or that the engine went away meanwhile."""

    WHOLE = "whole"
    PARTIAL = "partial"
    BROKEN = "broken"


class Testimony(Struct, frozen=True, kw_only=True):
    """What is known beside the state: how much was seen, and whether the end was.

    `booted` and `revived` are when the machine of the engine and the engine began, in epoch ms, 0 = not known.
    """

    sight: Sight = Sight.PARTIAL
    saw_end: bool = False
    booted: int = 0
    revived: int = 0


NOTHING: Final = Testimony()


def exit_of(
    state: dict[str, Any], timeout: int, asked: str = "", had_oom: bool = False, told: Testimony = NOTHING
) -> Exit | None:
    """The end of a container, or None while it runs; `timeout` in seconds (0 is none), `asked` why we killed it.

    A deadline that has passed tells itself by the times, so that a node that was restarted says the same. The order
    is that of causes: what we did ourselves comes first, then the memory limit (even when the main process went on
    and exited with 0), then what looks like the engine's or the machine's doing: a kill that nobody asked for, unless
    the whole life was seen and the kill can only have come from inside; and a start that came to nothing, unless the
    command is the reason (an engine that goes away then leaves 128 behind). Nothing lives through a start of the
    machine; and an engine that was killed between an end and the note of it writes 0 down when it is back.
    """
    if not has_ended(state):
        return None
    started = timestamp_of(state["StartedAt"])
    finished = max(started, timestamp_of(state["FinishedAt"]))  # the engine notes a start after it happened
    code = int(state["ExitCode"])
    reason = "exited"
    was_overdue = asked == "timeout" or (started > 0 and 0 < timeout * 1000 <= finished - started)
    if asked == "killed":
        reason = "killed"
    elif code in SIGNALLED and was_overdue:
        reason = "timeout"
    elif had_oom or state.get("OOMKilled"):
        reason = "oom"
    elif (
        _is_doubtful(code, told.sight)
        or (not started and not is_refused(state))
        or 0 < started < told.booted <= finished
        or (code == 0 and _is_made_up(started, finished, told))
    ):
        reason = "engine"
    return Exit(code=code, reason=reason, started_at=started or finished, finished_at=finished)


def ended_at(end: Exit, now: Timestamp) -> Exit:
    """An engine that died over a start does not know when it came to nothing."""
    return replace(end, started_at=end.started_at or now, finished_at=now)


def may_be_oom(end: Exit, saw_kills: bool = False) -> bool:
    """Whether the engine's word about a memory kill, which comes by itself, would make another end of it.

    With `saw_kills` the machine had one meanwhile, and it may have been a child's: of that no code tells.
    """
    return end.reason == "engine" or (end.reason == "exited" and (end.code == SIGNALLED[0] or saw_kills))


def _is_made_up(started: int, finished: int, told: Testimony) -> bool:
    """Whether the engine may have noted an end that it was not there for: its code is lost then."""
    if told.saw_end or told.sight is Sight.WHOLE:
        return False
    if not told.revived:
        return told.sight is Sight.BROKEN
    return started < told.revived <= finished <= told.revived + RESTORING


def _is_doubtful(code: int, testimony: Sight) -> bool:
    return code in (*SIGNALLED, VANISHED) and testimony is not Sight.WHOLE


def is_refused(state: dict[str, Any]) -> bool:
    """Whether the container never ran because its command or its folder can not be had in the image.

    A file of the engine's own that is not there any more, because it is on its way out, leaves the same code behind.
    """
    return state["ExitCode"] in NOT_STARTED and bool(COMMAND.search(str(state.get("Error", ""))))


def has_ended(state: dict[str, Any]) -> bool:
    """Whether the container will not run any more: it exited, or its command could not be started."""
    if state["Status"] == "created":
        return state["ExitCode"] in NOT_STARTED
    return state["Status"] in ("exited", "dead")


def vanished(now: Timestamp) -> Exit:
    """The end of a container that is no longer there: infrastructure, and never the workload's failure."""
    return Exit(code=VANISHED, reason="engine", started_at=now, finished_at=now)


def timestamp_of(text: str) -> Timestamp:
    """Epoch milliseconds of the engine's RFC 3339 times (nanoseconds, any zone); 0 for its "never"."""
    if not text or text.startswith("0001-"):
        return Timestamp(0)
    return Timestamp((datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1))
