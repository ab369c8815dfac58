"""Jobs with the blocking client, against the real API on a socket."""

import threading
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from market.dialogue import RunEnd
from market.explanations import Explanation
from market.jobs import JobState
from market.runs import RunState
from neugrid_sdk import Client, Conflict, IdempotencyMismatch, InvalidParameters, TimedOut, Unauthorized, drivers
from node.records import Answer, Entry
from tests.builders import NOW
from tests.node.api.fakes import KEY, World, a_done_job, a_job, an_explanation
from tests.sdk.scripts import DONE, MANY, Losing, with_lines, with_many_jobs


def test_a_job_is_posted_with_its_fields_in_python_s_casing(client: Client, world: World) -> None:
    job = client.jobs.submit(
        image="busybox",
        command=["echo", "hi"],
        env={"snake_case": "stays"},
        resources={"cpu": 2, "memory": "1Gi", "gpu": {"count": 1, "vram": "8Gi"}},
        max_price=Decimal("1.5"),
        inputs=[{"path": "a", "content": b"\x00bytes"}],
        order_ttl="1m",
    )
    new = world.jobs.submitted[0]
    assert (job.id, job.status, job.has_ended) == ("job_0000000000000001", "pending", False)
    assert (new.workload.image, new.workload.command) == ("busybox", ("echo", "hi"))
    assert (new.workload.env, new.cap, new.order_ttl) == ({"snake_case": "stays"}, 1_500_000, 60_000)
    assert (new.workload.resources.cpu, new.workload.resources.gpus, new.files[0].content) == (2000, 1, b"\x00bytes")


def test_a_job_is_a_value_with_times_and_money(client: Client, world: World) -> None:
    world.jobs.put(a_done_job())
    job = client.jobs.get(DONE)
    assert job.created_at == datetime.fromtimestamp(NOW / 1000, UTC)
    assert (job.cost, job.exit_code, job.has_ended, job.has_succeeded) == (Decimal("0.00001"), 0, True, True)
    with pytest.raises(AttributeError):
        job.status = "other"


def test_a_list_goes_over_all_pages_as_it_is_read(client: Client, world: World) -> None:
    with_many_jobs(world)
    ids = [job.id for job in client.jobs.list()]
    assert (len(ids), len(set(ids)), ids[0]) == (MANY, MANY, f"job_{MANY - 1:016d}")


def test_a_list_asks_for_no_page_that_is_not_reached(client: Client, world: World) -> None:
    with_many_jobs(world)
    jobs = iter(client.jobs.list(limit=100))
    firsts = [next(jobs) for _ in range(100)]
    world.jobs.all.clear()
    assert (len(firsts), list(jobs)) == (100, [])


def test_one_page_tells_the_total_and_where_the_next_one_begins(client: Client, world: World) -> None:
    with_many_jobs(world)
    pages = client.jobs.list(limit=100, status="pending")
    first = pages.page()
    second = pages.page(first.next_cursor)
    third = pages.page(second.next_cursor)
    assert [len(page.items) for page in (first, second, third)] == [100, 100, 50]
    assert (first.total, third.next_cursor) == (MANY, "")


def test_a_lost_answer_is_asked_for_again_and_one_job_is_posted(url: str, world: World) -> None:
    lossy = Losing()
    with Client(KEY, url, transport=lossy) as client:
        client._driver.sleep = lambda seconds: None
        job = client.jobs.submit(image="busybox", max_price=1)
    assert (lossy.sent, len(world.jobs.submitted), world.storage.count(Answer)) == (2, 1, 1)
    assert list(world.jobs.all) == [job.id]


def test_a_key_of_one_s_own_makes_two_calls_one_job(client: Client, world: World) -> None:
    first = client.jobs.submit(image="busybox", max_price=1, idempotency_key="mine")
    assert client.jobs.submit(image="busybox", max_price=1, idempotency_key="mine").id == first.id
    with pytest.raises(IdempotencyMismatch):
        client.jobs.submit(image="other", max_price=1, idempotency_key="mine")
    assert len(world.jobs.submitted) == 1


def test_waiting_is_a_long_poll_that_ends_with_the_job(client: Client, world: World) -> None:
    world.jobs.put(a_done_job())
    assert client.jobs.wait(DONE, timeout=10).has_succeeded
    assert 9 < world.jobs.waited[0] <= 10


def test_waiting_without_a_limit_polls_in_pieces(client: Client, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "_seen", lambda effect: 7.0)  # the time, which stands
    world.jobs.put(a_job())
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        world.jobs.put(a_done_job())

    client._driver.sleep = sleep
    assert client.jobs.wait(DONE).has_ended
    assert world.jobs.waited == [30, 30]
    assert naps == [1]  # this node answers at once, and is not asked in a circle


