"""Code through real processes: sandboxes of a provider, a standing lease, results and payment."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from cli.client import Client
from tests.e2e.conftest import Market

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def coder(market: Market) -> Client:
    """A client once python is offered: its image may have to be made first."""
    buyer = market.buyer
    market.until(lambda: "python" in {item["name"] for item in buyer.languages()}, "python on offer", within=180)
    return buyer


def ran(client: Client, code: str, *inputs: str, language: str = "python") -> dict[str, Any]:
    return client.run_code(code, language, inputs or ("",), 60)


def test_code_runs_and_says_what_came_of_it(coder: Client) -> None:
    result = ran(coder, "print(input()[::-1])", "abc")
    assert (result["status"], result["stdout"], result["exitCode"]) == ("success", "cba\n", 0)
    assert result["executionTimeMs"] < 3000
    assert result["totalTimeMs"] >= result["queueTimeMs"]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("while True: pass", "TLE"),
        ("x = bytearray(10**9)\nprint(len(x))", "MLE"),
        ("1 / 0", "RuntimeError"),
        ("import os, sys\nif os.fork() == 0:\n    x = bytearray(10**9)\nos.wait()\nsys.exit(0)", "MLE"),
    ],
    ids=["endless", "greedy", "broken", "greedy child"],
)
def test_a_failure_has_its_type_and_is_never_a_success(coder: Client, code: str, error: str) -> None:
    result = ran(coder, code)
    assert (result["status"], result["sandboxErrorType"]) == ("failed", error)


def test_every_input_is_a_run_and_nothing_stays_between_them(coder: Client) -> None:
    code = "import os\nprint(os.path.exists('mark'), input())\nopen('mark', 'w').close()"
    result = ran(coder, code, "one", "two", language="Py")
    assert result["language"] == "python"
    assert [run["stdout"] for run in result["runs"]] == ["False one\n", "False two\n"]


def test_many_at_once_all_come_back_right(coder: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda number: ran(coder, f"print({number} ** 2)"), range(16)))
    assert [result["stdout"] for result in results] == [f"{number**2}\n" for number in range(16)]


def test_code_is_a_job_like_others(market: Market, coder: Client) -> None:
    contact = market.cluster.contact("requester")
    with httpx.Client(base_url=contact.url, headers={"X-API-Key": contact.key}, timeout=90) as http:
        body = {"code": "print(input())\nraise SystemExit(0)", "language": "python", "input": "hey"}
        posted = http.post("/v1/jobs", json=body)
        assert (posted.status_code, posted.json()["kind"]) == (201, "code")
        job = http.get(f"{posted.headers['location']}?wait=60").json()
        assert (job["status"], job["exitCode"]) == ("success", 0)
        assert [line["message"] for line in http.get(f"/v1/jobs/{job['id']}/logs").json()["logs"]] == ["hey"]
        assert job["id"] in [each["id"] for each in http.get("/v1/jobs?kind=code").json()["jobs"]]


def test_code_reaches_no_network(coder: Client) -> None:
    code = "import socket\ns = socket.socket()\ns.settimeout(1)\ns.connect(('1.1.1.1', 53))"
    result = ran(coder, code)
    assert result["sandboxErrorType"] == "RuntimeError"
    assert "unreachable" in result["stderr"]


def test_only_runs_that_succeed_are_paid(market: Market, coder: Client) -> None:
    """The provider's earnings grow by the runs that succeeded, once the use of ten seconds is covered."""
    before = float(coder.balance()["promised"])
    good = [ran(coder, "print(1)")["status"] for _ in range(3)]
    bad = [ran(coder, "1/0")["status"] for _ in range(3)]
    assert (set(good), set(bad)) == ({"success"}, {"failed"})
    grown = market.until(lambda: float(coder.balance()["promised"]) - before, "a voucher for the runs")
    assert 0 < grown < 0.001
