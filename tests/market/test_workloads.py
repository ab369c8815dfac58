"""Workloads: paths stay inside, sizes are bounded, and the digest gives nothing away."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from market.workloads import File, Workload, spec_digest
from tests.builders import DIGEST, a_file, a_workload


def decoded(**changes: object) -> Workload:
    fields = msgspec.json.decode(msgspec.json.encode(a_workload()))
    return msgspec.json.decode(msgspec.json.encode(fields | changes), type=Workload)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "..", "../x", "a/..", "a/../b", "a/b/../../..", "", "a\x00b", "x" * 1025]
)
def test_a_path_that_leads_out_is_refused_in_files_and_outputs(path: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"path": path, "digest": DIGEST, "size": 1}, File)
    with pytest.raises(msgspec.ValidationError):
        decoded(outputs=[path])


@pytest.mark.parametrize(
    "path",
    ["/proc", "/proc/x", "/sys", "/dev/shm", "/tmp", "/input/x", "/output", "/", "", "a", "//a", "/a/", "/a//b",
     "/a/../proc", "/..", "/a/.", "/./proc", "/a\x00", "/a\n", "/" + "x" * 256],
)  # fmt: skip
def test_a_volume_hides_nothing_and_is_named_plainly(path: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        decoded(volumes=[{"name": "data", "path": path, "size": 2**22}])


@pytest.mark.parametrize("path", ["/data", "/var/lib/x", "/procs", "/a/.hidden", "/a/..b", "/root"])
def test_any_other_place_for_a_volume_is_taken(path: str) -> None:
    assert decoded(volumes=[{"name": "data", "path": path, "size": 2**22}]).volumes[0].path == path


@pytest.mark.parametrize("path", ["a", "a/b/c.txt", "..a", "a..", "...", "a/...", "ä b", "a\nb"])
def test_any_other_relative_path_is_taken(path: str) -> None:
    assert decoded(outputs=[path]).outputs == (path,)


@pytest.mark.parametrize(
    "changes",
    [{"image": ""}, {"image": "x" * 513}, {"timeout": 0}, {"timeout": 30 * 86400 + 1}, {"timeout": -1},
     {"timeout": 1.5}, {"command": ["x"] * 257}, {"command": ["x" * 32_769]}, {"command": "sh"}, {"env": {"": "x"}},
     {"env": {"A": 1}}, {"env": {str(n): "" for n in range(257)}}, {"outputs": ["x"] * 65},
     {"resources": {"cpu": 4_096_001, "memory": 0}}, {"resources": {"cpu": 1, "memory": 2**60 + 1}}],
)  # fmt: skip
def test_a_workload_out_of_bounds_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        decoded(**changes)


@pytest.mark.parametrize("digest", ["", "AB" * 32, "ab" * 31, "ab" * 32 + "\n", "zz" * 32])
def test_a_digest_has_one_spelling(digest: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"path": "x", "digest": digest, "size": 1}, File)


def test_the_digest_is_the_same_whatever_the_order_of_the_environment() -> None:
    one, other = a_workload(env={"A": "1", "B": "2"}), a_workload(env={"B": "2", "A": "1"})
    assert spec_digest(one, "nonce") == spec_digest(other, "nonce")


@given(st.text(max_size=20), st.text(max_size=20))
def test_the_digest_needs_the_nonce_to_be_guessed(one: str, other: str) -> None:
    same = spec_digest(a_workload(), one) == spec_digest(a_workload(), other)
    assert same == (one == other)


@pytest.mark.parametrize(
    "changes",
    [{"image": "busybox:1"}, {"command": ("echo", "hell", "o")}, {"env": {"A": "1"}}, {"timeout": 61},
     {"inputs": (a_file(),)}, {"outputs": ("x",)}],
)  # fmt: skip
def test_any_other_workload_has_another_digest(changes: dict[str, object]) -> None:
    assert spec_digest(replace(a_workload(), **changes), "n") != spec_digest(a_workload(), "n")
