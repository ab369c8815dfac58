"""How a run is judged: what the agent saw, as one of the error types that users know. Pure."""

import signal
from collections.abc import Sequence
from typing import Final

from node.adapters.sandboxes.languages import Limits
from node.adapters.sandboxes.protocol import Ended
from node.ports import CodeRun

TIME: Final = "TLE"
MEMORY: Final = "MLE"
COMPILATION: Final = "CompilationError"
RUNTIME: Final = "RuntimeError"
SANDBOX: Final = "SandboxError"
INTERNAL: Final = "InternalError"
SPOKEN: Final = 4096
"""How much of the end of a stream is searched for what a runtime says without memory."""


def judge_run(ended: Ended, limits: Limits, memory_words: Sequence[str]) -> CodeRun:
    """The verdict on a run. A memory kill of any of its processes counts, whatever the program said of itself."""
    if ended.unclean:
        return failed(SANDBOX, "an earlier run left files that can not be removed")
    if ended.fault:
        return failed(INTERNAL, f"the program could not be started: {ended.fault}")
    error, message = _cause(ended, limits, memory_words)
    said = "; ".join(part for part in (message, _cut(ended, limits)) if part)
    return CodeRun(
        stdout=ended.stdout,
        stderr=ended.stderr,
        exit_code=_exit_code(ended),
        milliseconds=round(ended.milliseconds),
        error=error,
        message=said,
    )


def judge_compilation(ended: Ended, limits: Limits) -> CodeRun | None:
    """The only run of code that does not compile; None when it does."""
    if ended.fault:
        return failed(INTERNAL, f"the compiler could not be started: {ended.fault}")
    if ended.code == 0 and not ended.kills:
        return None
    if ended.kills:
        message = f"the compiler needed more than {limits.memory} MiB of memory"
    elif ended.code is None:
        message = f"the compiler needed more than {limits.compile:g} seconds"
    else:
        message = f"the compiler ended with code {_exit_code(ended)}"
    return CodeRun(
        stdout=ended.stdout, stderr=ended.stderr, exit_code=_exit_code(ended), error=COMPILATION, message=message
    )


def failed(error: str, message: str) -> CodeRun:
    """A run that did not come to be."""
    return CodeRun(exit_code=-1, error=error, message=message)


def _cause(ended: Ended, limits: Limits, memory_words: Sequence[str]) -> tuple[str, str]:
    if ended.kills > 0:
        return MEMORY, f"more than {limits.memory} MiB of memory were used"
    if ended.code is None:
        return TIME, f"it ran longer than {limits.run:g} seconds"
    if ended.code == 0:
        return "", ""
    if _speaks_of_memory(ended, memory_words):
        return MEMORY, f"its runtime could not get more memory: {limits.memory} MiB are there"
    if ended.code < 0:
        return RUNTIME, f"it was ended by signal {-ended.code} ({_signal_name(-ended.code)})"
    return RUNTIME, f"it ended with code {ended.code}"


def _speaks_of_memory(ended: Ended, memory_words: Sequence[str]) -> bool:
    said = ended.stderr[-SPOKEN:] + "\n" + ended.stdout[-SPOKEN:]
    return any(word in said for word in memory_words)


def _cut(ended: Ended, limits: Limits) -> str:
    names = [name for name, is_cut in zip(("stdout", "stderr"), ended.cut, strict=True) if is_cut]
    return f"{' and '.join(names)} cut at {limits.output} bytes" if names else ""


def _exit_code(ended: Ended) -> int:
    """As a shell tells it: 128 and the signal; 137 for what we killed."""
    code = -signal.SIGKILL if ended.code is None else ended.code
    return code if code >= 0 else 128 - code


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
