"""Writes the OpenAPI document of this API to standard output: what clients are generated from."""

import sys
from typing import Any, cast

import msgspec

from node.api.app import create_app
from node.api.docs import completed
from node.config_api import ApiSettings


def document() -> bytes:
    """The document as a node serves it, as JSON with one value a line; the same bytes until a route changes."""
    app = create_app(cast(Any, None), ApiSettings())  # a description calls nothing
    schema = completed(app.app.openapi_schema.to_schema())
    return msgspec.json.format(msgspec.json.encode(schema, enc_hook=str), indent=1) + b"\n"


if __name__ == "__main__":
    sys.stdout.buffer.write(document())
