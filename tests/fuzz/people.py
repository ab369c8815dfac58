"""Who asks, what they own, and bodies that fit: all of it made over HTTP, as anybody would."""

import contextlib
import io
import tarfile
from collections.abc import Callable
from typing import Any

import httpx

from market.leases import Lease, LeaseState
from market.signing import Signer
from market.siwe import SignInMessage, digest_of_text, write_message
from market.units import Amount
from node.records import Account, Invoice
from tests.fuzz.stage import SELLER, House, Stage

PASSWORD = "correct horse battery"
SMALL = {"cpu": "0.1", "memory": "16Mi"}
FOLDER = "/data"
OWNERS = ("operator", "alice")
"""Who has things of his own."""
HOLDERS = {
    "operator": "operator",
    "alice": "alice",
    "alice signed in": "alice",
    "alice, a key that reads": "alice",
    "alice, a key of neorun": "alice",
    "bob": "alice",
    "a wrong key": "alice",
    "nobody": "alice",
}
"""Who asks, and whose things he asks for."""
KEYS: dict[str, dict[str, Any]] = {
    "alice": {"name": "first"},
    "alice, a key that reads": {"name": "lesser", "scopes": ["read"]},
    "alice, a key of neorun": {"name": "other", "profile": "neorun"},
    "bob": {"name": "first"},
}
"""Who asks with a key that a user made, and what it is."""
LISTS = (
    ("/v1/deployments", "deployments"),
    ("/v1/agents", "agents"),
    ("/v1/projects", "projects"),
    ("/v1/webhooks", "webhooks"),
    ("/v1/keys", "keys"),
)
"""What an account may have so many of and no more."""
SHOWN = {
    "job_id": "/v1/jobs",
    "deployment_id": "/v1/deployments",
    "agent_id": "/v1/agents",
    "pod_id": "/v1/pods",
    "project_id": "/v1/projects",
    "webhook_id": "/v1/webhooks",
    "user_code": "/v1/auth/device",
}
"""Where things are seen, by the parameter that names them."""

Body = dict[str, Any]


