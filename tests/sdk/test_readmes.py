"""The examples of the READMEs, run as they stand: only the key and the address are the test's."""

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec.structs import replace

from market.dialogue import RunEnd
from market.jobs import Job
from market.runs import Run, RunState
from node.ports import LogLine
from node.records import Account
from tests.builders import NOW
from tests.node.api.fakes import KEY, FakeJobs, FakeRunner, World, a_done_job

SDK = Path("sdk")
PLACEHOLDERS = ("ng_live_...", "http://127.0.0.1:8080")


class EndingJobs(FakeJobs):
    """Jobs that say Hello, and end when somebody waits for them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = [LogLine(at=NOW, stream="stdout", text="Hello")]

    async def wait(self, account: Account, id: str, seconds: float) -> Job:
        return self.put(a_done_job(id=self.get(account, id).id))


class EndingRunner(FakeRunner):
    """Code that has printed 42 at once."""

    def put(self, run: Run) -> Run:
        result = RunEnd(stdout="42\n", milliseconds=3)
        return super().put(replace(run, state=RunState.SUCCEEDED, finished_at=NOW + 9, results=(result,)))


@pytest.fixture
def world() -> World:
    world = World()
    ending = {"jobs": EndingJobs(), "runner": EndingRunner()}
    for name, fake in ending.items():
        setattr(world, name, fake)
        object.__setattr__(world.services, name, fake)
    return world


def examples(readme: Path, language: str) -> list[tuple[str, str]]:
    """Each block of code, and the text that it prints."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", readme.read_text(), re.DOTALL)
    told = pairwise(blocks)
    return [(code, text) for (kind, code), (next_kind, text) in told if (kind, next_kind) == (language, "text")]


def with_node(code: str, url: str) -> str:
    """The example with this node in it."""
    assert all(placeholder in code for placeholder in PLACEHOLDERS)
    return code.replace(PLACEHOLDERS[0], KEY).replace(PLACEHOLDERS[1], url)


@pytest.mark.parametrize("number", [0, 1])
def test_the_python_examples_do_what_they_say(url: str, number: int) -> None:
    code, text = examples(SDK / "python/README.md", "python")[number]
    environment = {**os.environ, "PYTHONPATH": str(SDK / "python")}
    done = subprocess.run(
        [sys.executable, "-c", with_node(code, url)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == (text, "")
