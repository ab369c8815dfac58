"""What the engine says while it builds, as lines of a log, steps and the reason of a failure."""

import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from market.builds import STREAM, step_begins, step_ends
from market.units import Timestamp
from node.adapters.builds.dockerfile import Step
from node.ports import LogLine

MAX_LINE: Final = 16 * 1024
LINE_COST: Final = 64
LOG_LIMIT: Final = 8 * 2**20
"""Bytes of output kept of one build."""
LAST: Final = 12
"""Lines of the failing step that its owner is told at once."""
KILLED: Final = 137
_STEP: Final = re.compile(r"Step (\d{1,4})/(\d{1,4}) : .*", re.DOTALL)
_RED: Final = "\x1b[91m"
"""How the engine marks what came on stderr."""
_RESET: Final = "\x1b[0m"
_NOISE: Final = re.compile(
    r" ---> ?(Running in )?[0-9a-f]{0,12}|Removing intermediate container [0-9a-f]{12}|"
    r"Successfully built [0-9a-f]{12}"
)
_EXIT: Final = re.compile(r"returned a non-zero code: (\d{1,3})$")


class Told:
    """The log of one build as it grows: lines with their steps, and the last ones of the present step."""

    def __init__(self, emit: Callable[[LogLine], None], now: Callable[[], int]) -> None:
        self._emit_line = emit
        self._now = now
        self._left = LOG_LIMIT
        self._number = 0
        self._name = ""
        self._last: deque[str] = deque(maxlen=LAST)

    def begin(self, name: str) -> None:
        """A step begins; the one before it is done."""
        self.end()
        self._number, self._name = self._number + 1, name
        self._last.clear()
        self._say(step_begins(self._number, name))

    def end(self, problem: str = "") -> None:
        """The present step, if there is one, is done or failed."""
        if self._name:
            self._say(step_ends(self._number, problem))
            self._name = ""

    def line(self, stream: str, text: str) -> None:
        """A line of what a command wrote."""
        self._last.append(text[:200])
        if self._left > 0:
            self._left -= len(text) + LINE_COST
            shown = text if self._left > 0 else f"[the log limit of {LOG_LIMIT} bytes is reached: the rest is not kept]"
            self._emit(stream, shown)

    def failure(self, sentence: str) -> str:
        """The sentence with the step that it is about, and that step's last lines, within 1024 characters."""
        head = f"step {self._number} ({self._name[:120]}): {sentence[:300]}" if self._name else sentence[:420]
        tail = "\n".join(self._last)
        room = 1000 - len(head)
        return f"{head}\n{tail[-room:]}" if tail else head

    def _say(self, text: str) -> None:
        self._emit(STREAM, text)

    def _emit(self, stream: str, text: str) -> None:
        self._emit_line(LogLine(Timestamp(self._now()), stream, text[:MAX_LINE]))


class Words:
    """Reads the engine's messages about the planned steps; says when one of them begins."""

    def __init__(self, told: Told, steps: Sequence[Step]) -> None:
        self._told = told
        self._steps = steps
        self._at = 0
        self._open: dict[str, str] = {}
        self._is_fresh = False
        self.image = ""
        """The id of the last image that was made."""
        self.problem = ""
        """What the engine says that went wrong."""
        self.exit_code = 0

    def take(self, item: dict[str, Any]) -> None:
        """One message."""
        if "error" in item:
            self.problem = str(item["error"])[:1000]
            found = _EXIT.search(self.problem)
            self.exit_code = int(found[1]) if found else 1
        elif isinstance(item.get("aux"), dict):
            self.image = str(item["aux"].get("ID") or self.image)
        elif isinstance(item.get("stream"), str):
            self._stream(item["stream"])

    def flush(self) -> None:
        """What was written without a newline at its end."""
        for stream, text in self._open.items():
            if text:
                self._told.line(stream, text)
        self._open.clear()

    def _stream(self, text: str) -> None:
        if (match := _STEP.fullmatch(text)) and self._begins(int(match[1]), int(match[2])):
            return
        is_first, self._is_fresh = self._is_fresh, False
        if is_first and text == "\n":
            return  # the end of the line that named the step
        if text.startswith(_RED):
            self._text("stderr", text.removeprefix(_RED).removesuffix(_RESET))
        elif not _NOISE.fullmatch(text.rstrip("\n")):
            self._text("stdout", text)

    def _begins(self, number: int, total: int) -> bool:
        """Only the next of the planned steps begins; a command may write such lines too, and then they are its own."""
        if number != self._at + 1 or total != len(self._steps):
            return False
        self.flush()
        self._at = number
        if name := self._steps[number - 1].name:
            self._told.begin(name)
        self._is_fresh = True
        return True

    def _text(self, stream: str, text: str) -> None:
        *lines, rest = (self._open.get(stream, "") + text.replace("\r\n", "\n")).split("\n")
        for line in lines:
            self._told.line(stream, line)
        self._open[stream] = rest[:MAX_LINE]
