"""The kill harness in short: nothing is lost, doubled or billed twice when nodes are killed at random."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.e2e
@pytest.mark.timeout(520)
def test_forty_kills_lose_nothing_double_nothing_and_bill_nothing_twice() -> None:
    command = [sys.executable, "-m", "tests.e2e.kills", "--kills", "40"]
    # Longer than all the times together that the harness itself calls too long.
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost 0, duplicated 0, billed twice 0, other violations 0" in done.stdout
