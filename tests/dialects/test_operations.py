"""Every operation that the five texts document, and every native one, is routed, described, guarded and limited."""

import re
from typing import Any, Final

import msgspec
import pytest

from node.api.limit_file import FILE, load_limits
from node.api.limits import ACTIONS
from node.api.spec import document
from tests.node.api.test_matrix import ALL, Operation

DOCUMENTED: Final = """
GET /v1/projects, POST /v1/projects, GET /v1/jobs/{}, POST /v1/jobs, POST /v1/jobs/{}/cancel, GET /v1/pods,
POST /v1/pods/{}/stop, POST /v1/pods/{}/start, DELETE /v1/pods/{}, GET /v1/pods/{}/logs, GET /v1/health,
GET /v1/jobs, GET /v1/jobs/{}/logs, GET /v1/jobs/{}/results, GET /v1/providers, GET /v1/providers/{},
GET /v1/market/prices, GET /v1/market/stats, GET /v1/wallet/balance, GET /v1/wallet/earnings, POST /v1/wallet/withdraw,
POST /v1/auth/token, GET /v1/agents, GET /v1/agents/{}, POST /v1/agents, PUT /v1/agents/{}, DELETE /v1/agents/{},
POST /v1/agents/{}/start, POST /v1/agents/{}/stop, POST /v1/agents/{}/restart, POST /v1/agents/{}/scale,
GET /v1/agents/{}/logs, GET /v1/agents/{}/metrics, GET /v1/services, GET /v1/services/{}/status, GET /v1/users,
GET /v1/users/{}, POST /v1/users, PUT /v1/users/{}, DELETE /v1/users/{}, GET /v1/billing/usage,
GET /v1/billing/invoices, POST /v1/webhooks, POST /api/v1/runner/submit, GET /api/v1/runner/{}/result,
POST /v1/deployments, GET /v1/deployments, GET /v1/deployments/{}, POST /v1/deployments/{}/start,
POST /v1/deployments/{}/stop, DELETE /v1/deployments/{}, GET /v1/deployments/{}/logs
"""
"""The 52 methods and paths of the five texts; three of the 56 operations share one, and a stream is a mode of logs."""
NATIVE: Final = """
GET /v1/auth/nonce, POST /v1/auth/siwe, POST /v1/auth/device, POST /v1/auth/device/token, GET /v1/auth/me,
GET /v1/keys, POST /v1/keys, DELETE /v1/keys/{}, GET /v1/jobs/{}/events, GET /v1/jobs/{}/bids, GET /v1/jobs/{}/explain,
GET /v1/languages, PUT /v1/deployments/{}, PATCH /v1/deployments/{}, POST /v1/deployments/{}/restart,
POST /v1/deployments/{}/scale, GET /v1/deployments/{}/metrics, PATCH /v1/agents/{}, GET /v1/pods/{},
GET /v1/projects/{}, DELETE /v1/projects/{}, GET /v1/templates,
GET /v1/templates/{}, GET /v1/nodes, GET /v1/providers/{}/offers,
GET /v1/market/orders, POST /v1/market/asks, DELETE /v1/market/asks/{}, GET /v1/wallet/transactions,
GET /v1/wallet/withdraw, GET /v1/wallet/withdraw/{}, GET /v1/billing/invoices/{}, PATCH /v1/users/{},
GET /v1/webhooks, GET /v1/webhooks/{},
PATCH /v1/webhooks/{}, DELETE /v1/webhooks/{}, POST /v1/webhooks/{}/test, POST /v1/webhooks/{}/rotate,
GET /v1/webhooks/{}/deliveries, POST /v1/webhooks/deliveries/{}/retry, GET /v1/ready, GET /v1/version, GET /metrics,
GET /v1/events
"""
LIMITED: Final = {
    "deploy": ("POST /v1/jobs", "POST /v1/deployments", "POST /v1/agents"),
    "power": ("POST /v1/pods/{}/stop", "POST /v1/pods/{}/start"),
    "key-create": ("POST /v1/keys",),
    "code-submit": ("POST /v1/jobs", "POST /api/v1/runner/submit"),
    "auth": (
        *("POST /v1/auth/token", "POST /v1/auth/siwe", "GET /v1/auth/nonce", "POST /v1/auth/wallet"),
        *("POST /v1/auth/device", "GET /v1/auth/device/{}", "POST /v1/auth/device/decision"),
    ),
}
"""What the texts limit apart from the rest, by the names of configs/limits.toml."""


def words(text: str) -> list[str]:
    return [word.strip() for word in text.replace("\n", " ").split(",") if word.strip()]


def bare(path: str) -> str:
    """The path without the names of its parameters."""
    return re.sub(r"{[^}]*}", "{}", path)


ROUTED: Final[dict[str, Operation]] = {f"{each.method} {bare(each.template)}": each for each in ALL}
"""The operations of the authorisation matrix, which is made of the routes."""
DESCRIBED: Final[dict[str, Any]] = {
    f"{method.upper()} {bare(path)}": operation
    for path, operations in msgspec.json.decode(document())["paths"].items()
    for method, operation in operations.items()
}


def test_the_texts_have_fifty_two_operations() -> None:
    assert len(set(words(DOCUMENTED))) == 52


@pytest.mark.parametrize("operation", [*words(DOCUMENTED), *words(NATIVE)])
def test_an_operation_is_routed_described_in_the_matrix_and_limited(operation: str) -> None:
    assert operation in DESCRIBED
    assert DESCRIBED[operation]["operationId"]
    [guard] = ROUTED[operation].guards
    rules = load_limits(FILE)
    assert all("general" in rules[tier] for tier in ("free", "pro", "anonymous"))
    assert guard.action in ACTIONS
    for action, those in LIMITED.items():
        assert operation not in those or action in (guard.action, *guard.later)


def test_nothing_is_routed_that_is_not_described() -> None:
    assert ROUTED.keys() == DESCRIBED.keys()
