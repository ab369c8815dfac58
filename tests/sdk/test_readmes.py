"""The examples of the READMEs, run as they stand: only the key and the address are the test's."""

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tests.node.api.fakes import KEY, World
from tests.sdk.scripts import EndingJobs, EndingRunner, with_fakes
from tests.sdk.typescript import SLOW, Built

SDK = Path("sdk")
PLACEHOLDERS = ("ng_live_...", "http://127.0.0.1:8080")


@pytest.fixture
def world() -> World:
    return with_fakes(World(), jobs=EndingJobs(), runner=EndingRunner())


def examples(readme: Path, language: str) -> list[tuple[str, str]]:
    """Each block of code, and the text that it prints."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", readme.read_text(), re.DOTALL)
    told = pairwise(blocks)
    return [(code, text) for (kind, code), (next_kind, text) in told if (kind, next_kind) == (language, "text")]


def with_node(code: str, url: str) -> str:
    """The example with this node in it, unless it asks none."""
    assert len({placeholder in code for placeholder in PLACEHOLDERS}) == 1
    return code.replace(PLACEHOLDERS[0], KEY).replace(PLACEHOLDERS[1], url)


@pytest.mark.parametrize(("readme", "language", "count"), [("python", "python", 4), ("typescript", "ts", 3)])
def test_every_example_is_run(readme: str, language: str, count: int) -> None:
    text = (SDK / readme / "README.md").read_text()
    assert len(examples(SDK / readme / "README.md", language)) == text.count(f"```{language}\n") == count


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_the_python_examples_do_what_they_say(url: str, number: int) -> None:
    code, text = examples(SDK / "python/README.md", "python")[number]
    environment = {**os.environ, "PYTHONPATH": str(SDK / "python")}
    done = subprocess.run(
        [sys.executable, "-c", with_node(code, url)], env=environment, capture_output=True, text=True, timeout=150
    )
    assert (done.stdout, done.stderr) == (text, "")


@SLOW
@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_typescript_examples_do_what_they_say(built: Built, url: str, number: int) -> None:
    code, text = examples(SDK / "typescript/README.md", "ts")[number]
    assert built.printed_by(with_node(code, url)) == text
