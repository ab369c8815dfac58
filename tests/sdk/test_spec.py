"""The committed OpenAPI document, which clients are generated from."""

from pathlib import Path

from node.api.spec import document

COMMITTED = Path("sdk/openapi.json")


def test_the_committed_document_is_what_the_api_says_now() -> None:
    assert COMMITTED.read_bytes() == document(), "a route has changed: run `make openapi` and commit sdk/openapi.json"


def test_the_document_is_the_same_each_time() -> None:
    assert document() == document()
