"""What both sides know about builds: sources, steps in a log, images out of archives."""

import msgspec
import pytest

from market.builds import MAX_STEPS, BuildStep, step_begins, step_ends, steps_after
from market.workloads import Egress, File, Source, WorkloadKind, archive_of, needs_of
from tests.builders import DIGEST, a_workload


def a_source(**changes: str) -> Source:
    return msgspec.convert({"url": "https://example.org/team/app.git"} | changes, Source)


@pytest.mark.parametrize(
    "url",
    [
        *("https://example.org/a", "https://example.org:8443/a/b.git", "https://x-1.y.example.org/~me/a_b+c"),
    ],
)
def test_a_source_is_a_repository_at_a_name(url: str) -> None:
    assert a_source(url=url).url == url


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.org/a", "git://example.org/a", "ssh://git@example.org/a", "file:///etc", "/srv/git/a"),
        *("https://localhost/a", "https://127.0.0.1/a", "https://10.0.0.7:8443/a", "https://[::1]/a"),
        *("https://me:secret@example.org/a", "https://example.org", "https://example.org/", "https://Example.org/a"),
        *("https://example.org/a?b=c", "https://example.org/a#b", "https://example.org/a b", "https://example.org/a\n"),
        *("https://example.org/a%00", "https://example.org:0/a", "https://example.org/--upload-pack=x\x00"),
    ],
)
def test_nothing_else_is_a_source(url: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        a_source(url=url)


@pytest.mark.parametrize("ref", ["", "main", "v1.2.3", "feature/one_two", "0" * 40, "release@2"])
def test_a_ref_is_a_name_or_a_commit(ref: str) -> None:
    assert a_source(ref=ref).ref == ref


@pytest.mark.parametrize(
    "ref", ["-x", "--upload-pack=x", "a..b", "a b", "a:b", "@{1}x@{2}", "/a", "a\n", "a\x00", "^a"]
)
def test_a_ref_can_not_be_an_option_or_a_rule(ref: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        a_source(ref=ref)


@pytest.mark.parametrize("folder", ["/etc", "..", "a/../../b", "a/..", "a\x00"])
def test_a_folder_stays_inside_of_the_repository(folder: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        a_source(folder=folder)


def test_a_build_needs_a_provider_that_builds_and_its_way_out() -> None:
    build = a_workload(kind=WorkloadKind.BUILD, egress=Egress(policy="web"), source=a_source())
    assert needs_of(build) == ("build", "egress:web")


def test_steps_are_read_from_the_lines_in_any_portions() -> None:
    lines = [
        (10, step_begins(1, "clone  https://example.org/a\n")),
        (20, step_ends(1)),
        (20, step_begins(2, "RUN make")),
        (50, step_ends(2, "exit code 2")),
    ]
    expected = (
        BuildStep(number=1, name="clone https://example.org/a", status="done", started_at=10, finished_at=20),
        BuildStep(number=2, name="RUN make", status="failed", started_at=20, finished_at=50),
    )
    assert steps_after((), lines) == expected
    for cut in range(len(lines)):
        assert steps_after(steps_after((), lines[:cut]), lines[cut:]) == expected


def test_lines_that_are_no_steps_change_nothing_and_a_step_ends_once() -> None:
    steps = steps_after(
        (), [(1, step_begins(1, "a")), (2, step_ends(1)), (3, step_ends(1, "late")), (4, "step x done")]
    )
    assert [(step.status, step.finished_at) for step in steps] == [("done", 2)]


def test_there_are_only_so_many_steps() -> None:
    assert len(steps_after((), [(1, step_begins(number, "a")) for number in range(3 * MAX_STEPS)])) == MAX_STEPS


def test_an_image_may_be_an_input() -> None:
    file = File(path="image.tar", digest=DIGEST, size=3)
    assert archive_of(a_workload(image=f"archive:{DIGEST}", inputs=(file,))) == file
    assert archive_of(a_workload(image=f"archive:{DIGEST}")) is None
    assert archive_of(a_workload(image=DIGEST, inputs=(file,))) is None
