"""The two lanes of `make test` over a few tests of its own: what passes, what fails, what is left out, and Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lanes.shares import OWN_ENGINES, Share, disagreements

ROOT = Path(__file__).parents[2]
PLAIN = "def test_plain(): pass\n"
MARKED = "import pytest\n@pytest.mark.docker\ndef test_marked(): pass\n"
FAILED = "def test_failed(): assert 1 == 2\n"
UNMARKED = "import pytest\n@pytest.fixture\ndef engine(): pass\ndef test_unmarked(engine): pass\n"
ENDLESS = """
import subprocess, sys, pytest

def endless():
    child = subprocess.Popen(["sleep", "60"])
    try:
        sys.__stderr__.write(f"child {child.pid}\\n")
        child.wait()
    finally:
        child.kill()
        child.wait()

def test_endless(): endless()

@pytest.mark.docker
def test_endless_too(): endless()
"""

SWIFT = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}

Write = Callable[..., list[str]]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """The command that plays the tests of these files, which are all there are."""

    def write(*files: str) -> list[str]:
        (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    docker: x\n")
        for number, text in enumerate(files):
            (tmp_path / f"test_number{number}.py").write_text(text)
        return [sys.executable, "-m", "tests.lanes", str(tmp_path)]

    return write


def played(command: list[str]) -> tuple[int, str]:
    done = subprocess.run(command, cwd=ROOT, env=SWIFT, capture_output=True, text=True, timeout=150)
    return done.returncode, done.stdout + done.stderr


def test_every_test_runs_in_one_lane(written: Write) -> None:
    code, said = played(written(PLAIN, MARKED))
    assert code == 0, said
    assert re.findall(r"^lane (\w+): (\d+) tests, \d+ s, exit status 0$", said, re.M) == [
        ("engine", "1"),
        ("others", "1"),
    ]
    assert re.findall(r"^(\w+) \| \S*(test_number\d)", said, re.M) in (
        [("engine", "test_number1"), ("others", "test_number0")],
        [("others", "test_number0"), ("engine", "test_number1")],
    )


def test_what_fails_in_one_lane_fails_the_run_and_is_named_at_the_end(written: Write) -> None:
    code, said = played(written(PLAIN, MARKED, FAILED))
    assert code == 1
    assert re.match(r"FAILED \S+::test_failed", said.splitlines()[-1])


def test_a_lane_without_tests_fails_the_run(written: Write) -> None:
    code, said = played(written(PLAIN))
    assert (code, said.splitlines()[-1]) == (1, "the lane engine has no tests")


def test_what_meets_the_engine_has_its_mark(written: Write) -> None:
    code, said = played(written(PLAIN, MARKED, UNMARKED))
    assert code == 1
    assert "test_unmarked" in said
    assert "lack the mark docker" in said


def test_the_files_that_are_in_the_other_lane_are_there() -> None:
    assert [name for name in OWN_ENGINES if not (ROOT / name).is_file()] == []


def test_what_is_in_no_lane_or_in_both_is_told() -> None:
    assert disagreements([Share(frozenset("a"), frozenset("b")), Share(frozenset("b"), frozenset("a"))]) == []
    assert disagreements([Share(frozenset("a"), frozenset("bc")), Share(frozenset("b"), frozenset("ac"))]) == [
        "not in just one lane: c"
    ]
    assert disagreements([Share(frozenset("ab"), frozenset()), Share(frozenset("b"), frozenset("a"))]) == [
        "not in just one lane: b"
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_both_lanes_and_leaves_nothing(
    written: Write, number: signal.Signals, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("place")
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": ROOT}
    with subprocess.Popen([*written(ENDLESS), "-s"], env={**SWIFT, "TMPDIR": str(place)}, **options) as process:
        assert process.stdout is not None
        children = set()
        while len(children) < 2:
            line = process.stdout.readline()
            assert line, "it ended"
            children |= set(map(int, re.findall(r"child (\d+)", line)))
        process.send_signal(number)
        said = process.stdout.read()
    assert process.returncode == 1
    assert re.findall(r"^lane (\w+): 1 tests, \d+ s, exit status 2$", said, re.M) == ["engine", "others"]
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert [path for path in place.iterdir() if path.name.startswith("lanes-")] == []
