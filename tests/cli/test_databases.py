"""`neugrid db`: a backup while the node runs, and a restore that warns."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.main import main
from node.adapters.storage import open_storage
from node.config import Config, write_config
from node.records import Mark
from tests.cli.conftest import Said
from tests.node.adapters.samples import a_mark

Run = Callable[..., Said]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "node"
    write_config(Config(data_dir=str(folder), roles=("requester",)), folder / "node.toml")
    return folder


@pytest.fixture
def db(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> Said:
        code = main(["db", *words, "--data-dir", str(folder)])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


def put(folder: Path, number: int, then: Callable[[], object] = lambda: None) -> list[Mark]:
    """Write a mark, and do something while the node still runs; all marks then."""

    async def play() -> list[Mark]:
        async with open_storage(folder / "node.db") as storage:
            await storage.write(lambda tx: tx.put(a_mark(number)))
            then()
            return storage.find(Mark)

    return asyncio.run(play())


def test_a_backup_of_a_node_that_runs_is_put_back(folder: Path, db: Run, tmp_path: Path) -> None:
    file = tmp_path / "backup.db"
    put(folder, 1, then=lambda: db("backup", str(file), "--json"))
    (folder / "node.db").unlink()

    done = db("restore", str(file), "--json")

    assert done.code == 0
    assert json.loads(done.out)["kept"] is None
    assert "vouchers that it had not claimed are lost" in done.err
    assert put(folder, 2) == [a_mark(1), a_mark(2)]


def test_a_restore_that_forgets_is_refused_until_it_is_accepted(folder: Path, db: Run, tmp_path: Path) -> None:
    file = tmp_path / "backup.db"
    put(folder, 1)
    assert db("backup", str(file)).code == 0
    put(folder, 2)

    refused = db("restore", str(file))
    assert refused.code == 5
    assert "--accept-loss" in refused.err

    done = db("restore", str(file), "--accept-loss")
    assert done.code == 0
    assert "node.db.before-restore" in done.out
    assert put(folder, 3) == [a_mark(1), a_mark(3)]


def test_a_restore_beside_a_node_that_runs_is_refused(folder: Path, db: Run, tmp_path: Path) -> None:
    said: list[Said] = []

    def try_it() -> None:
        db("backup", str(tmp_path / "backup.db"))
        said.append(db("restore", str(tmp_path / "backup.db"), "--accept-loss"))

    put(folder, 1, then=try_it)
    assert said[0].code == 5
    assert "in use by another node" in said[0].err


@pytest.mark.parametrize(
    ("words", "code"), [(("backup", "there"), 5), (("restore", "there"), 2), (("restore", "no"), 74)]
)
def test_wrong_files_have_exit_codes(folder: Path, db: Run, tmp_path: Path, words: tuple[str, str], code: int) -> None:
    put(folder, 1)
    (tmp_path / "there").write_text("a text")
    assert db(words[0], str(tmp_path / words[1])).code == code


def test_the_help_says_what_is_not_in_a_backup_and_what_a_restore_forgets(db: Run) -> None:
    backup, restore = db("backup", "--help").out, db("restore", "--help").out
    assert {"keys/", "wallet.db"} <= set(backup.replace(",", " ").split())
    assert "DANGEROUS" in restore
    assert "vouchers" in restore.lower()
