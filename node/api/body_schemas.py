"""What the OpenAPI document says of bodies beside the framework: they are closed, and their names may be in snake case.

A name of several words is described in both spellings; a body that has both at once fits neither the document nor the
node.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from node.api.submissions import Body

Schema = dict[str, Any]


def complete_bodies(schemas: dict[str, Schema]) -> None:
    """Close the schemas of all bodies, and add their other spellings."""
    for body in _bodies(Body):
        if body.__name__ in schemas:
            _complete(schemas[body.__name__], _spellings(body))


def needs_body(schema: Schema) -> bool:
    """Whether the empty object does not fit."""
    return bool(schema.get("required") or schema.get("allOf"))


def _complete(schema: Schema, spellings: dict[str, str]) -> None:
    schema["additionalProperties"] = False
    if not spellings:
        return
    properties = schema["properties"]
    properties |= {snake: _other(properties[camel], camel) for camel, snake in spellings.items()}
    schema["not"] = {"anyOf": [{"required": [camel, snake]} for camel, snake in spellings.items()]}
    required = schema.get("required", [])
    either = [name for name in required if name in spellings]
    if either:
        schema["required"] = [name for name in required if name not in spellings]
        schema["allOf"] = [{"anyOf": [{"required": [name]}, {"required": [spellings[name]]}]} for name in either]


def _other(schema: Schema, camel: str) -> Schema:
    """Without a default: one of both is enough."""
    if "$ref" in schema:
        return schema
    return {name: value for name, value in schema.items() if name != "default"} | {
        "description": f"The same as `{camel}`."
    }


def _spellings(body: type[Body]) -> dict[str, str]:
    """Names of several words: in camel case, and in snake case."""
    fields = msgspec.structs.fields(body)
    return {field.encode_name: field.name for field in fields if field.encode_name != field.name}


def _bodies(body: type[Body]) -> Iterator[type[Body]]:
    for child in body.__subclasses__():
        yield child
        yield from _bodies(child)
