"""The command line as its users run it: a program of its own, against a market of real processes."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.client import Client
from cli.cluster import free_port
from market.units import parse_amount
from node.config import ChainSettings, Config
from node.config_api import ApiSettings
from node.setup import init
from tests.e2e.conftest import Market
from tests.e2e.wires import forwarded

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(180)]

PROGRAM = (sys.executable, "-m", "cli.main")
SMALL = ("--image", "busybox", "--max-price", "10", "--cpu", "0.5", "--memory", "64Mi", "--timeout", "5m")


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Shell:
    """A user's shell: the data directory of one node, and no other way to find it."""

    data_dir: Path
    environment: dict[str, str]

    def __call__(self, *words: str, **environment: str) -> Said:
        done = subprocess.run(
            [*PROGRAM, *words], capture_output=True, text=True, timeout=120, env=self.environment | environment
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Said(done.returncode, done.stdout, done.stderr)


def a_shell(data_dir: Path) -> Shell:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NEUGRID_")}
    return Shell(data_dir, kept | {"NEUGRID_DATA_DIR": str(data_dir)})


@pytest.fixture
def neugrid(market: Market) -> Shell:
    return a_shell(market.cluster.folder / "requester")


@pytest.fixture
def nowhere(tmp_path: Path) -> Shell:
    """A shell on a machine without a node."""
    return a_shell(tmp_path / "node")


# --- jobs ----------------------------------------------------------------------------------------------------------


def test_submit_and_wait_streams_the_output_and_ends_with_the_jobs_fate(neugrid: Shell) -> None:
    good = neugrid("job", "submit", *SMALL, "--wait", "--", "sh", "-c", "echo one; sleep 1; echo two")
    assert (good.code, good.out) == (0, "one\ntwo\n")
    assert "success" in good.err
    bad = neugrid("job", "submit", *SMALL, "--wait", "--json", "--", "sh", "-c", "exit 3")
    assert (bad.code, bad.json["status"], bad.json["exitCode"]) == (1, "failed", 3)


def test_a_job_with_files_from_submit_to_its_results_on_the_disk(neugrid: Shell, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("three words here")
    order = (*SMALL, "--input", f"{tmp_path / 'text'}:words", "--output", "count", "--env", "SAY=done")
    script = 'wc -w < /input/words > /output/count; echo "$SAY"'
    made = neugrid("job", "submit", *order, "--", "sh", "-c", script)
    id = made.out.strip()
    shown = neugrid("job", "show", id, "--wait", "60", "--json").json
    assert (shown["id"], shown["status"]) == (id, "success")
    assert neugrid("job", "logs", id).out == "done\n"
    assert [line["message"] for line in neugrid("job", "logs", id, "--json").json] == ["done"]
    assert neugrid("job", "logs", id, "--follow").out == "done\n"
    assert neugrid("job", "results", id, "--to", str(tmp_path / "results")).code == 0
    assert (tmp_path / "results" / "count").read_text().strip() == "3"
    assert [file["path"] for file in neugrid("job", "results", id, "--json").json] == ["count"]
    assert id in neugrid("job", "list").out
    assert id in [job["id"] for job in neugrid("job", "list", "--status", "success", "--json").json]
    assert neugrid("job", "cancel", id).code == 5


def test_a_job_is_cancelled_and_explained(neugrid: Shell) -> None:
    dear = neugrid("job", "submit", "--image", "busybox", "--max-price", "0.000001", "--json", "--", "true").json["id"]
    assert neugrid("job", "explain", dear, "--json").json["live"] == 2
    assert "price" in neugrid("job", "explain", dear).out
    assert neugrid("job", "cancel", dear, "--json").json["status"] == "cancelled"


def test_ctrl_c_leaves_the_job_running(market: Market, neugrid: Shell) -> None:
    """Whoever runs the tests in the background ignores SIGINT, and so would what they start."""
    words = ["env", "--default-signal=INT", *PROGRAM, "job", "submit", *SMALL, "--wait", "--"]
    words += ["sh", "-c", "echo up; sleep 280"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=neugrid.environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=100)
    assert process.returncode == 130
    id = said.decode().split()[0]
    assert f"{id} goes on" in said.decode()
    assert market.buyer.job(id)["status"] == "running"
    market.buyer.cancel(id)


# --- market, wallet, keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (("market", "prices"), {"cpu", "memory", "gpu", "currency", "per"}),
        (("market", "stats"), {"offers", "providers", "total", "free"}),
        (("wallet", "balance"), {"address", "balance", "deposited", "currency"}),
        (("wallet", "earnings"), {"total", "unclaimed", "withdrawable", "withdrawn", "fees"}),
        (("version",), {"version", "api"}),
    ],
)
def test_a_noun_is_shown_to_people_and_to_programs(neugrid: Shell, words: Any, fields: set[str]) -> None:
    assert neugrid(*words).out.strip()
    found = neugrid(*words, "--json")
    assert found.code == 0
    assert fields <= set(found.json)


