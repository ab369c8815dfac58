"""The OpenAPI document, and the page that shows it."""

import re
import tomllib
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import msgspec
import pytest
from litestar.handlers.base import BaseRouteHandler

from node.actions.jobs import NewJob
from node.api.app import ROUTES, RUNNER_ROUTES
from node.api.docs import EXAMPLES, LIMITS, STREAMS
from node.api.replies import KEY, MAX_KEY, idempotency_key
from node.api.submissions import SubmitJob, new_job
from node.version import VERSION
from tests.builders import a_service
from tests.node.api.fakes import ALICE, World, a_done_job

pytestmark = pytest.mark.anyio

METHODS = ("get", "post", "put", "patch", "delete")
BODIES: dict[str, list[Any]] = {
    "SubmitCode": [{"code": "1", "language": "python"}],
    "CreditsBody": [{"amount": 1}],
    "ScaleBody": [{"replicas": 1}],
}
"""Of operations whose bodies have no example in the document."""


@pytest.fixture
async def document(client: httpx.AsyncClient) -> Any:
    return (await client.get("/docs/openapi.json")).json()


def operations(document: Any) -> list[tuple[str, str, Any]]:
    """Path, method and operation of every route."""
    return [
        (path, method, item[method]) for path, item in document["paths"].items() for method in METHODS if method in item
    ]


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def references(value: Any) -> list[str]:
    """Every $ref in the document."""
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for item in value.values() for found in references(item)]
    return [found for item in value for found in references(item)] if isinstance(value, list) else []


async def test_every_route_is_described_with_a_name_a_tag_and_its_refusals(document: Any) -> None:
    found = operations(document)
    names = [operation["operationId"] for _, _, operation in found]
    assert len(found) == len(ROUTES) + len(RUNNER_ROUTES) + 1
    assert len(set(names)) == len(names)
    for path, method, operation in found:
        assert operation["tags"], (path, method)
        assert operation["description"].endswith((".", "d.")), (path, method)
        assert {"400", "401", "429", "500"} <= operation["responses"].keys()
        refusal = operation["responses"]["401"]["content"]
        assert list(refusal) == ["application/problem+json"]


async def test_refusals_of_bodies_headers_and_both_envelopes_are_described(document: Any) -> None:
    paths = document["paths"]
    submit, cancel, store = (
        paths[path][method]
        for path, method in (("/v1/jobs", "post"), ("/v1/jobs/{job_id}/cancel", "post"), ("/v1/files", "put"))
    )
    assert {"413", "415"} <= submit["responses"].keys()
    assert ["413" in each["responses"] for each in (cancel, store)] == [True, True]
    assert "413" not in paths["/v1/jobs"]["get"]["responses"]
    assert list(store["requestBody"]["content"]) == ["application/octet-stream"]
    required = {path: paths[path]["post"]["requestBody"]["required"] for path in ("/v1/keys", "/v1/wallet/withdraw")}
    assert required == {"/v1/keys": True, "/v1/wallet/withdraw": False}
    assert set(submit["responses"]["429"]["headers"]) == {"X-Request-Id", "Retry-After", *LIMITS}
    assert references(submit["responses"]["400"]["content"]) == ["#/components/schemas/Refusal"]
    assert references(paths["/v1/pods"]["get"]["responses"]["400"]["content"]) == ["#/components/schemas/FlatProblem"]
    device = paths["/v1/auth/device/token"]["post"]["responses"]["400"]["content"]
    assert set(device) == {"application/json", "application/problem+json"}


