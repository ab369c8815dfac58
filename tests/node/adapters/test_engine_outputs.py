"""The extractor takes regular files only and trusts nothing in the stream."""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import OutputRefused
from node.adapters.docker_engine.outputs import MAX_FILES, Budget, check_wanted, extract
from node.ports import OutputFile


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info


def a_tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def take(data: bytes, store: Path, size: int = 1000, folder: str = "") -> list[OutputFile]:
    return extract([data], folder, store, Budget(size=size))


def test_files_are_stored_by_their_digest_and_named_relative_to_output(tmp_path: Path) -> None:
    found = take(
        a_tar((member("d", tarfile.DIRTYPE), b""), (member("d/a.txt", size=5), b"hello")), tmp_path, folder="x"
    )
    digest = hashlib.sha256(b"hello").hexdigest()
    assert found == [OutputFile(path="x/d/a.txt", digest=digest, size=5)]
    assert (tmp_path / digest).read_bytes() == b"hello"
    assert [path.name for path in tmp_path.iterdir()] == [digest]


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE],
)
def test_anything_but_a_regular_file_is_refused(kind: bytes, tmp_path: Path) -> None:
    with pytest.raises(OutputRefused):
        take(a_tar((member("a", kind, link="/etc/passwd"), b"")), tmp_path)


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "d/../../x", "a" * 1100])
def test_a_name_that_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputRefused):
        take(a_tar((member(name, size=1), b"x")), tmp_path)
    with pytest.raises(OutputRefused):
        check_wanted(name)


@pytest.mark.parametrize("path", ["", ".", "/", "..", "a\0b", "\udcff"])
def test_a_wanted_path_names_something_inside_of_output(path: str) -> None:
    with pytest.raises(OutputRefused):
        check_wanted(path)


def test_more_bytes_than_agreed_are_refused_before_they_are_read(tmp_path: Path) -> None:
    header = member("big", size=2**40).tobuf(tarfile.PAX_FORMAT)

    def stream() -> Iterator[bytes]:
        yield header.ljust(tarfile.RECORDSIZE, b"x")
        pytest.fail("the body was read")

    with pytest.raises(OutputRefused):
        extract(stream(), "", tmp_path, Budget(size=1000))


def test_the_budget_covers_all_files_together(tmp_path: Path) -> None:
    with pytest.raises(OutputRefused):
        take(a_tar((member("a", size=600), b"a" * 600), (member("b", size=600), b"b" * 600)), tmp_path)


def test_a_million_empty_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputRefused):
        take(a_tar(*((member(f"{number}"), b"") for number in range(MAX_FILES + 1))), tmp_path)


def test_a_stream_that_breaks_off_stores_nothing_of_the_broken_file(tmp_path: Path) -> None:
    whole = a_tar((member("a", size=5000), b"a" * 5000))
    with pytest.raises(OutputRefused):
        take(whole[:2000], tmp_path, size=10_000)
    assert list(tmp_path.iterdir()) == []


@given(st.binary(max_size=3000))
def test_any_bytes_are_refused_or_give_plain_files(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    store = tmp_path_factory.mktemp("store")
    try:
        found = take(data, store)
    except OutputRefused:
        found = []
    assert {path.name for path in store.iterdir()} >= {file.digest for file in found}
