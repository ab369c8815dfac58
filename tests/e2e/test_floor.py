"""A provider below the floor: it runs and says why it sells nothing, until its operator takes the risk by name."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cli.cluster import Cluster
from node.config import load_config, write_config
from tests.e2e.conftest import Market

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(180)]
SELLER = "provider-1"


@pytest.fixture
def market(images: None) -> Iterator[Market]:
    folder = Path(tempfile.mkdtemp(prefix="neugrid-e2e-"))
    cluster = Cluster(folder, prices=("0.04",), accept_risks=())
    try:
        cluster.start()
        yield Market(cluster)
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def doctor(market: Market) -> tuple[int, dict[str, dict[str, Any]]]:
    command = [sys.executable, "-m", "cli.main", "doctor", "--json"]
    config = ["--config", str(market.cluster.made[SELLER].config)]
    done = subprocess.run([*command, *config], capture_output=True, text=True, check=False)
    return done.returncode, {item["check"]: item for item in json.loads(done.stdout)}


def test_nothing_is_sold_below_the_floor_until_the_operator_says_so_by_name(market: Market) -> None:
    code, found = doctor(market)
    below = sorted(check for check, item in found.items() if item["status"] == "failed")
    if not below:
        pytest.skip("this machine is above every floor")
    seller = market.client(SELLER)
    market.until(lambda: "inspection" not in str(seller.health()["selling"]["reasons"]), "the first look")
    state = seller.health()["selling"]
    assert (code, state["open"]) == (1, False)
    assert sorted(reason.partition(":")[0] for reason in state["reasons"]) == below
    assert market.buyer.providers() == []
    log = (market.cluster.folder / f"{SELLER}.log").read_text()
    assert log.count("nothing is sold") == 1

    path = market.cluster.made[SELLER].config
    config = load_config(path)
    write_config(_accepting(config, below), path)
    market.cluster.kill(SELLER)
    market.cluster.start_node(SELLER)
    market.until(lambda: market.buyer.providers(), "an offer")
    (provider,) = market.buyer.providers()
    assert sorted(provider["risks"]) == below
    assert doctor(market)[0] == 0


def _accepting(config: Any, risks: list[str]) -> Any:
    return replace(config, provider=replace(config.provider, accept_risks=tuple(risks)))
