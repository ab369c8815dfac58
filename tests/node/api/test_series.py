"""What a job used over time, in the documented shape."""

from typing import Any

import httpx
import pytest

from market.series import Point
from node.actions.series import Metrics
from node.api.metric_views import metrics_view
from tests.builders import NOW, a_lease
from tests.node.api.fakes import OTHER_KEY, World, a_job, pods_run
from tests.node.api.test_agents import created

pytestmark = pytest.mark.anyio
METRICS = "/v1/jobs/job_0000000000000001/metrics"
AT = "2025-06-15T15:06:40.000Z"


async def test_every_metric_is_a_list_of_points(client: httpx.AsyncClient, world: World) -> None:
    world.jobs.put(a_job(lease="lse_1"))
    assert (await client.get(f"{METRICS}?period=24h&metric=cpu")).json() == {
        "period": "24h",
        "units": {"cpu": "cores", "memory": "bytes", "network": "bytes/s", "gpu": "ratio"},
        "metrics": {
            "cpu": [{"timestamp": AT, "value": 0.5, "max": 1.0}],
            "memory": [{"timestamp": AT, "value": 2**20, "max": 2**20}],
            "network": [{"timestamp": AT, "value": 30.0, "max": 70.0, "received": 10.0, "sent": 20.0}],
        },
    }
    assert world.series.asked == [(("lse_1",), "24h", "cpu")]


async def test_an_hour_of_everything_is_shown_unless_asked_otherwise(client: httpx.AsyncClient, world: World) -> None:
    world.jobs.put(a_job(lease="lse_1"))
    await client.get(METRICS)
    assert world.series.asked == [(("lse_1",), "1h", "")]


async def test_another_period_is_a_400_and_another_account_sees_nothing(
    client: httpx.AsyncClient, world: World
) -> None:
    world.jobs.put(a_job())
    refused = await client.get(f"{METRICS}?period=2h")
    assert (refused.status_code, refused.json()["error"]["details"]["field"]) == (400, "period")
    assert (await client.get(METRICS, headers={"X-API-Key": OTHER_KEY})).status_code == 404


async def test_pods_deployments_and_agents_are_measured_by_the_leases_of_their_pods(
    client: httpx.AsyncClient, world: World
) -> None:
    agent = (await created(client, config={"replicas": 1}))["id"]
    await pods_run(world, agent)
    (pod,) = (await client.get("/v1/pods")).json()["pods"]
    lease = f"lse_{pod['id']}"
    job = a_job(id="job_of_the_pod", service=agent)
    for noun in (job, a_lease("requester", id=lease, job=job.id), a_lease("requester", id="lse_other", job="job_x")):
        await world.storage.write(lambda tx, noun=noun: tx.put(noun))
    for path, value in (
        (f"/v1/agents/{agent}", 1),
        (f"/v1/deployments/{agent}", 2**20),
        (f"/v1/pods/{pod['id']}", 2**20),
    ):
        answer = await client.get(f"{path}/metrics?period=7d&metric=memory")
        assert answer.json()["metrics"]["memory"][0]["value"] == value
        assert (await client.get(f"{path}/metrics", headers={"X-API-Key": OTHER_KEY})).status_code == 404
    assert world.series.asked == [((lease,), "7d", "memory")] * 3


async def test_an_agents_page_counts_in_percent_of_a_core_and_mib(client: httpx.AsyncClient) -> None:
    agent = (await created(client))["id"]
    found = (await client.get(f"/v1/agents/{agent}/metrics")).json()
    assert found["units"] == {"cpu": "percent", "memory": "MiB", "network": "bytes/s", "gpu": "ratio"}
    assert (found["metrics"]["cpu"][0]["value"], found["metrics"]["memory"][0]["value"]) == (50.0, 1.0)


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (Metrics(), {}),
        (Metrics(cpu=()), {"cpu": ()}),
        (Metrics(gpu=(Point(NOW, 250.0, 1000.0),)), {"gpu": 0.25}),
    ],
)
def test_only_what_was_asked_for_is_shown(found: Metrics, shown: dict[str, Any]) -> None:
    metrics = metrics_view(found, "1h").metrics
    for name in ("cpu", "memory", "network", "gpu"):
        points = getattr(metrics, name)
        assert (points[0].value if points else points) == shown.get(name)


async def test_what_a_deployment_and_its_pods_used_is_shown_to_their_owner_alone(
    client: httpx.AsyncClient, world: World
) -> None:
    body = {"customImage": "redis", "maxPricePerHour": "0.5"}
    made = (await client.post("/v1/deployments", json=body)).json()["deployment"]
    for place in (f"/v1/deployments/{made['id']}/metrics", f"/v1/pods/{made['pods'][0]['id']}/metrics"):
        answer = await client.get(place, params={"period": "24h", "metric": "cpu"})
        assert (answer.status_code, "cpu" in answer.json()["metrics"]) == (200, True)
        assert (await client.get(place, headers={"X-API-Key": OTHER_KEY})).status_code == 404
    assert world.series.asked == [((), "24h", "cpu")] * 2
    assert (await client.get(f"/v1/agents/{made['id']}/metrics")).status_code == 404
