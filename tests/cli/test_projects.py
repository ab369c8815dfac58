"""The commands of projects: one project for one repository, a build of it, and refusals of another shape."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from cli.exits import JOB_FAILED
from tests.cli.conftest import Said
from tests.cli.fakes import DONE, FAILED, JOB, FakeNode, events, line, ok

Run = Callable[..., Said]
PATH = "/v1/projects"
URL = "https://example.org/site.git"
PROJECT: dict[str, Any] = {
    "id": "one",
    "name": "site",
    "repo_url": URL,
    "ref": "",
    "folder": "",
    "dockerfile": "",
    "created_at": "2026-01-15T12:00:00.000Z",
}
NONE = {"projects": [], "pagination": {"limit": 20, "total": 0}}
SOME = {"projects": [PROJECT], "pagination": {"limit": 20, "total": 1}}


def test_a_repository_is_a_project_and_its_build_a_job(neugrid: Run, node: FakeNode) -> None:
    node.routes |= {f"GET {PATH}": ok(NONE), f"POST {PATH}": ok(PROJECT, 201), "POST /v1/jobs": ok(JOB, 201)}
    said = neugrid("build", URL, "--folder", "web", "--ref", "v1", "--vram", "24Gi", "--max-price", "0.5")
    assert (said.code, said.out) == (0, "job_1\n")
    assert node.body(1) == {"repo_url": URL, "folder": "web"}
    assert node.body(2) == {
        "project_id": "one",
        "ref": "v1",
        "gpu_config": {"enabled": True, "min_vram_gb": 24},
        "max_price": "0.5",
    }


@pytest.mark.parametrize(("words", "is_new"), [((), False), (("--name", "other"), True), (("--folder", "x"), True)])
def test_the_same_repository_is_the_same_project(neugrid: Run, node: FakeNode, words: Any, is_new: bool) -> None:
    node.routes |= {f"GET {PATH}": ok(SOME), f"POST {PATH}": ok(PROJECT, 201), "POST /v1/jobs": ok(JOB, 201)}
    assert neugrid("build", URL, *words).code == 0
    assert [request.method for request in node.requests] == ["GET", *(["POST"] if is_new else []), "POST"]


@pytest.mark.parametrize(("end", "code"), [(DONE, 0), (FAILED, JOB_FAILED)])
def test_a_build_is_followed_to_its_end(neugrid: Run, node: FakeNode, end: Any, code: int) -> None:
    node.routes |= {
        f"GET {PATH}": ok(SOME),
        "POST /v1/jobs": ok(end, 201),
        "GET /v1/jobs/job_1": ok(end),
        "GET /v1/jobs/job_1/logs": events(("1", "log", line("step 1 begins: clone")), ("", "end", {})),
    }
    said = neugrid("build", URL, "--wait")
    assert (said.code, said.out) == (code, "step 1 begins: clone\n")


def test_projects_are_listed_shown_and_deleted(neugrid: Run, node: FakeNode) -> None:
    node.routes |= {f"GET {PATH}": ok(SOME), f"GET {PATH}/one": ok(PROJECT), f"DELETE {PATH}/one": ok({"id": "one"})}
    assert URL in neugrid("project", "list").out
    assert URL in neugrid("project", "show", "one").out
    assert neugrid("project", "show", "one", "--json").json == PROJECT
    assert neugrid("project", "delete", "one").out == "one is deleted\n"


def test_what_can_not_be_built_is_said(neugrid: Run, node: FakeNode) -> None:
    flat = {"error": "an https:// address", "code": "INVALID_PARAMETERS", "status": 400, "details": {}}
    node.routes |= {f"GET {PATH}": ok(NONE), f"POST {PATH}": lambda request: httpx.Response(400, json=flat)}
    said = neugrid("build", "http://10.0.0.1/x")
    assert (said.code, said.err) == (2, "neugrid: an https:// address\n")
    assert "whole gibibytes" in neugrid("build", URL, "--vram", "much").err