def test_providers_are_listed_and_one_is_shown(neugrid: Shell) -> None:
    found = neugrid("providers", "--json").json
    assert len(found) == 2
    id = found[0]["id"]
    assert id in neugrid("providers").out
    assert neugrid("providers", id, "--json").json["id"] == id
    assert neugrid("providers", "--gpu", "--json").json == []
    assert neugrid("providers", "--region", "mars").out == "no provider offers anything now\n"


def test_earnings_are_withdrawn_and_deposits_come_back(market: Market, neugrid: Shell) -> None:
    job = market.finished(market.submit("true"))
    name = market.provider_of(job)
    market.until(lambda: market.buyer.job(job["id"])["paid"] == job["cost"], "payment")
    seller, fresh = a_shell(market.cluster.folder / name), "0x" + "5e" * 20
    earned = seller("wallet", "earnings", "--json").json
    made = seller("wallet", "withdraw", "--to", fresh, "--json").json
    assert parse_amount(made["amount"]) > 0
    after = seller("wallet", "earnings", "--json").json
    assert parse_amount(after["withdrawn"]) == parse_amount(earned["withdrawn"]) + parse_amount(made["amount"])
    market.until(lambda: seller("wallet", "withdraw").code == 6, "the end of what earlier jobs are still paid")
    assert any(item["key"].startswith("claim") for item in seller("wallet", "transactions", "--json").json)
    refunds = neugrid("wallet", "refund", "--json").json
    assert not [item for item in refunds if item["problem"]]


def test_keys_are_made_used_and_revoked(neugrid: Shell) -> None:
    key = neugrid("keys", "create", "ci", "--json").json
    assert neugrid("job", "list", NEUGRID_KEY=key["key"]).code == 0
    assert key["id"] in neugrid("keys", "list").out
    assert neugrid("keys", "revoke", key["id"]).code == 0
    assert neugrid("job", "list", NEUGRID_KEY=key["key"]).code == 3


def test_the_doctor_finds_a_running_node_sound(market: Market) -> None:
    found = a_shell(market.cluster.folder / "provider-1")("doctor", "--json")
    checks = {item["check"]: item["status"] for item in found.json}
    assert found.code == 0, [item for item in found.json if item["status"] == "failed"]
    wanted = {"folder", "keys", "chain", "disk", "clock", "engine", "runc-version", "hardened", "limits", "egress"}
    assert wanted <= set(checks)
    assert (checks["ledger"], checks["audit"]) == ("ok", "ok")


