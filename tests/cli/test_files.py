"""The commands of files."""

from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Said
from tests.cli.fakes import FakeNode, ok

Run = Callable[..., Said]
DIGEST = "ab" * 32
FILE = {
    "digest": DIGEST,
    "size": 2048,
    "usedAt": "2026-01-15T12:00:00.000Z",
    "keptUntil": "2026-02-14T12:00:00.000Z",
}


def test_files_are_put_listed_and_deleted(neugrid: Run, node: FakeNode, tmp_path: Path) -> None:
    page = {"files": [FILE], "bytes": 2048, "limit": 10, "pagination": {"limit": 20, "total": 1}}
    node.routes |= {
        "PUT /v1/files": ok({"digest": DIGEST, "size": 2048}, 201),
        "GET /v1/files": ok(page),
        f"DELETE /v1/files/{DIGEST}": ok({"success": True, "message": "File deleted", "id": DIGEST}),
    }
    (tmp_path / "in").write_bytes(bytes(2048))
    assert neugrid("files", "put", str(tmp_path / "in")).out == f"{DIGEST}\n"
    [title, row] = neugrid("files", "list").out.splitlines()
    assert (title.split(), row.split()) == (
        ["digest", "size", "used", "goes"],
        [DIGEST, "2Ki", FILE["usedAt"], FILE["keptUntil"]],
    )
    assert neugrid("files", "list", "--json").json == [FILE]
    assert neugrid("files", "delete", DIGEST).out == f"{DIGEST} is deleted\n"
