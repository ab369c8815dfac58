"""Jobs through real processes: libp2p, Docker, a chain, SQLite."""

import hashlib
import secrets
from pathlib import Path
from typing import Any

import pytest

from cli.client import Client
from market.errors import NeugridError
from market.units import parse_amount
from tests.e2e.conftest import Market

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(180)]


def test_a_job_runs_and_its_output_and_bill_come_back(market: Market) -> None:
    job = market.finished(market.submit("sh", "-c", "echo out; echo err >&2"))
    assert (job["status"], job["exitCode"], job["error"]) == ("success", 0, None)
    assert {(line["stream"], line["message"]) for line in market.buyer.logs(job["id"])} == {
        ("stdout", "out"),
        ("stderr", "err"),
    }
    assert job["seconds"] >= 1
    paid = market.until(lambda: market.buyer.job(job["id"])["paid"] == job["cost"], "payment")
    assert paid
    assert parse_amount(job["cost"]) > 0


def test_a_price_cap_below_every_floor_is_refused_with_a_reason_per_offer(market: Market) -> None:
    job = market.finished(market.submit(maxPrice="0.000001", orderTtl="3s"))
    assert (job["status"], job["error"]["code"]) == ("failed", "PRICE_BELOW_OFFERS")
    assert len(job["reasons"]) == 2
    assert all(reason["codes"] for reason in job["reasons"])
    assert parse_amount(job["cost"]) == 0


def test_an_image_that_does_not_exist_fails_unpaid(market: Market) -> None:
    job = market.finished(market.submit(image="no-such-image-anywhere:1"))
    assert (job["status"], job["error"]["code"]) == ("failed", "IMAGE_NOT_FOUND")
    assert parse_amount(job["cost"]) == 0


def test_a_job_over_its_time_limit_fails_and_is_billed_as_agreed(market: Market) -> None:
    job = market.finished(market.submit("sleep", "60", timeout="2s"))
    assert (job["status"], job["error"]["code"], job["seconds"]) == ("failed", "TIMEOUT", 2)
    assert parse_amount(job["cost"]) > 0


def test_a_job_that_eats_its_memory_is_never_a_success(market: Market) -> None:
    eat = "x = bytearray(10**9); print(len(x))"
    job = market.finished(market.submit("python", "-c", eat, image="python:3.11-slim"))
    assert (job["status"], job["error"]["code"]) == ("failed", "OUT_OF_MEMORY")


def test_a_failing_program_is_a_failed_job_with_its_exit_code(market: Market) -> None:
    job = market.finished(market.submit("sh", "-c", "exit 7"))
    assert (job["status"], job["exitCode"]) == ("failed", 7)


def test_a_cancelled_job_ends_and_only_its_use_is_billed(market: Market) -> None:
    job = market.running(market.submit("sleep", "100"))
    market.buyer.cancel(job["id"])
    assert market.buyer.job(job["id"])["status"] == "cancelled"
    billed = market.until(lambda: _billed(market.buyer, job["id"]), "the bill of the cancelled job")
    assert billed["seconds"] < 100, "which it would have slept"


def test_a_hundred_megabytes_go_in_and_come_out_again(market: Market, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(secrets.token_bytes(1 << 20) * 100)
    digest = hashlib.sha256(big.read_bytes()).hexdigest()
    stored = market.buyer.upload(big)
    assert stored["digest"] == digest
    job = market.submit(
        "sh",
        "-c",
        "cp /input/big /output/copy",
        inputs=[{"path": "big", "digest": digest}],
        outputs=["copy"],
        resources={"cpu": 0.5, "memory": "256Mi", "disk": "300Mi"},
    )
    done = market.finished(job, within=120)
    assert done["status"] == "success", done["error"]
    market.buyer.download_to(job["id"], "copy", tmp_path / "copy")
    assert hashlib.sha256((tmp_path / "copy").read_bytes()).hexdigest() == digest


def test_the_same_idempotency_key_is_one_job(market: Market) -> None:
    body = {"image": "busybox", "command": ["true"], "maxPrice": "10", "resources": {"cpu": 0.5, "memory": "64Mi"}}
    key = secrets.token_hex(8)
    first, second = market.buyer.submit(body, key), market.buyer.submit(body, key)
    assert first["id"] == second["id"]
    with pytest.raises(NeugridError) as refused:
        market.buyer.submit({**body, "maxPrice": "11"}, key)
    assert refused.value.code == "IDEMPOTENCY_MISMATCH"


def test_more_than_the_wallet_holds_is_refused_before_anything_is_stored(market: Market) -> None:
    before = len(market.buyer.jobs(limit=100))
    with pytest.raises(NeugridError) as refused:
        market.submit(maxPrice="1000000")
    assert refused.value.code == "INSUFFICIENT_FUNDS"
    assert len(market.buyer.jobs(limit=100)) == before


def _billed(buyer: Client, id: str) -> dict[str, Any] | None:
    job = buyer.job(id)
    return job if parse_amount(job["cost"]) > 0 else None
