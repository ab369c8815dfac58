"""The journal as its user reads it: what happened and with what, but nothing that no other route shows."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from node.api.present import iso
from node.api.service_bodies import MASK
from node.records import Entry

SECRETS: Final = frozenset({"env", "nonce", "owner", "secret"})
"""Fields of events and new nouns: values of the environment; what opens an order's digest, or a service's volumes."""
OWN_SECRETS: Final[Mapping[tuple[str, str], frozenset[str]]] = {("Run", "Created"): frozenset({"code", "inputs"})}
"""By noun and event; elsewhere `code` says why something failed, and `inputs` are names of files."""


def entry_view(entry: Entry) -> dict[str, Any]:
    """An entry as its followers get it; `***` stands for every secret."""
    secrets = SECRETS | OWN_SECRETS.get((entry.noun, entry.event), frozenset())
    return {
        "seq": entry.seq,
        "noun": entry.noun,
        "subject": entry.subject,
        "at": iso(entry.at),
        "event": entry.event,
        "body": _masked(msgspec.json.decode(entry.body), secrets),
    }


def _masked(value: Any, secrets: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {name: _hidden(each) if name in secrets else _masked(each, secrets) for name, each in value.items()}
    return [_masked(each, secrets) for each in value] if isinstance(value, list) else value


def _hidden(value: Any) -> Any:
    """The same shape, so that a client sees which values there are; what is empty hides nothing."""
    if isinstance(value, dict):
        return dict.fromkeys(value, MASK)
    return [MASK] * len(value) if isinstance(value, list) else value and MASK
