"""A few cycles of kills in a market on an engine of its own; a thousand are `make cycles-long`."""

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.e2e.cycles import Plan, play, tell

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(600)]

SEED = 736945
"""One whose kills once left volumes behind; `make cycles` plays another each time."""


def test_whatever_is_killed_comes_back_and_leaves_nothing_behind(images: None) -> None:
    plan = Plan(cycles=6, batch=6, seed=SEED, has_long=False)
    folder = Path(tempfile.mkdtemp(prefix="cycles-"))
    report = play(plan, folder)
    tell(report)
    assert not report.problems, f"seed {plan.seed}, kept in {folder}: {report.problems[:5]}"
    shutil.rmtree(folder)
