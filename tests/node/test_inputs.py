"""Inputs on their way into a container's folder: a copy that was cut off is never taken for the file."""

import shutil
from pathlib import Path

import pytest

from market.errors import OutputRefused
from market.workloads import File
from node.actions.inputs import place

CONTENT = b"x" * 100
FILE = File(path="deep/data", digest="0" * 64, size=len(CONTENT))


def stored(tmp_path: Path) -> tuple[Path, Path]:
    source, folder = tmp_path / "store", tmp_path / "lease" / "input"
    source.write_bytes(CONTENT)
    return source, folder


def test_a_copy_that_was_cut_off_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, folder = stored(tmp_path)

    def killed_half_way(source: Path, target: Path) -> None:
        target.write_bytes(CONTENT[:50])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", killed_half_way)
        with pytest.raises(KeyboardInterrupt):
            place(source, folder, FILE)
    assert not (folder / FILE.path).exists()
    place(source, folder, FILE)
    assert (folder / FILE.path).read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == ["deep"]


def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    source, folder = stored(tmp_path)
    folder.mkdir(parents=True)
    (folder / "deep").symlink_to(tmp_path)
    with pytest.raises(OutputRefused):
        place(source, folder, FILE)