class Cast:
    """Everybody at one stage; `headers` are what each sends, `things` the ids that each owner has by parameter."""

    def __init__(self, house: House, stage: Stage, operator: str) -> None:
        self._house = house
        self._stage = stage
        self._http = httpx.Client(base_url=house.url, timeout=20)
        self._count = 0
        self._keys: set[str] = set()
        self.users: dict[str, str] = {}
        self.headers: dict[str, dict[str, str]] = {
            "operator": _key(operator),
            "nobody": {},
            "a wrong key": _key(operator[:-1] + ("x" if operator[-1] != "x" else "y")),
        }
        self.things: dict[str, dict[str, list[str]]] = {}
        self.makers: dict[str, Callable[[str], str]] = {
            "job_id": self._a_running_job,
            "deployment_id": lambda owner: str(self.post(owner, "/v1/deployments", a_deployment())["deployment"]["id"]),
            "agent_id": lambda owner: str(self.post(owner, "/v1/agents", an_agent())["id"]),
            "pod_id": self._a_pod,
            "project_id": lambda owner: str(self.post(owner, "/v1/projects", a_project())["id"]),
            "webhook_id": lambda owner: str(self.post(owner, "/v1/webhooks", a_webhook())["id"]),
            "key_id": lambda owner: str(self.post(owner, "/v1/keys", {"name": "spare"})["id"]),
            "user_id": lambda owner: str(self.post("operator", "/v1/users", self.a_user())["id"]),
            "user_code": lambda owner: str(self.post(owner, "/v1/auth/device")["user_code"]),
            "digest": self._a_file,
            "ask_id": lambda owner: str(self.post("operator", "/v1/market/asks", an_ask())["id"]),
        }

    def close(self) -> None:
        self._http.close()

    def enter(self) -> None:
        """Let everybody in, and give the owners one of everything."""
        me = self.get("operator", "/v1/auth/me")
        self.users["operator"] = me["user"]["id"]
        self._keys.add(me["credential"])
        for name in ("alice", "bob"):
            self.sign_up(name)
        for holder, body in KEYS.items():
            self._give_key(holder, body, self.headers[f"{holder.partition(',')[0]} signed in"])
        self._link_wallet("alice")
        self._link_wallet("operator")
        for owner in OWNERS:
            self.things[owner] = self._furnish(owner)

    def get(self, who: str, path: str) -> Any:
        return self._told(self._http.get(path, headers=self.headers[who]))

    def post(self, who: str, path: str, body: Body | None = None) -> Any:
        return self._told(self._http.post(path, json=body or {}, headers=self.headers[who]))

    def make(self, parameter: str, owner: str) -> str:
        """One more thing of this kind, which may be spoilt."""
        try:
            return self.makers[parameter](owner)
        except AssertionError:  # there are too many of them
            self.tidy()
            return self.makers[parameter](owner)

    def tidy(self) -> None:
        """Take away what cases have left, and make anew what they have spoilt."""
        for owner in OWNERS:
            self._take_away(owner)
            self._house.served.call(self._stage.enrich(self._account(owner)))
            self._make_anew(owner)

    def _take_away(self, owner: str) -> None:
        kept = {id for ids in self.things[owner].values() for id in ids} | self._keys
        for path, plural in LISTS:
            foreign = "agt_" if plural == "deployments" else "dep_"
            ids = [found["id"] for found in self.get(owner, f"{path}?limit=100")[plural]]
            for id in ids:
                if id not in kept and not id.startswith(foreign):
                    self._http.delete(f"{path}/{id}", headers=self.headers[owner])
        for job in self.get(owner, "/v1/jobs?status=pending,running&limit=100")["jobs"]:
            if job["id"] not in kept:
                self._http.post(f"/v1/jobs/{job['id']}/cancel", headers=self.headers[owner])

    def _make_anew(self, owner: str) -> None:
        things = self.things[owner]
        for parameter, path in SHOWN.items():
            answer = self._http.get(f"{path}/{things[parameter][-1]}", headers=self.headers[owner])
            if answer.status_code != 200 or answer.json().get("status") == "cancelled":
                things[parameter][-1] = self.makers[parameter](owner)

    def heal(self) -> None:
        """Give those new keys whose old ones are good no more."""
        if self._http.get("/v1/auth/me", headers=self.headers["operator"]).status_code != 200:
            self.headers["operator"] = _key(self._house.served.call(self._stage.operator_key()))
            self._keys.add(self.get("operator", "/v1/auth/me")["credential"])
        for holder, body in KEYS.items():
            if self._http.get("/v1/auth/me", headers=self.headers[holder]).status_code != 200:
                self._give_key(holder, body, self.signed_in(holder.partition(",")[0]))
        if self._http.get("/v1/auth/me", headers=self.headers["alice signed in"]).status_code != 200:
            self.headers["alice signed in"] = self.signed_in("alice")

    def a_user(self) -> Body:
        self._count += 1
        return {"email": f"user{self._count}@example.org", "password": PASSWORD}

    def a_signed_message(self, wallet: Signer | None = None) -> Body:
        """What a wallet signs to come in; a new one without `wallet`."""
        self._count += 1
        signer = wallet or Signer(self._count.to_bytes(32, "big"))
        nonce = self.get("nobody", "/v1/auth/nonce")
        message = SignInMessage(
            domain="localhost",
            address=signer.address,
            uri="http://localhost/",
            chain=nonce["chain_id"],
            nonce=nonce["nonce"],
            issued_at=self._stage.world.clock.now(),
        )
        text = write_message(message)
        return {"message": text, "signature": signer.sign(digest_of_text(text)).hex()}

    def a_device(self) -> Body:
        """A device that was let in and may fetch its key."""
        device = self.post("nobody", "/v1/auth/device")
        self.post("alice", "/v1/auth/device/decision", {"user_code": device["user_code"], "approve": True})
        return {"device_code": device["device_code"]}

    def signed_in(self, name: str) -> dict[str, str]:
        """The headers of a new session."""
        body = {"email": f"{name}@example.org", "password": PASSWORD}
        return {"Authorization": f"Bearer {self.post('nobody', '/v1/auth/token', body)['access_token']}"}

    def _give_key(self, holder: str, body: Body, session: dict[str, str]) -> None:
        made = self._told(self._http.post("/v1/keys", json=body, headers=session))
        self._keys.add(made["id"])
        self.headers[holder] = _key(made["key"])

    def sign_up(self, name: str) -> None:
        made = self.post("operator", "/v1/users", {"email": f"{name}@example.org", "password": PASSWORD})
        self.users[name] = made["id"]
        self._house.served.call(self._stage.enrich(self._account(name)))
        self.headers[f"{name} signed in"] = self.signed_in(name)

    def _link_wallet(self, name: str) -> None:
        self.post(name, "/v1/auth/wallet", self.a_signed_message(Signer(name.encode().ljust(32, b"."))))

    def _account(self, name: str) -> Account:
        found = self._stage.storage.get(Account, self.users[name])
        assert found is not None
        return found

    def _furnish(self, owner: str) -> dict[str, list[str]]:
        done = self.post(owner, "/v1/jobs", a_job())["id"]
        running = self.make("job_id", owner)
        webhook = self.make("webhook_id", owner)
        provider = self.get(owner, "/v1/providers")["providers"][0]["id"]
        run = self.post(owner, "/api/v1/runner/submit?wait=10", some_code())["data"]["jobId"]
        things = {
            **{name: [self.make(name, owner)] for name in ("deployment_id", "agent_id", "pod_id", "project_id")},
            **{name: [self.make(name, owner)] for name in ("key_id", "user_code", "ask_id", "digest")},
            "webhook_id": [webhook],
            "delivery_id": [self.post(owner, f"/v1/webhooks/{webhook}/test")["id"]],
            "user_id": [self.users[owner]],
            "provider_id": [provider],
            "node_id": [provider],
            "template_id": ["redis", "ollama"],
            "name": ["api", "chain"],
            "path": ["out.txt"],
            "invoice_id": [self._an_invoice(owner)],
            "withdrawal_id": [self.post(owner, "/v1/wallet/withdraw", a_withdrawal(owner))["id"]],
            "run_id": [run],
        }
        assert self.get(owner, f"/v1/jobs/{done}?wait=10")["status"] == "success"
        return {**things, "job_id": [done, run, running]}

    def _a_file(self, owner: str) -> str:
        self._count += 1
        content = f"file {self._count}".encode()
        return str(self._told(self._http.put("/v1/files", content=content, headers=self.headers[owner]))["digest"])

    def _a_running_job(self, owner: str) -> str:
        """A job that runs until it is cancelled, with something inside."""
        job = str(self.post(owner, "/v1/jobs", {**a_job("sleep"), "timeout": "1h"})["id"])
        self._house.served.call(self._stage.until(lambda: self._is_running(job)))
        for name in self._stage.world.runtimes[SELLER].started:
            self._stage.containers.running.add(name)
            self._stage.containers.files[name, f"{FOLDER}/file"] = b"inside"
        return job

    def _is_running(self, job: str) -> bool:
        leases = self._stage.storage.find(Lease, job=job)
        return any(lease.state is LeaseState.RUNNING for lease in leases)

    def _a_pod(self, owner: str) -> str:
        deployment = self.makers["deployment_id"](owner)
        pods = self.get(owner, "/v1/pods")["pods"]
        return str(next(pod["id"] for pod in pods if pod["deployment_id"] == deployment))

    def _an_invoice(self, owner: str) -> str:
        now = self._stage.world.clock.now()
        invoice = Invoice(
            id=f"inv_{owner}",
            account=self.users[owner],
            period="2025-01",
            amount=Amount(1),
            seconds=1,
            storage=0,
            runs=0,
            credits=0,
            due_at=now,
            created_at=now,
        )
        self._house.served.call(self._stage.keep(invoice))
        return invoice.id

    def _told(self, answer: httpx.Response) -> Any:
        if not answer.is_success:
            raise AssertionError(f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}")
        return answer.json()


