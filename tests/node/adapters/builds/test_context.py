"""Contexts: tar streams in, tar streams out, and what may not pass."""

import io
import tarfile
from collections.abc import Iterator

import pytest

from node.adapters.builds.context import context, only_file
from node.adapters.builds.ignoring import Ignored
from node.adapters.builds.refusals import Refusal


def a_tar(*members: tuple[str, bytes | None, dict[str, object]]) -> Iterator[bytes]:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content, fields in members:
            member = tarfile.TarInfo(name)
            for field, value in ({"uid": 7, "mtime": 9} | fields).items():
                setattr(member, field, value)
            member.size = len(content or b"")
            archive.addfile(member, io.BytesIO(content or b""))
    whole = target.getvalue()
    return iter([whole[at : at + 1000] for at in range(0, len(whole), 1000)])


FOLDER = ("checkout/", None, {"type": tarfile.DIRTYPE})


def passed(chunks: Iterator[bytes], ignore: str = "", limit: int = 10**6) -> dict[str, tarfile.TarInfo]:
    whole = b"".join(context(chunks, (".ours", b"FROM x\n"), Ignored(ignore), limit))
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        return {member.name: member for member in archive}


def test_files_folders_and_links_pass_without_owners_and_times() -> None:
    found = passed(
        a_tar(
            FOLDER,
            ("checkout/run.sh", b"#!/bin/sh\n" * 1000, {"mode": 0o4755}),
            ("checkout/sub/", None, {"type": tarfile.DIRTYPE, "mode": 0o755}),
            ("checkout/sub/h\u00e9llo " + "x" * 200, b"y", {}),
            ("checkout/link", None, {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
            ("checkout/.git/config", b"secret", {}),
            ("checkout/.gitignore", b"", {}),
        )
    )
    assert set(found) == {".ours", "run.sh", "sub", "sub/h\u00e9llo " + "x" * 200, "link", ".gitignore"}
    assert (found["run.sh"].mode, found["run.sh"].uid, found["run.sh"].mtime) == (0o755, 0, 0)
    assert (found["link"].issym(), found["link"].linkname) == (True, "/etc/passwd")


@pytest.mark.parametrize(
    "member",
    [
        ("checkout/disk", None, {"type": tarfile.BLKTYPE}),
        ("checkout/null", None, {"type": tarfile.CHRTYPE}),
        ("checkout/pipe", None, {"type": tarfile.FIFOTYPE}),
        ("checkout/hard", None, {"type": tarfile.LNKTYPE, "linkname": "checkout/a"}),
        ("checkout/../../etc/x", b"", {}),
    ],
)
def test_what_no_checkout_can_hold_is_refused(member: tuple[str, bytes | None, dict[str, object]]) -> None:
    with pytest.raises(Refusal):
        passed(a_tar(FOLDER, member))


def test_too_much_is_refused_before_it_is_passed_on() -> None:
    with pytest.raises(Refusal) as refused:
        passed(a_tar(FOLDER, ("checkout/a", b"x" * 600, {}), ("checkout/b", b"x" * 600, {})), limit=1000)
    assert refused.value.code == "BUILD_TOO_LARGE"


def test_what_is_no_archive_is_refused() -> None:
    with pytest.raises(Refusal):
        passed(iter([b"no tar at all" * 100]))


def test_one_plain_file_is_read_and_nothing_else() -> None:
    assert only_file(a_tar(("Dockerfile", b"FROM x\n", {})), 100) == b"FROM x\n"
    for member in (
        ("Dockerfile", b"x" * 101, {}),
        ("Dockerfile", None, {"type": tarfile.SYMTYPE, "linkname": "/etc/shadow"}),
        ("Dockerfile/", None, {"type": tarfile.DIRTYPE}),
    ):
        with pytest.raises(Refusal):
            only_file(a_tar(member), 100)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("patterns", "path", "is_out"),
    [
        ("*.pyc", "a.pyc", True),
        ("*.pyc", "sub/a.pyc", False),
        ("**/*.pyc", "sub/deep/a.pyc", True),
        ("**/*.pyc", "a.pyc", True),
        ("node_modules", "node_modules/x/y", True),
        ("/node_modules/", "node_modules/x", True),
        ("doc\n!doc/keep", "doc/keep", False),
        ("doc\n!doc/keep", "doc/other", True),
        ("# a comment\n\n", "# a comment", False),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("*", ".env", True),
    ],
)
def test_patterns_leave_out_what_they_fit(patterns: str, path: str, is_out: bool) -> None:
    assert Ignored(patterns).has(path) is is_out


def test_a_pattern_can_not_take_long() -> None:
    assert not Ignored("*a" * 120 + "b\n" + "**/" * 80 + "b").has("/".join(["a" * 200] * 5))
