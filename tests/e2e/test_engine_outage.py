"""The container engine goes away before and while a job runs: a clear state, no lost job, no bill for nothing."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from cli.cluster import Cluster
from market.units import parse_amount
from node.adapters.docker_engine.calls import name_of
from tests.e2e.conftest import Market
from tests.node.adapters.daemons import Daemon, a_daemon
from tests.node.adapters.engines import there_are

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(240)]

SELLER = "provider-1"


class Stage(Market):
    """A market whose only provider has an engine of its own, which may be stopped."""

    def __init__(self, cluster: Cluster, daemon: Daemon) -> None:
        super().__init__(cluster)
        self.daemon = daemon

    @property
    def seller(self) -> dict[str, Any]:
        return self.client(SELLER).health()

    def offers(self, count: int) -> None:
        self.until(lambda: len(self.buyer.providers()) == count, f"{count} offers")

    def containers(self) -> dict[str, str]:
        """Names and states of the provider's containers, its idle slots left out."""
        client = docker.APIClient(self.daemon.address, version="auto")
        label = {"label": f"neugrid.node={self.cluster.made[SELLER].identity}"}
        found = there_are(client, filters=label)
        client.close()
        return {name_of(item) or item["Id"]: item["State"] for item in found if "slot" not in name_of(item)}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = Path(tempfile.mkdtemp(prefix="neugrid-e2e-"))
    with pytest.MonkeyPatch.context() as patch, a_daemon(tmp_path_factory.mktemp("engine") / "own") as daemon:
        patch.setenv("DOCKER_HOST", daemon.address)
        cluster = Cluster(folder, prices=("0.04",))
        try:
            cluster.start()
            stage = Stage(cluster, daemon)
            stage.offers(1)
            yield stage
        finally:
            cluster.stop()
            shutil.rmtree(folder, ignore_errors=True)


def test_while_the_engine_is_down_nothing_is_offered_and_a_job_rests_until_it_is_back(stage: Stage) -> None:
    stage.daemon.end(signal.SIGTERM)
    try:
        early = stage.submit("echo", "early")
        stage.offers(0)
        assert "does not answer" in stage.seller["docker"]["reason"]
        assert stage.seller["status"] == "degraded"
        late = stage.submit("echo", "late")
        stage.until(lambda: stage.buyer.job(late["id"])["phase"] == "resting", "the order in the book")
        assert stage.buyer.explain(late["id"])["live"] == 0
        assert stage.buyer.job(early["id"])["finishedAt"] is None
    finally:
        stage.daemon.start()
    for job in (early, late):
        done = stage.finished(job)
        assert done["status"] == "success", done["error"]
        assert [line["message"] for line in stage.buyer.logs(job["id"])] == done["command"][1:]
    assert stage.seller["status"] == "ok"


def test_an_engine_that_dies_under_a_job_costs_the_job_time_and_its_owner_nothing(stage: Stage) -> None:
    job = stage.running(stage.submit("sh", "-c", "echo begun; sleep 4; echo done"))
    stage.daemon.end(signal.SIGKILL)
    assert stage.buyer.job(job["id"])["status"] == "running"
    stage.daemon.start()
    done = stage.finished(job)
    assert (done["status"], done["attempt"]) == ("success", 2)
    stage.until(lambda: stage.buyer.job(job["id"])["paid"] == done["cost"], "payment")
    ended = [entry for entry in stage.buyer.events(job["id"]) if entry["event"] == "ReceiptReceived"]
    assert [entry["body"]["receipt"]["code"] for entry in ended] == ["INFRASTRUCTURE", ""]
    assert ended[0]["body"]["receipt"]["due"] <= parse_amount(done["cost"]) // 2, "what was acknowledged, no more"
    assert [line["message"] for line in stage.buyer.logs(job["id"])] == ["begun", "done"]
    stage.until(lambda: not stage.containers(), "the end of all containers")


def test_a_provider_that_is_killed_finds_its_container_again(stage: Stage) -> None:
    script = "for i in $(seq 1 24); do echo $i; sleep 0.25; done"
    job = stage.running(stage.submit("sh", "-c", script))
    stage.cluster.kill(SELLER)
    assert list(stage.containers().values()) == ["running"]
    stage.cluster.start_node(SELLER)
    done = stage.finished(job)
    assert (done["status"], done["attempt"], done["exitCode"]) == ("success", 1, 0)
    assert [line["message"] for line in stage.buyer.logs(job["id"])] == [str(n) for n in range(1, 25)]
    stage.until(lambda: stage.buyer.job(job["id"])["paid"] == done["cost"], "payment")
    stage.until(lambda: not stage.containers(), "the end of its container")


def test_a_program_that_exits_with_137_has_failed_by_itself_and_is_not_run_again(stage: Stage) -> None:
    done = stage.finished(stage.submit("sh", "-c", "exit 137"))
    assert (done["status"], done["attempt"], done["exitCode"]) == ("failed", 1, 137)


def test_no_container_outlives_its_lease_when_its_provider_is_killed_and_stays_away(stage: Stage) -> None:
    job = stage.running(stage.submit("sleep", "300"))
    stage.cluster.kill(SELLER)
    assert list(stage.containers().values()) == ["running"]
    stage.until(lambda: not stage.containers(), "the watchdog", within=40)
    stage.buyer.cancel(job["id"])
    stage.cluster.start_node(SELLER)
    stage.cluster.contact(SELLER)
