"""`neugrid run` and `neugrid cp`: what is sent, what is shown, and what is refused before anything is sent."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.conftest import Said
from tests.cli.fakes import FakeNode, in_turn, ok

Run = Callable[..., Said]
SUBMIT, RESULT = "POST /api/v1/runner/submit", "GET /api/v1/runner/ab/result"


def a_result(**changes: Any) -> dict[str, Any]:
    run = {"stdout": "3\n", "stderr": "", "exitCode": 0, "errorType": None, "errorMessage": ""}
    data = {"status": "success", "finishedAt": "now", "runs": [run | changes.pop("run", {})]}
    return {"data": data | changes}


@pytest.fixture
def runner(node: FakeNode) -> FakeNode:
    node.routes[SUBMIT] = ok({"success": True, "data": {"jobId": "ab", "status": "queued"}})
    node.routes[RESULT] = in_turn(ok(a_result(status="queued", finishedAt=None, runs=[])), ok(a_result()))
    return node


def test_code_runs_in_the_language_of_its_file_once_for_each_input(
    neugrid: Run, runner: FakeNode, tmp_path: Path
) -> None:
    for name, text in (("sum.cpp", "int main(){}"), ("one", "1 2"), ("two", "3 4")):
        (tmp_path / name).write_text(text)
    done = neugrid("run", str(tmp_path / "sum.cpp"), str(tmp_path / "one"), str(tmp_path / "two"))
    assert (done.code, done.out) == (0, "3\n")
    assert runner.body(0) == {"code": "int main(){}", "language": "cpp", "inputs": ["1 2", "3 4"]}


def test_a_run_that_fails_says_why_and_ends_with_one(neugrid: Run, runner: FakeNode, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("while 1: pass")
    failed = {"stdout": "", "errorType": "TLE", "errorMessage": "longer than 3 seconds"}
    runner.routes[RESULT] = ok(a_result(status="failed", run=failed))
    done = neugrid("run", str(tmp_path / "a.py"), str(tmp_path / "a.py"))
    assert (done.code, "TLE: longer than 3 seconds" in done.err) == (1, True)


def test_a_file_of_no_known_ending_is_refused_before_anything_is_sent(
    neugrid: Run, runner: FakeNode, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("x")
    done = neugrid("run", str(tmp_path / "a.txt"), str(tmp_path / "a.txt"))
    assert (done.code, "--language" in done.err, runner.requests) == (2, True, [])


def an_archive(*members: tuple[str, bytes, bytes]) -> bytes:
    """A tar archive of (name, type, content)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(content), "/etc/passwd"
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_files_come_out_as_files_and_links_stay_behind(neugrid: Run, node: FakeNode, tmp_path: Path) -> None:
    archive = an_archive(
        ("data", tarfile.DIRTYPE, b""), ("data/a", tarfile.REGTYPE, b"A"), ("data/b", tarfile.SYMTYPE, b"")
    )
    node.routes["GET /v1/jobs/job_1/files"] = lambda request: httpx.Response(200, content=archive)
    assert neugrid("cp", "job_1:/data", str(tmp_path)).code == 0
    assert (tmp_path / "data" / "a").read_bytes() == b"A"
    assert not (tmp_path / "data" / "b").is_symlink()


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "data/../../evil"])
def test_nothing_comes_out_beside_its_folder(neugrid: Run, node: FakeNode, tmp_path: Path, name: str) -> None:
    archive = an_archive((name, tarfile.REGTYPE, b"x"))
    node.routes["GET /v1/jobs/job_1/files"] = lambda request: httpx.Response(200, content=archive)
    target = tmp_path / "deep" / "target"
    target.mkdir(parents=True)
    assert neugrid("cp", "job_1:/data", str(target)).code == 2
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_files_go_in_as_an_archive_without_names_of_users(neugrid: Run, node: FakeNode, tmp_path: Path) -> None:
    node.routes["PUT /v1/jobs/job_1/files"] = ok({"success": True, "id": "job_1", "message": "unpacked"})
    (tmp_path / "x.txt").write_text("hello")
    assert neugrid("cp", str(tmp_path / "x.txt"), "job_1:/tmp").code == 0
    with tarfile.open(fileobj=io.BytesIO(node.requests[-1].content)) as archive:
        (member,) = archive.getmembers()
    assert (member.name, member.uid, member.uname, member.size) == ("x.txt", 0, "", 5)


def test_one_of_both_places_is_inside(neugrid: Run, node: FakeNode) -> None:
    assert neugrid("cp", "a", "b").code == neugrid("cp", "job_1:/a", "job_2:/b").code == 2
    assert node.requests == []
