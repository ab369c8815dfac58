"""Reading JSON bodies: one decode into one bounded struct, both casings, and refusals that name the field."""

import re
from functools import cache
from typing import Any, Final, TypeVar, get_args
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from market.errors import InvalidParameters
from node.api.errors import UnsupportedMediaType
from node.api.expectations import misfit

S = TypeVar("S", bound=Struct)
FORM: Final = "application/x-www-form-urlencoded"
"""The media type; a handler with it among its options takes its body in this form too."""
MAX_FIELDS: Final = 32
_PLACE: Final = re.compile(r"^(.*?)(?: - at `\$(.*)`)?$", re.DOTALL)
_SECRET: Final = re.compile(r"password|secret|token|^env", re.IGNORECASE)
_UNKNOWN: Final = re.compile(r"^Object contains unknown field `(.*)`$")
_MISSING: Final = re.compile(r"^Object missing required field `(.*)`$")


def read_body(body: bytes, media_type: str, kind: type[S]) -> S:
    """The body as a `kind`. camelCase is decoded directly; snake_case costs a second look.

    Raises UnsupportedMediaType, or InvalidParameters with `field`, `value` and `expected`.
    """
    if media_type and not is_json(media_type):
        raise UnsupportedMediaType(f"expected application/json, got {media_type[:80]!r}", expected="application/json")
    try:
        read: S = _decoder(kind).decode(body)
        return read
    except msgspec.ValidationError as error:
        return _read_again(body, kind, error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidParameters(f"the body is not valid JSON: {error}", field="body", expected="JSON") from None


def read_form(body: bytes, kind: type[S]) -> S:
    """A form (application/x-www-form-urlencoded) as a `kind` whose fields are texts.

    As RFC 6749 (3.2) has it for OAuth, what is unknown is passed over, what is empty counts as left out, and nothing
    may come twice. Raises InvalidParameters.
    """
    try:
        pairs = parse_qsl(body.decode(), max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise InvalidParameters(f"the body is no form: {error}", field="body", expected="a form") from None
    known = {*kind.__struct_fields__, *kind.__struct_encode_fields__}
    found = [(name, value) for name, value in pairs if name in known]
    if len(dict(found)) < len(found):
        raise InvalidParameters("a field may come once", field=_twice([name for name, _ in found]))
    return read_body(msgspec.json.encode(dict(found)), "", kind)


def is_form(media_type: str) -> bool:
    """Whether a Content-Type says a form."""
    return media_type.partition(";")[0].strip().lower() == FORM


def is_json(media_type: str) -> bool:
    """Whether a Content-Type says JSON."""
    plain = media_type.partition(";")[0].strip().lower()
    return plain == "application/json" or plain.endswith("+json")


@cache
def _decoder(kind: type[S]) -> msgspec.json.Decoder[S]:
    return msgspec.json.Decoder(kind)


def _read_again(body: bytes, kind: type[S], error: msgspec.ValidationError) -> S:
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise InvalidParameters(f"the body is not valid JSON: {problem}", field="body", expected="JSON") from None
    renamed = _camelled(raw, kind)
    if renamed == raw:
        raise _explain(str(error), raw) from None
    try:
        return msgspec.json.decode(msgspec.json.encode(renamed), type=kind)
    except msgspec.ValidationError as again:
        raise _explain(str(again), renamed) from None


def _camelled(value: Any, kind: Any) -> Any:
    """The value with field names in camelCase, only where `kind` has such fields: keys of free maps stay."""
    struct = _struct_in(kind)
    if isinstance(value, list):
        return [_camelled(item, kind) for item in value]
    if not isinstance(value, dict) or struct is None:
        return value
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    types = {field.encode_name: field.type for field in fields.values()}
    names = {key: fields[key].encode_name if key in fields else key for key in value}
    if len(set(names.values())) < len(names):
        raise InvalidParameters("a field is given in both casings", field=_twice(list(names.values())))
    return {names[key]: _camelled(item, types.get(names[key])) for key, item in value.items()}


def _struct_in(kind: Any) -> type[Struct] | None:
    if isinstance(kind, type) and issubclass(kind, Struct):
        return kind
    found = (_struct_in(part) for part in get_args(kind))
    return next((struct for struct in found if struct is not None), None)


def _twice(names: list[str]) -> str:
    return next(name for name in names if names.count(name) > 1)


def _explain(problem: str, raw: Any) -> InvalidParameters:
    match = _PLACE.match(problem)
    message, place = (match[1], match[2] or "") if match else (problem, "")
    place = place.removeprefix(".")
    if found := _UNKNOWN.match(message):
        field = _joined(place, found[1])
        return InvalidParameters(f"{field} is not a known field", field=field, expected="no such field")
    if found := _MISSING.match(message):
        field = _joined(place, found[1])
        return InvalidParameters(f"{field} is required", field=field, expected="a value")
    value = _shown(raw, place)
    sentence, expected = misfit(place or "the body", message, value)
    return InvalidParameters(sentence, field=place or "body", value=value, expected=expected)


def _joined(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _shown(raw: Any, place: str) -> Any:
    """The value at `place` ("resources.cpu", "command[0]"); shortened when it is long, and never a secret."""
    if _SECRET.search(place):
        return "***"
    for key in re.findall(r"[^.\[\]]+", place):
        try:
            raw = raw[int(key)] if isinstance(raw, list) else raw[key]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    return shown_value(raw)


def shown_value(value: Any) -> Any:
    """A value as refusals show it: numbers as they came, the beginning of everything else as text."""
    return value if isinstance(value, int | float | bool) or value is None else str(value)[:80]