async def test_every_reference_leads_somewhere_and_every_path_parameter_is_declared(document: Any) -> None:
    for reference in references(document):
        at: Any = document
        for key in reference.removeprefix("#/").split("/"):
            at = at[key]
    for path, _, operation in operations(document):
        declared = {item["name"] for item in operation.get("parameters", []) if item["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))


def no_project(*_: object) -> NewJob:
    raise AssertionError("this example builds nothing")


async def test_bodies_are_closed_bounded_and_have_examples_that_work(document: Any) -> None:
    schemas = document["components"]["schemas"]
    assert document["openapi"].startswith("3.1")
    assert schemas["SubmitJob"]["additionalProperties"] is False
    assert set(EXAMPLES) <= schemas.keys()
    assert schemas["SubmitJob"]["properties"]["inputs"]["items"] == {"$ref": "#/components/schemas/InputBody"}
    assert new_job(msgspec.convert(schemas["SubmitJob"]["examples"][0], SubmitJob), no_project, {}).cap == 1_000_000


@pytest.mark.parametrize(
    ("name", "body", "fits"),
    [
        ("NewProject", {"repo_url": "https://github.com/user/repo", "name": "My Project"}, True),
        ("NewProject", {"repoUrl": "https://github.com/user/repo"}, True),
        ("NewProject", {"repoUrl": "https://a.example/b", "repo_url": "https://a.example/b"}, False),
        ("NewProject", {"name": "My Project"}, False),
        ("NewProject", {"repo_url": ""}, False),
        ("SubmitJob", {"project_id": "x", "gpu_config": {"enabled": True, "min_vram_gb": 8}}, True),
        ("SubmitJob", {"project_id": "x", "gpuConfig": {"min_vram_gb": 8}}, True),
        ("SubmitJob", {"project_id": "x", "gpu_config": {"min_vram_gb": 8, "minVramGb": 8}}, False),
        ("SubmitJob", {"project-id": "x"}, False),
        ("NewAgent", {"name": "a", "runtime": "rust", "binary_url": "https://a.example/b"}, True),
        ("TokenBody", {"grant_type": "refresh_token", "refresh_token": "x"}, True),
        ("DeviceCodeBody", {"device_code": "x"}, True),
        ("UserChanges", {"is_blocked": True}, True),
    ],
)
async def test_bodies_are_described_in_either_spelling_and_never_in_both(
    document: Any, name: str, body: dict[str, Any], fits: bool
) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    assert jsonschema_rs.is_valid(schema, body) is fits


@pytest.mark.parametrize("path", ["/v1/jobs/{job_id}", "/v1/deployments/{deployment_id}"])
async def test_versions_and_limits_are_described_as_they_are_told(
    client: httpx.AsyncClient, document: Any, world: World, path: str
) -> None:
    world.jobs.put(a_done_job())
    world.storage.put(a_service(account=ALICE.id))
    operation = document["paths"][path]["get"]
    [known] = [each for each in operation["parameters"] if each["in"] == "header"]
    url = path.format(job_id=a_done_job().id, deployment_id=a_service().id)
    first = await client.get(url)
    again = await client.get(url, headers={known["name"]: first.headers["etag"]})
    for answer, status in ((first, 200), (again, 304)):
        described = operation["responses"][str(status)]
        assert answer.status_code == status
        assert {"ETag", *LIMITS} <= described["headers"].keys()
        assert {"etag", "x-request-id"} <= answer.headers.keys()
    assert operation["responses"]["304"]["content"] == {}


async def test_what_needs_a_body_says_so(document: Any) -> None:
    for path, is_needed in (("/v1/projects", True), ("/v1/auth/device/token", True), ("/v1/auth/device", False)):
        assert document["paths"][path]["post"]["requestBody"]["required"] is is_needed


async def test_streams_are_described_as_such(client: httpx.AsyncClient, document: Any, world: World) -> None:
    world.jobs.put(a_done_job())
    for path in (path for path in STREAMS if "{job_id}" in path):
        answer = await client.get(
            path.replace("{job_id}", "job_0000000000000001"), headers={"Accept": "text/event-stream"}
        )
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    for path in STREAMS:
        assert "text/event-stream" in document["paths"][path]["get"]["responses"]["200"]["content"]


def honours_keys(handler: BaseRouteHandler) -> bool:
    """Whether it asks for the Idempotency-Key."""
    providers = handler.resolve_dependencies()
    asked = {providers[name].dependency for name in handler.parsed_fn_signature.parameters if name in providers}
    return idempotency_key in asked


def described_keys(document: Any) -> dict[str, tuple[str, Any]]:
    """By operation: its path, and what the document says of its Idempotency-Key."""
    return {
        operation["operationId"]: (path, parameter)
        for path, _, operation in operations(document)
        for parameter in operation.get("parameters", [])
        if (parameter["in"], parameter["name"]) == ("header", KEY.name)
    }


async def test_a_key_for_repeats_is_described_where_it_is_honoured(document: Any, world: World) -> None:
    handlers = [handler for route in world.app.app.routes for handler in getattr(route, "route_handlers", ())]
    honouring = {_camel(handler.handler_name) for handler in handlers if honours_keys(handler)}
    described = described_keys(document)
    assert described.keys() == honouring
    assert {
        "submitJob",
        "createDeployment",
        "createAgent",
        "submitCode",
        "withdraw",
        "giveCredits",
        "refund",
    } <= honouring
    powered = {f"{what}{kind}" for what in ("start", "restart", "scale") for kind in ("Deployment", "Agent")}
    assert {*powered, "startPod"} <= honouring
    for path, parameter in described.values():
        assert (parameter["required"], parameter["schema"]["maxLength"]) == (False, MAX_KEY)
        assert "IDEMPOTENCY_MISMATCH" in parameter["description"]
        assert "422" in document["paths"][path]["post"]["responses"]


def example_of(operation: Any) -> Any:
    """A body that the operation takes; None where it takes none."""
    if "requestBody" not in operation:
        return None
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    name = reference.rpartition("/")[2]
    return (BODIES.get(name) or EXAMPLES[name])[0]


async def test_a_key_is_refused_as_it_is_described(document: Any, root: httpx.AsyncClient) -> None:
    for path, parameter in described_keys(document).values():
        body = example_of(document["paths"][path]["post"])
        address = re.sub(r"{\w+}", ALICE.id, path)
        fits = re.compile(parameter["schema"]["pattern"]).match
        for key, is_fit in (("a b", False), ("ä", False), ("!" * 256, False), ("!~" * 127, True), ("", True)):
            assert is_fit == bool(fits(key) and len(key) <= parameter["schema"]["maxLength"])
            headers = {"Idempotency-Key": key.encode("latin-1")}
            answer = await root.post(address, json=body, headers=headers)
            is_refused = answer.status_code == 400 and "Idempotency-Key" in answer.text
            assert is_refused != is_fit, (path, key, answer.text)


async def test_the_document_names_what_opens_a_route(document: Any) -> None:
    schemes = document["components"]["securitySchemes"]
    for _, _, operation in operations(document):
        assert all(name in schemes for option in operation["security"] for name in option)


async def test_the_page_needs_no_other_server(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    assert "Content-Security-Policy" in page
    assert "{{policy}}" not in page
    assert not re.search(r"(src|href)=.?https?:", page)
    assert "innerHTML" not in page


async def test_the_version_is_that_of_the_package(client: httpx.AsyncClient, world: World) -> None:
    package = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    assert (await client.get("/v1/version")).json()["version"] == VERSION == package["version"]
