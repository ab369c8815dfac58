"""The TypeScript SDK: it compiles under strict rules, and its own tests pass against the real API over fakes."""

import json
import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from market.jobs import Job, JobState
from node.ports import LogLine
from tests.builders import NOW
from tests.node.api.fakes import KEY, ROOT_KEY, World, a_done_job
from tests.sdk.scripts import EndingRunner, with_fakes, with_invoice, with_many_jobs
from tests.sdk.typescript import SLOW, SOURCE, Built, versions

pytestmark = SLOW


@pytest.fixture
def world(tmp_path: Path) -> World:
    """What the tests in TypeScript count on: jobs that run, one that has ended with lines and a file, an invoice."""
    world = with_fakes(with_many_jobs(World()), runner=EndingRunner())
    world.jobs.all = {job.id: job for job in map(running, world.jobs.all.values())}
    world.jobs.put(a_done_job(id="job_done"))
    world.jobs.lines = [LogLine(at=NOW + number, stream="stdout", text=f"line {number} ✓") for number in range(40)]
    file = tmp_path / "out.bin"
    file.write_bytes(bytes([0, 255, 10]))
    world.jobs.files = {"out put/ä.bin": file}
    with_invoice(world)
    return world


def running(job: Job) -> Job:
    return replace(job, id=job.id.replace("job_", "job_r"), state=JobState.RUNNING, started_at=NOW)


def test_its_own_tests_pass_against_the_real_api(built: Built, url: str) -> None:
    said = built.run("npm", "test", "--silent", NEUGRID_URL=url, NEUGRID_KEY=KEY, NEUGRID_ROOT_KEY=ROOT_KEY)
    passed = re.search(r"pass (\d+)", said)
    assert passed is not None
    assert int(passed[1]) >= 32


def test_it_needs_one_package_and_all_versions_are_exact(built: Built) -> None:
    manifest = built.manifest("package.json")
    assert list(json.loads(manifest)["dependencies"]) == ["openapi-fetch"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions(manifest))


def test_the_lock_names_no_registry() -> None:
    lock = json.loads((SOURCE / "typescript/package-lock.json").read_text())
    assert len(lock["packages"]) > 10
    for name, package in lock["packages"].items():
        assert "resolved" not in package
        assert not name or package["integrity"]


def test_what_is_published_is_what_was_compiled(built: Built) -> None:
    (packed,) = json.loads(built.run("npm", "pack", "--dry-run", "--json", "--ignore-scripts"))
    names = {file["path"] for file in packed["files"]}
    assert {"dist/index.js", "dist/index.d.ts", "dist/schema.d.ts", "README.md", "package.json"} <= names
    assert not [name for name in names if name.startswith(("src", "test", "build"))]