# --- what goes wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("job", "show", "job_unknown"), 4, "no such job"),
        (("job", "logs", "job_unknown", "--follow"), 4, "no such job"),
        (("job", "cancel", "../keys"), 4, ""),
        (("job", "list", "--status", "dancing"), 2, "status"),
        (("job", "submit", "--image", "busybox", "--max-price", "abc", "--", "true"), 2, "maxPrice"),
        (("job", "submit", "--image", "busybox", "--max-price", "1", "--input", "/none", "--", "true"), 2, "/none"),
        (("job", "submit", "--image", "busybox", "--max-price", "1000000", "--", "true"), 6, "cover"),
        (("wallet", "withdraw", "--to", "me"), 2, "0x"),
        (("keys", "revoke", "key_unknown"), 4, ""),
        (("job", "list", "--key", "ng_live_wrong"), 3, "no API key"),
        (("job", "list", "--url", "http://127.0.0.1:1", "--key", "x"), 8, "http://127.0.0.1:1"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_a_code(neugrid: Shell, words: Any, code: int, said: str) -> None:
    found = neugrid(*words)
    assert (found.code, found.out) == (code, ""), found.err
    assert said in found.err


def test_a_machine_without_a_node_is_told_what_to_do(nowhere: Shell) -> None:
    found = nowhere("wallet", "balance")
    assert (found.code, found.out) == (2, "")
    assert "neugrid up" in found.err


# --- nodes ---------------------------------------------------------------------------------------------------------


def test_a_node_is_made_once(nowhere: Shell) -> None:
    made = nowhere("init", "--role", "requester", "--port", "0", "--json").json
    assert set(made) == {"config", "wallet", "identity", "peer"}
    again = nowhere("init", "--role", "provider")
    assert (again.code, again.out) == (5, "")
    assert "there is a node in" in again.err
    for wrong in (("--role", "king"), ("--role", "provider", "--port", "99999", "--data-dir", "x")):
        assert nowhere("init", *wrong).code == 2
    assert not Path("x").exists()


def _settings(change: Callable[[str], str]) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        (folder / "node.toml").write_text(change((folder / "node.toml").read_text()))

    return spoil


SPOILED: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "wrong key": (
        _settings(lambda text: text.replace("port =", "prt =")),
        2,
        "node.toml:8: there is no setting api.prt",
    ),
    "wrong type": (_settings(lambda text: text.replace("port = 0", 'port = "x"')), 2, "node.toml:8: api.port must be"),
    "bad toml": (_settings(lambda text: text.replace("port = 0", "port =")), 2, "node.toml:8:7: no valid TOML"),
    "wrong password": (lambda folder: folder.joinpath("password").write_text("wrong"), 2, "the password does not open"),
    "no password": (lambda folder: (folder / "password").unlink(), 2, "NEUGRID_PASSWORD"),
    "no key": (lambda folder: (folder / "keys" / "signer.json").unlink(), 2, "there is no key at"),
    "no network file": (lambda folder: (folder / "network.toml").unlink(), 2, "network.toml cannot be read"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_node_that_can_not_run_says_why_in_one_sentence(spoilable: Path, name: str) -> None:
    spoil, code, said = SPOILED[name]
    spoil(spoilable)
    found = a_shell(spoilable)("up")
    assert (found.code, found.out) == (code, "")
    assert said in found.err
    assert found.err.count("\n") == 1, found.err


@pytest.fixture
def spoilable(market: Market, tmp_path: Path) -> Path:
    """A node of the market that was made and never started; its keys open quickly."""
    chain = ChainSettings(rpc=market.cluster.rpc, deployment="network.toml")
    config = Config(data_dir=str(tmp_path / "node"), roles=("requester",), api=ApiSettings(port=0), chain=chain)
    init(config, market.cluster.folder / "network.toml", light=True)
    return tmp_path / "node"


def test_a_port_in_use_is_named(market: Market, spoilable: Path) -> None:
    port = market.buyer.url.rpartition(":")[2]
    _settings(lambda text: text.replace("port = 0", f"port = {port}"))(spoilable)
    found = a_shell(spoilable)("up")
    assert (found.code, found.out) == (2, "")
    assert f"port {port} on 127.0.0.1 is in use" in found.err


def test_a_chain_of_another_id_ends_the_node(spoilable: Path) -> None:
    file = spoilable / "network.toml"
    file.write_text(file.read_text().replace("chain_id = 31337", "chain_id = 31338"))
    found = a_shell(spoilable)("up")
    assert (found.code, found.out) == (9, "")
    assert "the endpoint serves chain 31337" in found.err


def test_a_data_directory_belongs_to_one_node(market: Market) -> None:
    found = a_shell(market.cluster.folder / "requester")("up")
    assert found.code == 5
    assert "is in use by another node" in found.err


def test_a_node_without_its_chain_comes_up_degraded_and_recovers(market: Market, spoilable: Path) -> None:
    port = free_port()
    _settings(lambda text: text.replace(market.cluster.rpc, f"http://127.0.0.1:{port}"))(spoilable)
    with _running(spoilable) as contact:
        shell = a_shell(spoilable)
        assert contact["url"].startswith("http://127.0.0.1:")
        assert shell("wallet", "balance").code == 8
        assert shell("job", "list", "--json").json == []
        health = Client(contact["url"], (spoilable / "operator.key").read_text().strip()).health()
        assert (health["status"], health["chain"]["available"]) == ("degraded", False)
        with forwarded(port, int(market.cluster.rpc.rpartition(":")[2])):
            market.until(lambda: shell("wallet", "balance").code == 0, "the chain's return")


@contextmanager
def _running(folder: Path) -> Iterator[dict[str, Any]]:
    """`neugrid up` until the block ends; it must end by SIGTERM with 0 then."""
    words, environment = [*PROGRAM, "up", "--json"], a_shell(folder).environment
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()
            code = process.wait(100)
    assert code == 0


HEAVY = {"asyncio", "cryptography", "docker", "httpx", "libp2p", "litestar", "requests", "ssl", "structlog", "trio"}
"""What a node is made of: half of it takes longer to load than all that these commands need."""


def test_a_command_without_network_work_loads_nothing_of_a_node_and_takes_little_cpu(nowhere: Shell) -> None:
    for words in (("version", "--json"), ("wallet", "balance"), ("--help",)):
        assert min(_cpu(nowhere, *words) for _ in range(3)) < 1.0, words
        told = nowhere(*words, PYTHONPROFILEIMPORTTIME="1").err
        loaded = {line.rpartition("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")}
        assert "cli.main" in loaded or "cli" in loaded
        assert not HEAVY & loaded, words


def _cpu(shell: Shell, *words: str) -> float:
    """Seconds of CPU, which other work on the machine does not change."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shell(*words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
