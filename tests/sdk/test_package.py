"""The package: what it depends on, and that its values are those of the API."""

import ast
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from neugrid_sdk import AsyncClient, Client
from neugrid_sdk.views import account, jobs, market, services, view
from tests.sdk.test_spec import COMMITTED

ROOT = Path("sdk/python/neugrid_sdk")
MODULES = (account, jobs, market, services, view)
OTHER_NAMES = {"Results": "ResultList", "NewKey": "KeyView", "Run": "ResultData", "RunOutput": "RunView"}
OTHER_NAMES |= {"SubmittedRun": "SubmittedData", "Deployment": "DeploymentView"}
NOT_DESCRIBED = {"View", "SnakeView", "Health", "MarketStats", "Amounts", "JobEvent", "Workload"}
"""What the document calls any object, or does not name."""
ADDED = {("Deployment", "estimatedHourlyCost")}
"""What this package takes from an envelope."""


def views() -> list[type[msgspec.Struct]]:
    """All values that nodes answer."""
    found = {
        kind
        for module in MODULES
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__module__ == module.__name__
    }
    return sorted((kind for kind in found if kind.__name__ not in NOT_DESCRIBED), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", views(), ids=lambda kind: kind.__name__)
def test_the_fields_of_a_value_are_fields_of_the_api(kind: type[msgspec.Struct]) -> None:
    schemas = json.loads(COMMITTED.read_text())["components"]["schemas"]
    name = OTHER_NAMES.get(kind.__name__, kind.__name__)
    schema = schemas.get(name) or schemas[f"{name}View"]
    for field in msgspec.structs.fields(kind):
        if (kind.__name__, field.encode_name) not in ADDED:
            assert field.encode_name in schema["properties"]


def test_only_httpx_and_msgspec_are_needed() -> None:
    names: set[str] = set()
    for file in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module or "")
    needed = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    assert needed == {"httpx", "msgspec", "neugrid_sdk"}
    assert (ROOT / "py.typed").exists()


def test_both_clients_have_the_same_resources_and_methods() -> None:
    with Client("key") as one:
        other: Any = AsyncClient("key", transport=httpx.MockTransport(lambda request: httpx.Response(500)))
        shapes = [{name: type(found) for name, found in vars(client).items()} for client in (one, other)]
        assert shapes[0].keys() == shapes[1].keys()
        assert {name for name in shapes[0] if shapes[0][name] is not shapes[1][name]} == {"_driver"}


def test_methods_show_their_text_and_parameters() -> None:
    with Client("key") as client:
        assert inspect.getdoc(client.jobs.wait) == "The job once it has ended; raises TimedOut after so many seconds."
        assert list(inspect.signature(client.jobs.wait).parameters) == ["id", "timeout"]
