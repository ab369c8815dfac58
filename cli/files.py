"""`neugrid files`: list, put, delete. What lies at the node under its content's digest, for jobs to work with."""

from pathlib import Path

from cyclopts import App

from cli.remote import LOCAL, Remote, connected, print_json, print_table
from market.units import format_size

app = App(name="files", help="Files that you have at the node.")


@app.command(name="list")
def list_(*, limit: int = 20, remote: Remote = LOCAL) -> None:
    """What you have there, uploads and outputs of jobs, those used last first."""
    with connected(remote) as client:
        found = client.files(limit)
    if remote.json:
        print_json(found)
        return
    rows = [(file["digest"], format_size(file["size"]), file["usedAt"], file["keptUntil"]) for file in found]
    print_table(("digest", "size", "used", "goes"), rows, "no files")


@app.command
def put(file: Path, /, *, remote: Remote = LOCAL) -> None:
    """Leave a file there; its digest names it in the inputs of jobs."""
    with connected(remote) as client:
        stored = client.upload(file)
    print_json(stored) if remote.json else print(stored["digest"])


@app.command
def delete(digest: str, /, *, remote: Remote = LOCAL) -> None:
    """Let go of a file that nothing works with any more."""
    with connected(remote) as client:
        done = client.delete_file(digest)
    print_json(done) if remote.json else print(f"{digest} is deleted")
