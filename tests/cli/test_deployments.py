"""The commands of deployments: what they send, what they print, how they end."""

from collections.abc import Callable
from typing import Any

import pytest

from cli.exits import JOB_FAILED
from tests.cli.conftest import Said
from tests.cli.fakes import DEPLOYMENT, FakeNode, events, in_turn, line, ok, problem

Run = Callable[..., Said]
PATH = "/v1/deployments"
RUNNING = DEPLOYMENT | {
    "status": "running",
    "readyReplicas": 2,
    "endpoints": [{"type": "http", "url": "http://dep_1.localhost", "internalPort": 80}],
    "pods": [{"id": "pod_11", "status": "running", "health": "healthy", "provider": "prov_a"}],
}


def one(deployment: dict[str, Any]) -> Any:
    return ok({"deployment": deployment})


def test_deploy_sends_only_what_was_said(neugrid: Run, node: FakeNode) -> None:
    node.routes[f"POST {PATH}"] = ok({"deployment": DEPLOYMENT, "estimatedHourlyCost": 0.1}, 201)
    said = neugrid(
        "deploy", "--image", "nginx:1", "--replicas", "2", "--env", "A=b=c", "--port", "80", "--port", "53/tcp",
        "--volume", "data:/data:1Gi", "--cpu", "0.5", "--", "serve", "--fast",
    )  # fmt: skip
    assert (said.code, said.out) == (0, "dep_1\n")
    assert node.body() == {
        "customImage": "nginx:1",
        "replicas": 2,
        "env": {"A": "b=c"},
        "ports": [{"port": 80, "protocol": "http"}, {"port": 53, "protocol": "tcp"}],
        "volumes": [{"name": "data", "path": "/data", "size": "1Gi"}],
        "resources": {"cpu": "0.5"},
        "command": ["serve", "--fast"],
    }
    assert node.requests[0].headers["idempotency-key"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "one of --template and --image"),
        (("--template", "a", "--image", "b"), "one of --template and --image"),
        (("--image", "b", "--port", "x"), "--port takes"),
        (("--image", "b", "--volume", "x"), "--volume takes"),
        (("--image", "b", "--env", "x"), "--env takes"),
    ],
)
def test_what_can_not_be_sent_is_said_before(neugrid: Run, node: FakeNode, words: Any, sentence: str) -> None:
    said = neugrid("deploy", *words)
    assert (said.code, node.requests) == (2, [])
    assert sentence in said.err


@pytest.mark.parametrize(("last", "code"), [(RUNNING, 0), (DEPLOYMENT | {"status": "error"}, JOB_FAILED)])
def test_deploy_waits_until_it_runs_or_is_an_error(
    neugrid: Run, node: FakeNode, monkeypatch: pytest.MonkeyPatch, last: Any, code: int
) -> None:
    monkeypatch.setattr("cli.deployments.POLL", 0)
    node.routes[f"POST {PATH}"] = one(DEPLOYMENT)
    node.routes[f"GET {PATH}/dep_1"] = in_turn(one(DEPLOYMENT | {"status": "starting"}), one(last))
    said = neugrid("deploy", "--template", "redis", "--wait")
    assert said.code == code
    assert "dep_1 starting, 0/2 ready" in said.err


def test_list_and_show(neugrid: Run, node: FakeNode) -> None:
    node.routes[f"GET {PATH}"] = ok({"deployments": [RUNNING], "pagination": {"limit": 20, "total": 1}})
    node.routes[f"GET {PATH}/dep_1"] = one(RUNNING)
    assert "2/2" in neugrid("deployment", "list").out
    shown = neugrid("deployment", "show", "dep_1").out
    assert "http://dep_1.localhost" in shown
    assert "pod_11" in shown
    assert neugrid("deployment", "show", "dep_1", "--json").json == RUNNING


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_power(neugrid: Run, node: FakeNode, verb: str) -> None:
    node.routes[f"POST {PATH}/dep_1/{verb}"] = one(RUNNING | {"status": "stopping"})
    said = neugrid("deployment", verb, "dep_1")
    assert (said.code, said.out) == (0, "dep_1 is stopping\n")


def test_scale_and_delete(neugrid: Run, node: FakeNode) -> None:
    node.routes[f"POST {PATH}/dep_1/scale"] = one(RUNNING)
    node.routes[f"DELETE {PATH}/dep_1"] = ok({"success": True, "message": "Deployment deleted", "id": "dep_1"})
    assert neugrid("deployment", "scale", "dep_1", "3").code == 0
    assert node.body() == {"replicas": 3}
    assert neugrid("deployment", "delete", "dep_1").out == "dep_1 is deleted\n"


def test_logs_are_printed_and_followed(neugrid: Run, node: FakeNode) -> None:
    node.routes[f"GET {PATH}/dep_1/logs"] = ok({"logs": [line("one")]})
    assert neugrid("deployment", "logs", "dep_1", "--since", "1h").out == "one\n"
    assert node.requests[-1].url.params["since"] == "1h"
    node.routes[f"GET {PATH}/dep_1/logs"] = events(("5", "log", line("two")), ("", "end", {"id": "dep_1"}))
    assert neugrid("deployment", "logs", "dep_1", "-f").out == "two\n"


def test_one_that_does_not_exist_is_said(neugrid: Run, node: FakeNode) -> None:
    node.routes[f"GET {PATH}/x"] = problem(404, "NOT_FOUND", "no such service")
    said = neugrid("deployment", "show", "x")
    assert said.code != 0
    assert "no such service" in said.err
