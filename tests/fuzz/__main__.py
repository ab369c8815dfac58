"""Ask a served node all that its OpenAPI document allows, and what it does not, and hold its answers against it."""

import argparse
import logging
import secrets
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import requests
import structlog
from hypothesis.errors import HypothesisDeprecationWarning
from hypothesis.reporting import with_reporter
from schemathesis.core import NOT_SET

from node.api.spec import document
from tests.fuzz.asking import Tally, ask, faults
from tests.fuzz.cases import UNSETTLING, Draw, completed, generate, operation_id, operations
from tests.fuzz.people import Cast
from tests.fuzz.stage import House

LEAST = 16
"""Cases of an operation that has nothing to vary but who asks."""
TIDY_EVERY = 100
NO_SUCCESS: dict[str, str] = {}
"""Operations that never succeed here, and why."""


def main() -> int:
    wanted = _wanted()
    # The node answers in a thread of this process, and draws numbers there.
    warnings.simplefilter("ignore", HypothesisDeprecationWarning)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    print(
        f"seed {wanted.seed}: repeat with python -m tests.fuzz --cases {wanted.cases} --seed {wanted.seed}", flush=True
    )
    print(f"{'operation':28} cases   2xx   3xx   4xx   5xx")
    began, house, tally = time.monotonic(), House(), Tally()
    groups = _groups(wanted.only)
    shares = _shares([each for group in groups.values() for each in group], wanted.cases)
    try:
        for group in groups.values():
            play(house, group, shares, wanted.seed, tally)
    finally:
        house.close()
    is_good = report(tally, shares, time.monotonic() - began)
    return 0 if is_good else 1


def play(house: House, group: list[Any], shares: dict[str, int], seed: int, tally: Tally) -> None:
    """Ask all operations of one group at a stage of their own."""
    with tempfile.TemporaryDirectory() as folder:
        stage, operator = house.open(Path(folder))
        cast = Cast(house, stage, operator)
        try:
            cast.enter()
            for operation in group:
                name = operation_id(operation)
                Fuzz(house, cast, operation, tally).run(shares[name], seed)
                print(_row(name, tally.answers[name]), flush=True)
        finally:
            cast.close()
            house.end(stage)


class Fuzz:
    """One operation at one stage."""

    def __init__(self, house: House, cast: Cast, operation: Any, tally: Tally) -> None:
        self._house = house
        self._cast = cast
        self._operation = operation
        self._name = operation_id(operation)
        self._tally = tally
        self._session = requests.Session()

    def run(self, cases: int, seed: int) -> None:
        """So many cases; what is exhausted is drawn anew by the next seed."""
        self._cast.tidy()
        answers, number = self._tally.answers[self._name], 0
        with self._session, with_reporter(lambda text: None):
            while (left := cases - answers.total()) > 0:
                before = answers.total()
                generate(self._operation, left, seed * 1000 + number, self._one)
                number += 1
                if answers.total() == before:
                    return

    def _one(self, draw: Draw) -> None:
        is_negative = draw.style == "negative" and not draw.mixed
        case = completed(draw, self._cast)
        try:
            response = ask(self._session, self._house.url, case)
        except requests.RequestException as error:
            self._tally.note(self._name, f"no answer: {type(error).__name__}", str(error)[:300])
            return
        self._tally.answers[self._name][response.status_code] += 1
        self._tally.styles[draw.style] += 1
        for fault in faults(case, response, is_negative=is_negative):
            self._tally.note(self._name, fault, _example(draw, case, response))
        if self._name in UNSETTLING and response.status_code < 300:
            self._cast.heal()
        if self._tally.answers[self._name].total() % TIDY_EVERY == 0:
            self._cast.tidy()


def report(tally: Tally, shares: dict[str, int], seconds: float) -> bool:
    """Say what was wrong, and how much was asked; whether all of it was right."""
    for name in shares:
        if not _of_class(tally.answers[name], 2) and name not in NO_SUCCESS:
            tally.note(name, "never succeeded", str(dict(tally.answers[name])))
    for (name, what), finding in sorted(tally.findings.items()):
        print(f"\n{name}: {what} ({finding.count} times)")
        for example in finding.examples:
            print(f"    {example}")
    kinds = ", ".join(f"{count} {style}" for style, count in tally.styles.most_common())
    print(
        f"\n{len(shares)} operations, {tally.cases} cases ({kinds}) in {seconds:.0f} s: {len(tally.findings)} findings"
    )
    return not tally.findings


def _row(name: str, counts: Counter[int]) -> str:
    return f"{name:28} {counts.total():5}" + "".join(f" {_of_class(counts, each):5}" for each in (2, 3, 4, 5))


def _of_class(counts: Counter[int], wanted: int) -> int:
    return sum(count for status, count in counts.items() if status // 100 == wanted)


def _groups(only: str) -> dict[str, list[Any]]:
    """The operations by their tag."""
    found: dict[str, list[Any]] = {}
    for operation in operations(msgspec.json.decode(document())):
        if only in ("", operation_id(operation)):
            found.setdefault(operation.definition.raw["tags"][0], []).append(operation)
    return found


def _shares(found: list[Any], cases: int) -> dict[str, int]:
    """How many cases each operation gets: more where there is more to vary."""
    weights = {operation_id(each): _weight(each) for each in found}
    left = max(0, cases - LEAST * len(weights))
    total = sum(weights.values()) or 1
    return {name: LEAST + -(-left * weight // total) for name, weight in weights.items()}


def _weight(operation: Any) -> int:
    """One for each parameter, four for a body."""
    parameters = [*operation.query, *operation.headers, *operation.path_parameters]
    return len(parameters) + 4 * bool(operation.body)


def _example(draw: Draw, case: Any, response: Any) -> str:
    body = "" if case.body is NOT_SET else f" {case.body!r}"
    url = response.request.url.partition("//")[2].partition("/")[2]
    return f"{draw.holder}: {case.method} /{url}{body}"[:300] + f" -> {response.status_code} {response.content[:200]!r}"


def _wanted() -> Any:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=5000, help="how many requests (default 5,000)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="what they are drawn by")
    parser.add_argument("--only", default="", help="one operation by its id")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