def a_job(command: str = "true") -> Body:
    return {
        "image": "busybox",
        "command": [command],
        "resources": SMALL,
        "maxPrice": "1",
        "timeout": "1m",
        "outputs": ["out.txt"],
        "bidWindow": 0,
    }


def a_deployment() -> Body:
    return {"customImage": "web:1", "resources": SMALL, "maxPricePerHour": "1", "env": {"A": "1"}, "ports": [8080]}


def an_agent() -> Body:
    return {"name": "agent", "image": "web:1", "config": {"cpu": "0.1", "memory": "16Mi"}, "maxPricePerHour": "1"}


def a_project() -> Body:
    return {"repo_url": "https://git.example.org/site.git", "name": "site"}


def a_webhook() -> Body:
    return {"url": "https://hooks.example.org/", "events": ["job.*"]}


def an_ask() -> Body:
    return {"prices": {"cpu": "0.05", "memory": "0.01"}, "expiresIn": "8h"}


def some_code() -> Body:
    return {"code": "print(1)", "language": "python", "input": "x"}


def a_withdrawal(owner: str) -> Body:
    """A user takes what he likes, the operator all that the contract has for the node."""
    return {} if owner == "operator" else {"amount": "0.01"}


def an_archive() -> bytes:
    """A tar archive of one file."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as target:
        member = tarfile.TarInfo("file")
        member.size = 6
        target.addfile(member, io.BytesIO(b"inside"))
    return archive.getvalue()


def fitting_body(cast: Cast, operation: str, owner: str) -> Body | bytes | None:
    """A body that the operation takes, None where there is no such thing."""
    bodies: dict[str, Callable[[], Body | bytes]] = {
        "submitJob": a_job,
        "createDeployment": a_deployment,
        "replaceDeployment": lambda: {"env": {"A": "2"}},
        "updateDeployment": lambda: {"replicas": 1},
        "scaleDeployment": lambda: {"replicas": 2},
        "createAgent": an_agent,
        "replaceAgent": lambda: {"config": {"replicas": 1}},
        "updateAgent": lambda: {"name": "other"},
        "scaleAgent": lambda: {"replicas": 2},
        "createProject": a_project,
        "withdraw": lambda: a_withdrawal(owner),
        "giveToken": lambda: {"email": "alice@example.org", "password": PASSWORD},
        "signInWithWallet": cast.a_signed_message,
        "linkWallet": lambda: cast.a_signed_message(Signer(owner.encode().ljust(32, b"."))),
        "startDevice": lambda: {"client_name": "cli"},
        "collectDeviceToken": cast.a_device,
        "decideDevice": lambda: {"user_code": cast.make("user_code", owner), "approve": True},
        "createUser": cast.a_user,
        "replaceUser": lambda: {"name": "other"},
        "updateUser": lambda: {"has_single_key": False},
        "createKey": lambda: {"name": "ci", "expiresIn": "90d", "scopes": ["read"]},
        "createWebhook": a_webhook,
        "replaceWebhook": lambda: {"events": []},
        "updateWebhook": lambda: {"is_active": True},
        "submitCode": some_code,
        "postAsk": an_ask,
        "giveCredits": lambda: {"amount": 5},
        "storeFile": lambda: b"content",
        "writeFiles": an_archive,
    }
    make = bodies.get(operation)
    with contextlib.suppress(AssertionError):  # what it needs was refused: then it goes without
        return make() if make else None
    return None


def _key(secret: str) -> dict[str, str]:
    return {"X-API-Key": secret}
