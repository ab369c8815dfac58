"""How ends are judged: a table of what the agent saw and what users are told."""

import pytest

from node.adapters.sandboxes.languages import Limits
from node.adapters.sandboxes.protocol import Ended
from node.adapters.sandboxes.verdict import judge_compilation, judge_run

LIMITS = Limits()
WORDS = ("NoMoreMemory",)


@pytest.mark.parametrize(
    ("ended", "error", "exit_code"),
    [
        (Ended(code=0), "", 0),
        (Ended(code=3), "RuntimeError", 3),
        (Ended(code=-11), "RuntimeError", 139),
        (Ended(code=None), "TLE", 137),
        (Ended(code=0, kills=1), "MLE", 0),
        (Ended(code=None, kills=1), "MLE", 137),
        (Ended(code=-9, kills=2), "MLE", 137),
        (Ended(code=1, stderr="Error: NoMoreMemory"), "MLE", 1),
        (Ended(code=0, stderr="Error: NoMoreMemory"), "", 0),
        (Ended(code=1, stderr="NoMoreMemory" + "x" * 5000), "RuntimeError", 1),
        (Ended(fault="FileNotFoundError: python3"), "InternalError", -1),
        (Ended(unclean=True), "SandboxError", -1),
    ],
)
def test_every_end_has_its_verdict(ended: Ended, error: str, exit_code: int) -> None:
    found = judge_run(ended, LIMITS, WORDS)
    assert (found.error, found.exit_code) == (error, exit_code)
    assert bool(found.message) == bool(error)


def test_a_cut_stream_is_mentioned_beside_the_reason() -> None:
    found = judge_run(Ended(code=-6, cut=(True, True)), LIMITS, WORDS)
    assert found.message == "it was ended by signal 6 (SIGABRT); stdout and stderr cut at 65536 bytes"


def test_a_signal_without_a_name_is_told_by_its_number() -> None:
    assert "signal 50 (unknown)" in judge_run(Ended(code=-50), LIMITS, WORDS).message


@pytest.mark.parametrize(
    ("ended", "error", "word"),
    [
        (Ended(code=0), None, ""),
        (Ended(code=1, stderr="line 1"), "CompilationError", "code 1"),
        (Ended(code=None), "CompilationError", "10 seconds"),
        (Ended(code=0, kills=1), "CompilationError", "256 MiB"),
        (Ended(fault="FileNotFoundError"), "InternalError", "could not be started"),
    ],
)
def test_a_compilation_succeeds_or_says_why_not(ended: Ended, error: str | None, word: str) -> None:
    found = judge_compilation(ended, LIMITS)
    assert (found.error if found else None) == error
    assert word in (found.message if found else "")
