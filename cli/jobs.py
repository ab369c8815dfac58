"""`neugrid job`: submit, list, show, logs, results, cancel, explain."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from cli.exits import INTERRUPTED, JOB_FAILED
from cli.orders import Order, body_of
from cli.remote import LOCAL, Remote, connected, print_fields, print_json, print_lines, print_table, say
from market.errors import InvalidParameters

if TYPE_CHECKING:
    from cli.client import Client

app = App(name="job", help="Priced jobs: submit, follow, fetch.")
Flag = Parameter(negative="")
POLL: Final = 0.25


@app.command
def submit(
    *command: str,
    order: Order,
    wait: Annotated[bool, Flag, Parameter(help="Show progress and output until it ends.")] = False,
    download: Annotated[Path | None, Parameter(help="With --wait: put the results into this folder.")] = None,
    idempotency_key: Annotated[str, Parameter(help="Repeat safely under this key.")] = "",
    remote: Remote = LOCAL,
) -> int:
    """Post a job: neugrid job submit --image python:3.11-slim --max-price 1.0 -- python -c "print('Hello')"."""
    with connected(remote) as client:
        job = client.submit(body_of(order, command, client), idempotency_key)
        if not wait:
            print_json(job) if remote.json else print(job["id"])
            return 0
        return watch(client, job, download, is_json=remote.json)


@app.command(name="list")
def list_(
    *,
    status: Annotated[str, Parameter(help="pending, queued, running, success, failed, cancelled.")] = "",
    limit: int = 20,
    remote: Remote = LOCAL,
) -> None:
    """Your jobs, newest first."""
    with connected(remote) as client:
        jobs = client.jobs(status, limit)
    if remote.json:
        print_json(jobs)
        return
    rows = [
        (job["id"], job["status"], job["image"], _short(job["provider"]), job["cost"], job["createdAt"]) for job in jobs
    ]
    print_table(("id", "status", "image", "provider", "cost", "created"), rows, "no jobs yet")


@app.command
def show(id: str, /, *, wait: float = 0, remote: Remote = LOCAL) -> None:
    """One job; with --wait when it has ended, or after so many seconds."""
    with connected(remote) as client:
        job = client.wait(id, wait) if wait else client.job(id)
    print_json(job) if remote.json else _print_job(job)


@app.command
def logs(
    id: str,
    /,
    *,
    tail: int = 100,
    since: Annotated[str, Parameter(help="A duration (10m) or a time.")] = "",
    level: Annotated[str, Parameter(help="debug, info, warn or error.")] = "",
    follow: Annotated[bool, Parameter(alias="-f", negative="")] = False,
    remote: Remote = LOCAL,
) -> None:
    """The output of a job; with --json one list, and with --follow an object a line as they come."""
    filters = {name: value for name, value in (("since", since), ("level", level)) if value}
    with connected(remote) as client:
        lines = client.follow(id, **filters) if follow else client.logs(id, tail, **filters)
        print_lines(lines, remote.json, is_live=follow)


@app.command
def results(
    id: str,
    /,
    *,
    to: Annotated[Path | None, Parameter(help="Download everything into this folder.")] = None,
    remote: Remote = LOCAL,
) -> None:
    """The files that a job left."""
    with connected(remote) as client:
        files = client.results(id)
        if to is not None:
            _download(client, id, files, to)
    if remote.json:
        print_json(files)
        return
    print_table(("path", "size", "sha-256"), [(f["path"], f["size"], f["digest"]) for f in files], "no files")


@app.command
def cancel(id: str, /, *, remote: Remote = LOCAL) -> None:
    """End a job now; what it used until then is paid."""
    with connected(remote) as client:
        job = client.cancel(id)
    print_json(job) if remote.json else print(f"{job['id']} is {job['status']}")


@app.command
def explain(id: str, /, *, remote: Remote = LOCAL) -> None:
    """Why offers do not take a job, and what would help."""
    with connected(remote) as client:
        found = client.explain(id)
    if remote.json:
        print_json(found)
        return
    print(f"{found['matching']} of {found['live']} live offers fit")
    for constraint, count in found["failing"].items():
        print(f"  {count} fail on {constraint}")
    for step in found["relaxations"]:
        print(f"  {step['constraint']}: {step['asked']} -> {step['needed'] or 'any'} makes {step['matches']} fit")


def watch(client: "Client", job: dict[str, Any], folder: Path | None, *, is_json: bool) -> int:
    """Follow a job to its end: phases on stderr, output on stdout; 1 when it did not succeed."""
    try:
        job = _until_placed(client, job)
        for record in client.follow(job["id"]):
            print(record["message"], flush=True) if not is_json else say(record["message"])
        while not job["finishedAt"]:
            job = client.job(job["id"], wait=30)
    except KeyboardInterrupt:
        say(f"{job['id']} goes on; `neugrid job show {job['id']}` or `neugrid job cancel {job['id']}`")
        return INTERRUPTED
    if folder is not None and job["status"] == "success":
        _download(client, job["id"], client.results(job["id"]), folder)
    if is_json:
        print_json(job)
    say(_ending(job))
    return 0 if job["status"] == "success" else JOB_FAILED


def _until_placed(client: "Client", job: dict[str, Any]) -> dict[str, Any]:
    """Say each phase until the job runs or has ended."""
    import time

    shown = ""
    while True:
        line = f"{job['id']} {job['phase']}" + (f" at {_short(job['provider'])}" if job["provider"] else "")
        if line != shown:
            say(line)
            shown = line
        if job["phase"] == "running" or job["finishedAt"]:
            return job
        time.sleep(POLL)
        job = client.job(job["id"])


def _ending(job: dict[str, Any]) -> str:
    error = f": {job['error']['message']} ({job['error']['code']})" if job["error"] else ""
    return f"{job['id']} {job['status']}{error}; {job['seconds']} s, {job['cost']} {job['currency']}"


def _print_job(job: dict[str, Any]) -> None:
    error = f"{job['error']['code']}: {job['error']['message']}" if job["error"] else None
    price = f"{job['pricePerSecond']} {job['currency']} a second" if job["pricePerSecond"] else None
    print_fields(
        [
            ("id", job["id"]),
            ("status", f"{job['status']} ({job['phase']}, {job['progress']} %)"),
            ("image", job["image"]),
            ("command", " ".join(job["command"])),
            ("provider", job["provider"]),
            ("price", price),
            ("cost", f"{job['cost']} of at most {job['maxPrice']} {job['currency']}, {job['paid']} paid"),
            ("exit code", job["exitCode"]),
            ("error", error),
            ("attempt", job["attempt"]),
            ("created", job["createdAt"]),
            ("started", job["startedAt"]),
            ("finished", job["finishedAt"]),
        ]
    )
    for reason in job["reasons"]:
        say(f"refused by {_short(reason['provider'])}: {', '.join(reason['codes'])}, asks {reason['pricePerSecond']}")


def _download(client: "Client", id: str, files: list[dict[str, Any]], folder: Path) -> None:
    """All files into the folder; a path that would lead out of it is refused."""
    root = folder.resolve()
    for file in files:
        target = (root / file["path"]).resolve()
        if not target.is_relative_to(root):
            raise InvalidParameters(f"the node names a file outside of the folder: {file['path']}", field="path")
        target.parent.mkdir(parents=True, exist_ok=True)
        client.download_to(id, file["path"], target)


def _short(provider: str | None) -> str:
    return f"{provider[:13]}..." if provider else ""
