"""The demo as a newcomer runs it: exit 0, a report with exactly the promised fields, and books that balance."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cli.demo import Money, verdict
from market.units import parse_amount

JOB = {"id", "provider", "exitCode", "outputDigest", "pricePerSecond", "seconds", "cost", "timings"}
WHOLE = {"jobs", "deposit", "paid", "fees", "withdrawn", "refund", "transactions", "gas"}
MOMENTS = ["submitted", "agreed", "started", "finished", "paid"]
BALANCED = {"deposit": 2_000_000, "paid": 990, "fees": 10, "withdrawn": 990, "refund": 1_999_000}


@pytest.mark.e2e
@pytest.mark.docker
@pytest.mark.timeout(400)
def test_the_demo_ends_well_and_writes_what_it_promised(images: None) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "demo"], capture_output=True, text=True, timeout=350, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(Path("build/demo.json").read_text())
    assert set(report) == WHOLE
    assert [set(job) for job in report["jobs"]] == [JOB, JOB]
    for job in report["jobs"]:
        assert job["exitCode"] == 0
        assert len(job["outputDigest"]) == 64
        moments = [job["timings"][name] for name in MOMENTS]
        assert moments == sorted(moments)
        assert set(job["timings"]) == set(MOMENTS)
    assert "Hello" in done.stdout
    _adds_up(report)


def _adds_up(report: dict[str, Any]) -> None:
    money = {name: parse_amount(report[name]) for name in BALANCED}
    assert money["deposit"] == money["paid"] + money["fees"] + money["refund"]
    assert money["withdrawn"] == money["paid"]
    assert sum(parse_amount(job["cost"]) for job in report["jobs"]) == money["paid"] + money["fees"]
    assert report["transactions"] > 0
    assert report["gas"] > 0


@pytest.mark.parametrize(
    ("changes", "owed", "is_right", "code", "said"),
    [
        ({}, 1000, True, 0, "2 jobs"),
        ({"refund": 1_998_999}, 1000, True, 1, "money is missing"),
        ({"refund": 1_999_001}, 1000, True, 1, "money is missing"),
        ({"withdrawn": 989}, 1000, True, 1, "withdrawn is not what was paid"),
        ({}, 1001, True, 1, "the bill is not what was paid"),
        ({}, 1000, False, 1, "the words were counted wrongly"),
    ],
)
def test_books_that_do_not_balance_are_a_failure(
    changes: dict[str, int], owed: int, is_right: bool, code: int, said: str
) -> None:
    out = Console()
    report = {"jobs": [{}, {}], "transactions": 5, "gas": 7, "deposit": "", "paid": "", "fees": "", "refund": ""}
    with out.capture() as shown:
        assert verdict(report, Money(**{**BALANCED, **changes}), owed, is_right, out) == code
    assert said in shown.get()
