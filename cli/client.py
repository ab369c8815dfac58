"""A client of a node's HTTP API: one method a route, errors by their code, retries that can not do a thing twice."""

import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from cli.account_client import AccountClient, quoted
from cli.wire import WAIT, Json, Wire


class Client(AccountClient):
    """One node. Raises the errors of `market.errors` by the code that the node answers; Unavailable without answer."""

    def __init__(
        self, url: str, key: str = "", *, retries: int = 3, transport: httpx.BaseTransport | None = None
    ) -> None:
        super().__init__(Wire(url, key, retries, transport))

    @property
    def url(self) -> str:
        """Where the node is."""
        return self._wire.url

    def close(self) -> None:
        """Close the connections."""
        self._wire.http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- jobs ------------------------------------------------------------------------------------------------------

    def submit(self, body: Mapping[str, Any], idempotency_key: str = "") -> Json:
        """Post a job; it is sent again under one key until an answer comes, and posted once."""
        key = idempotency_key or secrets.token_hex(16)
        return self._wire.json("POST", "/v1/jobs", json=dict(body), headers={"Idempotency-Key": key})

    def job(self, id: str, wait: float = 0) -> Json:
        """One job; with `wait` when it has ended, or after so many seconds (at most 60)."""
        return self._wire.json("GET", f"/v1/jobs/{quoted(id)}", params={"wait": min(wait, WAIT)} if wait else {})

    def wait(self, id: str, seconds: float) -> Json:
        """The job once it has ended, or as it stands after `seconds`."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            job = self.job(id, max(0.0, left))
            if job["finishedAt"] or left <= 0:
                return job

    def jobs(self, status: str = "", limit: int = 20) -> list[Json]:
        """The newest jobs, over as many pages as it takes."""
        params = {"status": status} if status else {}
        return list(self._wire.pages("/v1/jobs", "jobs", limit, params))

    def cancel(self, id: str) -> Json:
        """End a job now."""
        return self._wire.once("POST", f"/v1/jobs/{quoted(id)}/cancel")

    def logs(self, id: str, tail: int = 100, **filters: str) -> list[Json]:
        """The last lines; filters are `since`, `stream` and `level`."""
        logs: list[Json] = self._wire.json("GET", f"/v1/jobs/{quoted(id)}/logs", params={"tail": tail, **filters})[
            "logs"
        ]
        return logs

    def follow(self, id: str, **filters: str) -> Iterator[Json]:
        """Lines as they come, to the end of the job; a broken stream is resumed behind the last line."""
        for event in self._wire.events(f"/v1/jobs/{quoted(id)}/logs", {"follow": "true", **filters}):
            if event["event"] == "log":
                yield event["data"]

    def events(self, id: str) -> Iterator[Json]:
        """Journal entries of the job and its leases as they come, to its end."""
        for event in self._wire.events(f"/v1/jobs/{quoted(id)}/events", {}):
            if "seq" in event["data"]:
                yield event["data"]

    def results(self, id: str) -> list[Json]:
        """The output files of a job that has ended."""
        files: list[Json] = self._wire.json("GET", f"/v1/jobs/{quoted(id)}/results")["files"]
        return files

    def download(self, id: str, path: str) -> bytes:
        """One output file."""
        return self._wire.request("GET", f"/v1/jobs/{quoted(id)}/results/{quote(path)}").content

    def download_to(self, id: str, path: str, target: Path) -> None:
        """One output file onto the disk, streamed."""
        self._wire.save(f"/v1/jobs/{quoted(id)}/results/{quote(path)}", target)

    def explain(self, id: str) -> Json:
        """How the live offers stand to a job, and what would help."""
        return self._wire.json("GET", f"/v1/jobs/{quoted(id)}/explain")

    def upload(self, file: Path) -> Json:
        """Upload an input; its digest names it in jobs."""
        with file.open("rb") as content:
            return self._wire.once("PUT", "/v1/files", content=content)

    def files(self, limit: int) -> list[Json]:
        """The files that were used last, over as many pages as it takes."""
        return list(self._wire.pages("/v1/files", "files", limit, {}))

    def delete_file(self, digest: str) -> Json:
        """Let go of a file."""
        return self._wire.once("DELETE", f"/v1/files/{quoted(digest)}")

    # --- code ------------------------------------------------------------------------------------------------------

    def run_code(self, code: str, language: str, inputs: tuple[str, ...], seconds: float) -> Json:
        """Run code and wait for its end, at most so many seconds; a run that is sent twice runs twice."""
        body = {"code": code, "language": language, "inputs": inputs}
        id = self._wire.once("POST", "/api/v1/runner/submit", json=body)["data"]["jobId"]
        end = time.monotonic() + seconds
        while True:
            left = max(0.0, end - time.monotonic())
            found: Json = self._wire.json("GET", f"/api/v1/runner/{id}/result", params={"wait": min(left, WAIT)})[
                "data"
            ]
            if found["finishedAt"] or not left:
                return found

    def languages(self) -> list[Json]:
        """The languages that are offered."""
        found: list[Json] = self._wire.json("GET", "/v1/languages")["languages"]
        return found

    # --- inside ----------------------------------------------------------------------------------------------------

    def console(self, id: str, query: list[tuple[str, str]]) -> Any:
        """A WebSocket to a command inside of a job; a context manager, whose iteration gives the messages."""
        return self._wire.socket(f"/v1/jobs/{quoted(id)}/exec", query)

    def read_files(self, id: str, path: str) -> Iterator[bytes]:
        """A tar archive of a file or folder inside of a job."""
        return self._wire.stream(f"/v1/jobs/{quoted(id)}/files", {"path": path})

    def write_files(self, id: str, path: str, archive: Iterator[bytes]) -> Json:
        """Unpack a tar archive into a folder inside of a job."""
        return self._wire.once("PUT", f"/v1/jobs/{quoted(id)}/files", params={"path": path}, content=archive)

    # --- deployments -----------------------------------------------------------------------------------------------

    def deploy(self, body: Mapping[str, Any], idempotency_key: str = "") -> Json:
        """Create a deployment; it is sent again under one key until an answer comes, and created once."""
        headers = {"Idempotency-Key": idempotency_key or secrets.token_hex(16)}
        return self._deployment("POST", "", json=dict(body), headers=headers)

    def deployments(self, status: str = "", limit: int = 20) -> list[Json]:
        """The newest deployments, over as many pages as it takes."""
        return list(self._wire.pages("/v1/deployments", "deployments", limit, {"status": status} if status else {}))

    def deployment(self, id: str) -> Json:
        """One deployment."""
        return self._deployment("GET", f"/{quoted(id)}")

    def tell_deployment(self, id: str, verb: str, body: Mapping[str, Any] | None = None) -> Json:
        """Start, stop, restart or scale it; all of these may be repeated."""
        return self._deployment("POST", f"/{quoted(id)}/{verb}", json=body)

    def delete_deployment(self, id: str) -> Json:
        """End it for good."""
        return self._wire.once("DELETE", f"/v1/deployments/{quoted(id)}")

    def deployment_logs(self, id: str, tail: int = 100, **filters: str) -> list[Json]:
        """The last lines of all pods; filters are `since`, `stream` and `level`."""
        path = f"/v1/deployments/{quoted(id)}/logs"
        logs: list[Json] = self._wire.json("GET", path, params={"tail": tail, **filters})["logs"]
        return logs

    def follow_deployment(self, id: str, **filters: str) -> Iterator[Json]:
        """Lines of all pods as they come, until it is deleted; a broken stream goes on where it was."""
        for event in self._wire.events(f"/v1/deployments/{quoted(id)}/logs", {"follow": "true", **filters}):
            if event["event"] == "log":
                yield event["data"]

    def _deployment(self, method: str, path: str, **parts: Any) -> Json:
        found: Json = self._wire.json(method, f"/v1/deployments{path}", **parts)["deployment"]
        return found

    # --- projects --------------------------------------------------------------------------------------------------

    def create_project(self, body: Mapping[str, Any]) -> Json:
        """A project of a repository."""
        return self._wire.once("POST", "/v1/projects", json=dict(body))

    def projects(self, limit: int = 20) -> list[Json]:
        """The newest projects, over as many pages as it takes."""
        return list(self._wire.pages("/v1/projects", "projects", limit, {}))

    def project(self, id: str) -> Json:
        """One project."""
        return self._wire.json("GET", f"/v1/projects/{quoted(id)}")

    def delete_project(self, id: str) -> Json:
        """Forget a project."""
        return self._wire.once("DELETE", f"/v1/projects/{quoted(id)}")

    # --- market ----------------------------------------------------------------------------------------------------

    def providers(self, *, gpu: bool | None = None, limit: int = 100, **filters: Any) -> list[Json]:
        """Providers with a live offer; filters are `minReputation` and `region`."""
        params = {**filters} if gpu is None else {"gpu": str(gpu).lower(), **filters}
        return list(self._wire.pages("/v1/providers", "providers", limit, params))

    def provider(self, id: str) -> Json:
        """One provider with all its offers."""
        return self._wire.json("GET", f"/v1/providers/{quoted(id)}")

    def prices(self) -> Json:
        """What is asked, per hour in tokens."""
        return self._wire.json("GET", "/v1/market/prices")

    def stats(self) -> Json:
        """How much market there is."""
        return self._wire.json("GET", "/v1/market/stats")

    def asks(self) -> list[Json]:
        """The ask that this node's machine is offered for by hand, if there is one."""
        found: list[Json] = self._wire.json("GET", "/v1/market/asks")["asks"]
        return found

    def post_ask(self, prices: Mapping[str, str], expires_in: str | None = None) -> Json:
        """Offer the machine at these prices, in tokens an hour."""
        return self._wire.once("POST", "/v1/market/asks", json={"prices": prices, "expiresIn": expires_in})

    def withdraw_ask(self, id: str) -> Json:
        """Go back to the prices of the node's policy."""
        return self._wire.once("DELETE", f"/v1/market/asks/{quoted(id)}")

    # --- node -------------------------------------------------------------------------------------------------------

    def health(self) -> Json:
        """How the node is."""
        return self._wire.json("GET", "/v1/health")

    def is_ready(self) -> bool:
        """Whether the node can take jobs now; False as well when nobody answers."""
        try:
            return self._wire.http.get("/v1/ready").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def version(self) -> Json:
        """Which program answers."""
        return self._wire.json("GET", "/v1/version")