def test_waiting_too_long_tells_how_the_job_stands(client: Client, world: World) -> None:
    world.jobs.put(a_job(state=JobState.RUNNING))
    with pytest.raises(TimedOut) as caught:
        client.jobs.wait(DONE, timeout=0)
    assert caught.value.last.status == "running"


def test_a_job_is_cancelled_once(client: Client, world: World) -> None:
    world.jobs.put(a_job())
    assert client.jobs.cancel(DONE).status == "cancelled"
    with pytest.raises(Conflict):
        client.jobs.cancel(DONE)


def test_logs_are_records_and_filters_reach_the_node(client: Client, world: World) -> None:
    with_lines(world, "one", "two", "ERROR three")
    assert [line.message for line in client.jobs.logs(DONE, tail=2)] == ["two", "ERROR three"]
    assert [line.level for line in client.jobs.logs(DONE, level="error")] == ["error"]


def test_following_ends_with_the_job(client: Client, world: World) -> None:
    with_lines(world, "one", "zwei ✓", "three")
    assert [line.message for line in client.jobs.follow(DONE)] == ["one", "zwei ✓", "three"]


def test_leaving_a_stream_closes_it_at_the_node(client: Client, world: World) -> None:
    with_lines(world, "one").jobs.never_ends = True
    lines = client.jobs.follow(DONE)
    assert next(lines).message == "one"
    lines.close()
    end = time.monotonic() + 30
    while not world.jobs.closed_streams and time.monotonic() < end:
        threading.Event().wait(0.01)
    assert world.jobs.closed_streams == 1


def test_events_of_a_job_are_values(client: Client, world: World) -> None:
    world.jobs.put(a_done_job())
    world.jobs.entries = [Entry(seq=7, noun="Job", subject=DONE, at=NOW, event="JobFinished", body=b'{"a_b":1}')]
    (event,) = client.jobs.events(DONE)
    assert (event.seq, event.event, event.body) == (7, "JobFinished", {"a_b": 1})


def test_results_are_listed_and_come_whole_or_in_pieces(client: Client, world: World, tmp_path: Path) -> None:
    path = "out put/ä.bin"
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 1000)
    world.jobs.put(a_done_job())
    world.jobs.files = {path: file}
    results = client.jobs.results(DONE)
    assert (results.exit_code, [found.path for found in results.files]) == (0, [path])
    assert client.jobs.download(DONE, path) == file.read_bytes()
    assert b"".join(client.jobs.read(DONE, path)) == file.read_bytes()


def test_an_explanation_says_what_would_help(client: Client, world: World) -> None:
    world.jobs.put(a_job())
    world.jobs.explanation = an_explanation()
    explanation = client.jobs.explain(DONE)
    assert isinstance(world.jobs.explanation, Explanation)
    assert (explanation.matching, explanation.relaxations[0].constraint) == (0, "price")


def test_a_path_that_is_no_id_asks_nobody(client: Client) -> None:
    for id in ("", ".", ".."):
        with pytest.raises(InvalidParameters):
            client.jobs.get(id)
    with pytest.raises(InvalidParameters):
        client.jobs.download(DONE, "../../keys")


def test_code_is_run_and_waited_for(client: Client, world: World) -> None:
    runner, put = world.runner, world.runner.put
    ends = {"state": RunState.SUCCEEDED, "finished_at": NOW + 9, "results": (RunEnd(stdout="42\n", milliseconds=3),)}
    runner.put = lambda run: put(replace(run, **ends))
    run = client.runner.run("print(6 * 7)", "python", timeout=10)
    assert (run.stdout, run.status, run.has_succeeded, run.runs[0].execution_time_ms) == ("42\n", "success", True, 3)


def test_code_is_run_with_each_input(client: Client, world: World) -> None:
    submitted = client.runner.submit("print(input())", "python", inputs=["1", "2"])
    assert world.runner.runs[submitted.job_id].inputs == ("1", "2")
    assert client.runner.result(submitted.job_id).status == "queued"
    with pytest.raises(TimedOut):
        client.runner.run("print(1)", "python", "one input", timeout=0)
    assert world.runner.runs[submitted.job_id].inputs == ("one input",)
    assert [language.name for language in client.runner.languages()] == ["python"]


def test_a_wrong_key_is_an_error_of_its_own(url: str) -> None:
    with Client("ng_live_wrong", url) as client, pytest.raises(Unauthorized) as caught:
        client.jobs.get("x")
    assert caught.value.request_id.startswith("req_")
    assert "ng_live_wrong" not in f"{client!r} {caught.value!r} {vars(caught.value)}"
