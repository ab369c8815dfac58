"""The documentation of the API: the OpenAPI document, and one page that renders it without any other server."""

import re
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from litestar import Request
from litestar.handlers.http_handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Tag
from msgspec import Struct

from node.api.bodies import FORM
from node.api.body_schemas import complete_bodies, needs_body
from node.api.envelopes import FlatProblem
from node.api.errors import MEDIA_TYPE
from node.api.policy import hash_of
from node.api.views import Problem
from node.version import VERSION

FILE: Final = Path(__file__).with_name("docs.html")
_DESCRIPTION: Final = """A node of a decentralized compute marketplace: post priced jobs, follow them, withdraw.

Money is a decimal string in tokens. Every refusal is RFC 9457 problem details with `error.code`, `error.message` and
`error.details`. Lists page by `cursor`, `offset` or `page`. Send `Idempotency-Key` where money moves.
Names in bodies may be in camel or in snake case."""
_TAGS: Final = {
    "Jobs": "Priced one-shot orders: post, follow, cancel, fetch results.",
    "Deployments": "Services that stay up: from a template or an image, with replicas, endpoints and volumes.",
    "Agents": "The same services as agents.",
    "Pods": "Single instances of services.",
    "Templates": "What a deployment can be made of.",
    "Files": "Inputs by content.",
    "Providers": "Who offers hardware now.",
    "Market": "Prices and sizes.",
    "Wallet": "Your money; for administrators the node's.",
    "Billing": "What was used and what it cost.",
    "Sign-in": "Tokens for passwords, wallets and devices.",
    "Users": "Who uses this node.",
    "Keys": "Who may call.",
    "Webhooks": "Where you are told of it.",
    "Events": "What happens to what is yours.",
    "System": "The node itself.",
}
EXAMPLES: Final[dict[str, list[Any]]] = {
    "SubmitJob": [
        {
            "image": "python:3.11-slim",
            "command": ["python", "-c", "print('Hello')"],
            "resources": {"cpu": 2, "memory": "4Gi", "gpu": 0},
            "maxPrice": "1.0",
            "timeout": "1h",
        },
        {"template": "python", "command": ["python", "-V"], "maxPrice": "0.01"},
        {"code": "print(input())", "language": "python", "input": "hello"},
    ],
    "NewProject": [{"repoUrl": "https://github.com/you/app", "name": "app"}],
    "NewDeployment": [{"templateId": "redis", "name": "cache", "replicas": 1, "maxPricePerHour": "0.05"}],
    "NewAgent": [
        {
            "name": "my-agent",
            "runtime": "python",
            "image": "python:3.11-slim",
            "config": {"cpu": "1.0", "memory": "1Gi", "replicas": 3},
            "environment": {"LOG_LEVEL": "info"},
        }
    ],
    "WithdrawBody": [{"to": "0x00000000000000000000000000000000000000aa"}],
    "KeyBody": [{"name": "ci", "expiresIn": "90d", "scopes": ["read", "compute"]}],
    "NewWebhook": [{"url": "https://example.com/webhook", "events": ["agent.created", "agent.stopped"]}],
    "TokenBody": [{"email": "ann@example.org", "password": "correct horse battery"}],
    "NewUser": [{"email": "ann@example.org", "password": "correct horse battery", "role": "developer"}],
}


def _header(description: str, type: str, *, required: bool = False) -> dict[str, Any]:
    return {"description": description, "required": required, "schema": {"type": type}}


HEADERS: Final[dict[str, Any]] = {
    "X-Request-Id": {"description": "Finds this request in the logs.", "required": True, "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds to wait.", "required": True, "schema": {"type": "integer"}},
    "WWW-Authenticate": {"description": "How to sign in.", "required": True, "schema": {"type": "string"}},
    "ETag": _header("The version that is shown: give it as `If-None-Match`.", "string", required=True),
    "X-RateLimit-Limit": _header("How many calls the window has room for that is fullest.", "integer"),
    "X-RateLimit-Remaining": _header("How many are left in it.", "integer"),
    "X-RateLimit-Reset": _header("When it has room for all again, in seconds since 1970.", "integer"),
    "RateLimit": _header("The same as the IETF writes it: what is left, and the seconds to wait.", "string"),
    "RateLimit-Policy": _header("The window: how many calls in how many seconds.", "string"),
}
LIMITS: Final = tuple(name for name in HEADERS if "RateLimit" in name)
"""Of the answers to calls that are counted."""
VERSIONED: Final = ("showJob", "showDeployment")
"""Operations that answer 304 to who holds the version that there is."""
KNOWN: Final = {
    "name": "If-None-Match",
    "in": "header",
    "description": "Versions that you hold, as `ETag` named them: 304 without a body when it is one of them.",
    "required": False,
    "schema": {"type": "string"},
}
OF_STATUS: Final = {"401": ("WWW-Authenticate",), "429": ("Retry-After",), "503": ("Retry-After",)}
"""The headers of answers with that status, beside the one that all have."""
EITHER: Final = "The envelope of this API, or of the platform that the caller's key is for."
UPLOADS: Final = {"storeFile": "application/octet-stream", "writeFiles": "application/x-tar"}
"""Operations that read their body as it comes."""
_SNAKE: Final = re.compile("(?=[A-Z])")
FORMED: Final = ("startDevice", "collectDeviceToken")
"""Operations that take their body as a form too."""
STREAMS: Final = (
    "/v1/events",
    "/v1/jobs/{job_id}/logs",
    "/v1/jobs/{job_id}/events",
    "/v1/deployments/{deployment_id}/logs",
    "/v1/agents/{agent_id}/logs",
    "/v1/pods/{pod_id}/logs",
)
"""Routes that can answer with server-sent events."""


