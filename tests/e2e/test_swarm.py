"""A provider whose machines are a swarm: whole nodes, a manager and a worker, leases that are run there and paid."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from cli.cluster import TRIED_RISKS, Cluster
from node.config import Config
from tests.e2e.conftest import Market
from tests.node.adapters.swarms import Swarm, a_swarm

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(240)]
SELLER = "provider-1"


class SwarmCluster(Cluster):
    """A market whose one provider sells the machines of a swarm."""

    def _config(self, name: str, port: int) -> Config:
        config = super()._config(name, port)
        if name == "requester":
            return config
        provider = replace(config.provider, runtime="swarm", isolation="swarm", builds=False)
        return replace(config, provider=provider)


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    with a_swarm(tmp_path_factory.mktemp("swarm") / "engines") as swarm:
        yield swarm


@pytest.fixture(scope="module")
def market(swarm: Swarm) -> Iterator[Market]:
    folder = Path(tempfile.mkdtemp(prefix="neugrid-e2e-"))
    cluster = SwarmCluster(folder, prices=("0.04",), accept_risks=TRIED_RISKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", swarm.address)
        try:
            cluster.start()
            market = Market(cluster)
            market.until(lambda: market.buyer.providers(), "an offer")
            yield market
        finally:
            cluster.stop()
            shutil.rmtree(folder, ignore_errors=True)


def test_a_job_runs_on_a_machine_of_the_swarm_and_is_paid(market: Market, swarm: Swarm) -> None:
    (provider,) = market.buyer.providers()
    assert provider["isolation"] == "swarm"
    good, bad = market.submit("sh", "-c", "echo done; sleep 2"), market.submit("sh", "-c", "exit 3")
    good, bad = market.finished(good), market.finished(bad)
    assert (good["status"], good["exitCode"]) == ("success", 0), market.cluster.last_words(SELLER)
    assert (bad["status"], bad["exitCode"]) == ("failed", 3)
    assert [line["message"] for line in market.buyer.logs(good["id"])] == ["done"]
    market.until(lambda: float(market.buyer.job(good["id"])["paid"]) > 0, "the payment")
    market.until(lambda: not left(market, swarm), "the end of all that was made")


def test_a_service_stays_up_on_the_swarm_until_it_is_deleted(market: Market, swarm: Swarm) -> None:
    body = {"customImage": "busybox:latest", "command": ["sh", "-c", "echo up; exec sleep 1000"], "replicas": 1}
    deployment = market.buyer.deploy(body | {"resources": {"cpu": "0.5", "memory": "64Mi"}})
    market.until(lambda: market.buyer.deployment(deployment["id"])["status"] == "running", "the service")
    market.until(lambda: market.buyer.deployment_logs(deployment["id"]), "its first line")
    market.buyer.delete_deployment(deployment["id"])
    market.until(lambda: not left(market, swarm), "the end of all that was made")


def test_a_job_outlives_the_death_of_its_node(market: Market, swarm: Swarm) -> None:
    job = market.submit("sh", "-c", "for n in $(seq 8); do echo $n; sleep 1; done")
    market.until(lambda: market.buyer.logs(job["id"]), "its first line")
    market.cluster.kill(SELLER)
    market.cluster.start_node(SELLER)
    job = market.finished(job)
    assert (job["status"], job["attempt"]) == ("success", 1), market.cluster.last_words(SELLER)
    assert [line["message"] for line in market.buyer.logs(job["id"])] == [str(n) for n in range(1, 9)]
    market.until(lambda: not left(market, swarm), "the end of all that was made")


def left(market: Market, swarm: Swarm) -> list[str]:
    return swarm.left(market.cluster.made[SELLER].identity)
