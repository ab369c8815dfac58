"""The commands: what they send, what they print, how they end."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.orders import INLINE
from cli.remote import Remote, address_of
from market.errors import ConfigError
from tests.cli.conftest import Said
from tests.cli.fakes import DONE, FAILED, JOB, RUNNING, FakeNode, broken, events, in_turn, line, ok, problem

Run = Callable[..., Said]
SUBMIT = ("job", "submit", "--image", "busybox", "--max-price", "1.0")
A_WITHDRAWAL = {
    "id": "wdr_1",
    "status": "pending",
    "to": "0xab",
    "amount": "1.5",
    "currency": "TUSD",
    "transaction": None,
    "createdAt": "2026-11-27T05:00:00.000Z",
}


def test_submit_sends_the_order_and_prints_the_id(neugrid: Run, node: FakeNode) -> None:
    node.routes["POST /v1/jobs"] = ok(JOB, 201)
    options = (
        "--cpu",
        "0.5",
        "--memory",
        "1Gi",
        "--gpu",
        "1",
        "--gpu-model",
        "a100",
        "--env",
        "A=b=c",
        "--output",
        "x",
    )
    said = neugrid(*SUBMIT, *options, "--min-reputation", "5", "--", "sh", "-c", "echo --image $A")
    assert (said.code, said.out) == (0, "job_1\n")
    body = node.body()
    assert body["command"] == ["sh", "-c", "echo --image $A"]
    assert body["resources"] == {
        "cpu": "0.5",
        "memory": "1Gi",
        "disk": "0",
        "gpu": {"count": 1, "model": "a100", "vram": 0},
    }
    assert (body["env"], body["outputs"], body["minReputation"]) == ({"A": "b=c"}, ["x"], 5)


def test_without_words_the_image_decides_what_runs(neugrid: Run, node: FakeNode) -> None:
    node.routes["POST /v1/jobs"] = ok(JOB, 201)
    neugrid(*SUBMIT)
    assert "command" not in node.body()


def test_small_inputs_travel_inside_and_large_ones_before(neugrid: Run, node: FakeNode, tmp_path: Path) -> None:
    node.routes["POST /v1/jobs"] = ok(JOB, 201)
    node.routes["PUT /v1/files"] = ok({"digest": "ab" * 32, "size": INLINE + 1}, 201)
    (tmp_path / "small.txt").write_bytes(b"hi")
    (tmp_path / "large.bin").write_bytes(bytes(INLINE + 1))
    neugrid(*SUBMIT, "--input", f"{tmp_path}/small.txt", "--input", f"{tmp_path}/large.bin:data/in")
    assert node.body()["inputs"] == [
        {"path": "small.txt", "content": base64.b64encode(b"hi").decode()},
        {"path": "data/in", "digest": "ab" * 32},
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(("--input", "/nowhere/x"), "there is no file /nowhere/x"), (("--env", "A"), "--env takes NAME=value")],
)
def test_what_can_not_be_sent_is_said_before(neugrid: Run, node: FakeNode, words: Any, sentence: str) -> None:
    said = neugrid(*SUBMIT, *words)
    assert (said.code, node.requests) == (2, [])
    assert sentence in said.err


def test_waiting_shows_phases_beside_the_output_and_ends_well(neugrid: Run, node: FakeNode) -> None:
    node.routes["POST /v1/jobs"] = ok(JOB, 201)
    node.routes["GET /v1/jobs/job_1"] = in_turn(ok(JOB), ok(RUNNING), ok(RUNNING), ok(DONE))
    node.routes["GET /v1/jobs/job_1/logs"] = events(("0", "log", line("hello")), ("", "end", {}))
    said = neugrid(*SUBMIT, "--wait", "--", "echo", "hello")
    assert (said.code, said.out) == (0, "hello\n")
    assert [text.split(" ", 1)[1] for text in said.err.splitlines()] == [
        "pending",
        "running at prov_abababab...",
        "success; 3 s, 0.000003 TUSD",
    ]


def test_waiting_for_a_job_that_fails_ends_with_one(neugrid: Run, node: FakeNode) -> None:
    node.routes["POST /v1/jobs"] = ok(FAILED, 201)
    node.routes["GET /v1/jobs/job_1/logs"] = events(("", "end", {}))
    said = neugrid(*SUBMIT, "--wait")
    assert (said.code, said.err.splitlines()[-1]) == (1, "job_1 failed: exit code 3 (EXIT_CODE); 3 s, 0.000003 TUSD")


def test_waiting_with_json_prints_one_document(neugrid: Run, node: FakeNode) -> None:
    node.routes["POST /v1/jobs"] = ok(DONE, 201)
    node.routes["GET /v1/jobs/job_1/logs"] = events(("0", "log", line("hello")), ("", "end", {}))
    said = neugrid(*SUBMIT, "--wait", "--json")
    assert said.json["status"] == "success"


def test_an_interrupt_leaves_the_job_running_and_says_how_to_go_on(neugrid: Run, node: FakeNode) -> None:
    def interrupt(request: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    node.routes["POST /v1/jobs"] = ok(RUNNING, 201)
    node.routes["GET /v1/jobs/job_1/logs"] = interrupt
    said = neugrid(*SUBMIT, "--wait")
    assert said.code == 130
    assert "neugrid job cancel job_1" in said.err


def test_results_are_put_into_a_folder_and_nowhere_else(neugrid: Run, node: FakeNode, tmp_path: Path) -> None:
    files = [{"path": "deep/a.txt", "size": 1, "digest": "d"}]
    node.routes["GET /v1/jobs/job_1/results"] = in_turn(
        ok({"files": files}), ok({"files": [{"path": "../evil", "size": 1, "digest": "d"}]})
    )
    node.routes["GET /v1/jobs/job_1/results/deep/a.txt"] = lambda request: httpx.Response(200, content=b"a")
    assert neugrid("job", "results", "job_1", "--to", str(tmp_path / "out")).code == 0
    assert (tmp_path / "out/deep/a.txt").read_bytes() == b"a"
    assert neugrid("job", "results", "job_1", "--to", str(tmp_path / "out")).code == 2
    assert not (tmp_path / "evil").exists()


def test_show_is_for_people_unless_json_is_asked_for(neugrid: Run, node: FakeNode) -> None:
    node.routes["GET /v1/jobs/job_1"] = ok(FAILED)
    said = neugrid("job", "show", "job_1")
    assert "EXIT_CODE: exit code 3" in said.out
    assert neugrid("job", "show", "job_1", "--json").json == FAILED


def test_an_ask_carries_prices_and_its_time(neugrid: Run, node: FakeNode) -> None:
    node.routes["POST /v1/market/asks"] = ok({"id": "ask_1"}, 201)
    assert neugrid("market", "ask", "--cpu", "0.05", "--memory", "0.01", "--expires-in", "8h").out == "ask_1\n"
    prices = {"cpu": "0.05", "memory": "0.01", "disk": "0", "gpu": "0"}
    assert node.body() == {"prices": prices, "expiresIn": "8h"}


def test_logs_as_json_are_one_list(neugrid: Run, node: FakeNode) -> None:
    node.routes["GET /v1/jobs/job_1/logs"] = ok({"logs": [line("a"), line("b")]})
    assert neugrid("job", "logs", "job_1", "--json").json == [line("a"), line("b")]


def test_logs_follow_to_the_end(neugrid: Run, node: FakeNode) -> None:
    node.routes["GET /v1/jobs/job_1/logs"] = events(("0", "log", line("a")), ("1", "log", line("b")), ("", "end", {}))
    assert neugrid("job", "logs", "job_1", "-f").out == "a\nb\n"


@pytest.mark.parametrize(
    ("words", "route", "answer", "expected"),
    [
        (("job", "list"), "GET /v1/jobs", {"jobs": [DONE], "pagination": {}}, "prov_abababab..."),
        (("job", "list"), "GET /v1/jobs", {"jobs": [], "pagination": {}}, "no jobs yet"),
        (("job", "cancel", "job_1"), "POST /v1/jobs/job_1/cancel", JOB | {"status": "cancelled"}, "is cancelled"),
        (
            ("market", "prices"),
            "GET /v1/market/prices",
            {
                "cpu": {"min": 0.01, "avg": 0.02, "max": 0.03},
                "memory": {"min": None, "avg": None, "max": None},
                "gpu": {},
                "currency": "TUSD",
            },
            "cpu (core)",
        ),
        (
            ("market", "stats"),
            "GET /v1/market/stats",
            {"offers": 2, "total": {"cpu": 8000, "memory": 2**34, "disk": 2**30, "gpus": {"a100": 2}}, "regions": {}},
            "8 cores, 16.0Gi memory, 1.0Gi disk, 2 a100",
        ),
        (
            ("market", "asks"),
            "GET /v1/market/asks",
            {"asks": [{"id": "ask_1", "prices": {"cpu": 0.05, "memory": 1, "disk": 0, "gpu": 2}, "expiresAt": None}]},
            "0.05",
        ),
        (("market", "asks"), "GET /v1/market/asks", {"asks": []}, "the prices of its policy"),
        (("market", "withdraw-ask", "ask_1"), "DELETE /v1/market/asks/ask_1", {"success": True}, "withdrawn"),
        (("wallet", "balance"), "GET /v1/wallet/balance", {"balance": "1.5", "currency": "TUSD"}, "1.5"),
        (("wallet", "earnings"), "GET /v1/wallet/earnings", {"total": "2.0"}, "2.0"),
        (("wallet", "withdraw"), "POST /v1/wallet/withdraw", {"id": "wdr_1", "status": "confirmed"}, "confirmed"),
        (
            ("wallet", "withdrawals"),
            "GET /v1/wallet/withdraw",
            {"withdrawals": [A_WITHDRAWAL], "pagination": {"hasMore": False}},
            "wdr_1       pending  1.5     TUSD",
        ),
        (
            ("wallet", "withdrawals"),
            "GET /v1/wallet/withdraw",
            {"withdrawals": [], "pagination": {"hasMore": False}},
            "nothing was withdrawn yet",
        ),
        (
            ("wallet", "refund"),
            "POST /v1/wallet/refund",
            {"refunds": [{"provider": "prov_1", "amount": "1.0", "transaction": "0x1", "problem": None}]},
            "prov_1",
        ),
        (
            ("wallet", "transactions"),
            "GET /v1/wallet/transactions",
            {"transactions": [{"hash": "0xabc", "gas": 21}], "pagination": {"hasMore": False}},
            "0xabc",
        ),
        (("keys", "create", "ci"), "POST /v1/keys", {"id": "key_1", "key": "ng_live_x"}, "ng_live_x"),
        (("keys", "list"), "GET /v1/keys", {"keys": []}, "no keys"),
        (("keys", "revoke", "key_1"), "DELETE /v1/keys/key_1", {"success": True}, "key_1 is revoked"),
    ],
)
def test_every_noun_has_words_for_people_and_json_for_programs(
    neugrid: Run, node: FakeNode, words: Any, route: str, answer: Any, expected: str
) -> None:
    node.routes[route] = ok(answer)
    assert expected in neugrid(*words).out
    said = neugrid(*words, "--json")
    assert said.code == 0
    assert said.json in (answer, *answer.values())


def test_providers_are_listed_and_shown(neugrid: Run, node: FakeNode) -> None:
    free = {"cpu": 8.0, "memory": "32Gi", "gpu": {"count": 1, "model": "a100", "vram": "80Gi"}}
    asked = {"cpu": 0.01, "memory": 0.001, "gpu": 0.5}
    provider = {"id": "prov_1", "reputation": 500, "region": "eu", "free": free, "prices": asked}
    node.routes["GET /v1/providers"] = ok({"providers": [provider], "pagination": {}})
    node.routes["GET /v1/providers/prov_1"] = ok(provider)
    assert "1 x a100" in neugrid("providers", "--gpu").out
    assert node.requests[-1].url.params["gpu"] == "true"
    assert neugrid("providers", "prov_1", "--json").json == provider


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (400, "INVALID_PARAMETERS", 2),
        (401, "UNAUTHORIZED", 3),
        (402, "INSUFFICIENT_FUNDS", 6),
        (404, "NOT_FOUND", 4),
        (409, "CONFLICT", 5),
        (429, "RATE_LIMITED", 7),
        (503, "SERVICE_UNAVAILABLE", 8),
        (500, "INTERNAL_ERROR", 70),
    ],
)
def test_an_error_is_one_sentence_and_a_code(
    neugrid: Run, node: FakeNode, status: int, code: str, exit_code: int
) -> None:
    node.routes["GET /v1/jobs/job_1"] = problem(status, code, "this is why")
    said = neugrid("job", "show", "job_1")
    assert (said.code, said.out, said.err) == (exit_code, "", "neugrid: this is why\n")


@pytest.mark.parametrize("url", ["node", "ftp://node", "http://"])
def test_an_address_that_is_none_is_wrong_usage(neugrid: Run, url: str) -> None:
    assert neugrid("market", "stats", url=url).code == 2


def test_nobody_at_the_address_is_an_eight(neugrid: Run, node: FakeNode) -> None:
    node.routes["GET /v1/market/stats"] = broken
    assert neugrid("market", "stats").code == 8


@pytest.mark.parametrize(
    "words", [("job", "dance"), ("job", "show"), ("job", "submit"), ("job", "list", "--limit", "x")]
)
def test_wrong_usage_is_a_two(neugrid: Run, words: Any) -> None:
    assert neugrid(*words).code == 2


def test_the_node_on_this_machine_is_found_by_its_file(neugrid: Run, node: FakeNode, tmp_path: Path) -> None:
    said = neugrid("market", "stats", url="")
    assert said.code == 2
    assert "neugrid up" in said.err
    (tmp_path / "api.json").write_text(json.dumps({"url": "http://local:1", "key": "ng_live_local"}))
    node.routes["GET /v1/market/stats"] = ok({})
    assert neugrid("market", "stats", url="").code == 0
    assert str(node.requests[-1].url).startswith("http://local:1/")
    assert node.requests[-1].headers["x-api-key"] == "ng_live_local"


def test_the_local_key_goes_to_the_local_node_alone(tmp_path: Path) -> None:
    (tmp_path / "api.json").write_text(json.dumps({"url": "http://local:1", "key": "ng_live_local"}))
    assert address_of(Remote(url="http://local:1/", data_dir=tmp_path))[1] == "ng_live_local"
    assert address_of(Remote(url="http://elsewhere", data_dir=tmp_path))[1] == ""


def test_a_contact_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "api.json").write_text("{")
    with pytest.raises(ConfigError, match=r"api\.json can not be read"):
        address_of(Remote(data_dir=tmp_path))


HEAVY = ("litestar", "sqlmodel", "sqlalchemy", "web3", "docker", "libp2p", "httpx", "rich", "uvicorn", "coincurve")


def test_a_command_without_network_work_loads_nothing_heavy() -> None:
    program = (
        "import sys; from cli.main import main; main(['version']); "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.splitlines()[-1] == "[]"