class Page(OpenAPIRenderPlugin):
    """The page at /docs: one file with its script and style inside, and a policy that lets nothing else in."""

    def __init__(self) -> None:
        super().__init__(path="/")
        self._page = _with_policy(FILE.read_text())

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The same bytes for everybody; the page fetches the document itself."""
        return self._page


def openapi_config() -> OpenAPIConfig:
    """Where the documentation lies, and what the framework can not see by itself."""
    schemes = {
        "apiKey": SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header"),
        "bearer": SecurityScheme(type="http", scheme="bearer"),
    }
    return OpenAPIConfig(
        title="Neugrid",
        version=VERSION,
        description=_DESCRIPTION,
        path="/docs",
        render_plugins=[Page(), Document()],
        use_handler_docstrings=True,
        operation_id_creator=_operation_id,
        components=Components(security_schemes=dict(schemes)),
        tags=[Tag(name=name, description=text) for name, text in _TAGS.items()],
    )


class Document(JsonRenderPlugin):
    """The OpenAPI document at /docs/openapi.json, bodies closed and with examples."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The document as JSON; made when it is first asked for, so that a node starts without it."""
        return self.render_json(request, completed(openapi_schema))


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """The framework's document with what it can not see: examples, closed bodies, streams of events."""
    _tidy(document)
    schemas = document["components"]["schemas"]
    for name, examples in EXAMPLES.items():
        schemas[name]["examples"] = examples
    complete_bodies(schemas)
    document["components"]["headers"] = HEADERS
    schemas["Refusal"] = {"oneOf": [_reference(Problem), _reference(FlatProblem)], "description": EITHER}
    for path in document["paths"].values():
        for method, operation in path.items():
            _complete(method, operation, schemas)
    for path in STREAMS:
        content = document["paths"][path]["get"]["responses"]["200"]["content"]
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return document


def _complete(method: str, operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Add what the routes do not say one by one: refusals of bodies, the envelope of every refusal, headers."""
    answers = operation["responses"]
    refusal = answers["500"]["content"]
    if refusal[MEDIA_TYPE]["schema"] == _reference(Problem):
        refusal = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    for status in _of_bodies(method, operation, schemas):
        answers[str(status)] = {"description": HTTPStatus(status).phrase, "content": {}}
    is_versioned = operation["operationId"] in VERSIONED
    if is_versioned:
        answers["304"] = {"description": HTTPStatus.NOT_MODIFIED.phrase, "content": {}}
        operation["parameters"] = [*(each for each in operation["parameters"] if each != KNOWN), KNOWN]
    for status, answer in answers.items():
        answer["content"] |= refusal if status >= "400" else {}
        names = ["X-Request-Id", *OF_STATUS.get(status, ())]
        names += LIMITS if status < "400" or status == "429" else ()
        names += ["ETag"] if is_versioned and status < "400" else []
        answer["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    operation["responses"] = dict(sorted(answers.items()))


def _of_bodies(method: str, operation: dict[str, Any], schemas: dict[str, Any]) -> tuple[int, ...]:
    """Complete what the operation says of its body; how bodies are refused there."""
    kind, body = UPLOADS.get(operation["operationId"]), operation.get("requestBody")
    if kind:
        operation["requestBody"] = {"content": {kind: {"schema": {"type": "string", "format": "binary"}}}}
    elif body:
        name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        body["required"] = needs_body(schemas[name])
        if operation["operationId"] in FORMED:
            body["content"][FORM] = {"schema": _formed(schemas[name])}
        return (408, 413, 415)
    return (408, 413) if method in ("post", "put", "patch") else ()


def _snake(name: str) -> str:
    return _SNAKE.sub("_", name).lower()


def _formed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of the same body as a form: in OAuth's casing; what is unknown, or empty and optional, is ignored."""
    either = [each["anyOf"][0]["required"][0] for each in schema.get("allOf", ())]
    fields = {_snake(name): field for name, field in schema["properties"].items() if "_" not in name}
    required = [_snake(name) for name in (*schema.get("required", ()), *either)]
    for name in fields.keys() - set(required):
        fields[name] = {key: value for key, value in fields[name].items() if key != "minLength"}
    return {"type": "object", "properties": fields, "required": required}


def _reference(noun: type[Struct]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{noun.__name__}"}


def _tidy(value: Any) -> None:
    """Take out examples that the framework draws by chance, and what it makes of an annotated `tuple[X, ...]`.

    It reads the dots as one more type, which would be any at all.
    """
    if isinstance(value, dict):
        value.pop("examples", None)
        options = value.get("oneOf", [])
        if {} in options and len(options) == 2:
            value |= next(option for option in options if option)
            del value["oneOf"]
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _tidy(item)


def _operation_id(handler: HTTPRouteHandler, _method: Any, _path: Any) -> str:
    first, *others = handler.handler_name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _with_policy(page: str) -> bytes:
    """The page with a content policy that allows its own script by its hash."""
    allowed = hash_of(page, "script")
    policy = f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'"
    return page.replace("{{policy}}", policy).encode()
