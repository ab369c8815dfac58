"""The Python SDK against a real node: a job from order to output, and a run of code."""

from collections.abc import Iterator

import pytest

from neugrid_sdk import Client, NotFound
from tests.e2e.conftest import Market

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(240)]


@pytest.fixture
def client(market: Market) -> Iterator[Client]:
    contact = market.cluster.contact("requester")
    with Client(contact.key, contact.url) as client:
        yield client


def test_a_job_is_posted_followed_and_fetched(client: Client) -> None:
    job = client.jobs.submit(
        image="busybox",
        command=["sh", "-c", "echo out; echo made >/output/file"],
        resources={"cpu": 0.5, "memory": "64Mi"},
        outputs=["file"],
        max_price=10,
        timeout="5m",
    )
    assert [line.message for line in client.jobs.follow(job.id)] == ["out"]
    job = client.jobs.wait(job.id, timeout=100)
    assert (job.status, job.exit_code, job.cost > 0) == ("success", 0, True)
    assert client.jobs.download(job.id, "file") == b"made\n"
    assert job.id in {found.id for found in client.jobs.list(status="success")}
    with pytest.raises(NotFound):
        client.jobs.get("job_unknown")


def test_code_is_run(client: Client, market: Market) -> None:
    offered = market.until(lambda: [found.name for found in client.runner.languages()], "a language on offer", 180)
    if "python" not in offered:
        pytest.skip("no provider sells python here")
    run = client.runner.run("print(input()[::-1])", "python", "abc", timeout=100)
    assert (run.stdout, run.has_succeeded) == ("cba\n", True)
