"""Reading JSON bodies: one decode into one bounded struct, both casings, and refusals that name the field."""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import islice
from types import UnionType
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo

from market.errors import InvalidParameters
from node.api.errors import UnsupportedMediaType
from node.api.expectations import misfit

S = TypeVar("S", bound=Struct)
MOST_ITEMS: Final = 1024
"""No list of bodies may have so many items; where one has more, the decoder alone looks at them."""
MOST_SAID: Final = 400
MOST_SHOWN: Final = 27
"""Of a refusal: characters of what the decoder says, and items of a list, which fill what is shown of a value."""
_AT: Final = " - at `$"
_WORDS: Final = re.compile(r"\.|\[[^\]]*\]|[^.\[]+|\[")
FORM: Final = "application/x-www-form-urlencoded"
"""The media type; a handler with it among its options takes its body in this form too."""
MAX_FIELDS: Final = 32
_SECRET: Final = re.compile(r"password|secret|token|^env", re.IGNORECASE)
_UNKNOWN: Final = re.compile(r"^Object contains unknown field `(.*?)`?$", re.DOTALL)
_MISSING: Final = re.compile(r"^Object missing required field `(.*)`$")


def read_body(body: bytes, media_type: str, kind: type[S]) -> S:
    """The body as a `kind`. camelCase is decoded directly; snake_case costs a second look.

    Raises UnsupportedMediaType, or InvalidParameters with `field`, `value` and `expected`.
    """
    if media_type and not is_json(media_type):
        raise UnsupportedMediaType(f"expected application/json, got {media_type[:80]!r}", expected="application/json")
    try:
        return _decoded(body, kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidParameters(f"the body is not valid JSON: {error}", field="body", expected="JSON") from None


def as_sent(body: bytes, kind: type[Struct], is_snake: bool, field: str) -> str:
    """The place of a field ("resources.minVram") in the names that the client used.

    What it did not send is in the casing of the names that it sent, or in snake case where `is_snake`.
    """
    raw, parts = _raw(body), []
    at: Any = kind
    is_snake = is_snake or _is_snake(raw, kind)
    for word in _WORDS.findall(field):
        struct = _struct_in(at)
        found = _names_of(struct).get(word) if struct else None
        if word == ".":
            name = word
        elif word.startswith("["):
            name, at, raw = word, _item_in(at), _item_at(raw, word[1:-1])
        elif found is None:
            name, at, raw = word, None, None
        else:
            name, at = _name_in(raw, found, is_snake), found.type
            raw = raw.get(name) if isinstance(raw, dict) else None
        parts.append(name)
    return "".join(parts)


def _raw(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _is_snake(raw: Any, kind: type[Struct]) -> bool:
    """Whether the names that came at the top are known ones in snake case."""
    known = _names_of(kind) if isinstance(raw, dict) else {}
    return any(name in raw and name != field.encode_name for name, field in known.items())


def _name_in(raw: Any, field: FieldInfo, is_snake: bool) -> str:
    names = (field.encode_name, field.name)
    usual = field.name if is_snake else field.encode_name
    return next((name for name in names if isinstance(raw, dict) and name in raw), usual)


def _item_at(raw: Any, index: str) -> Any:
    is_there = isinstance(raw, list) and index.isascii() and index.isdigit() and int(index[:9]) < len(raw)
    return raw[int(index)] if is_there else None


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
    for name, count in Counter(name for name, _ in found).items():
        if count > 1:
            raise InvalidParameters("a field may come once", field=name)
    return read_body(msgspec.json.encode(dict(found)), "", kind)


def is_form(media_type: str) -> bool:
    """Whether a Content-Type says a form."""
    return _plain(media_type) == FORM


def is_json(media_type: str) -> bool:
    """Whether a Content-Type says JSON."""
    plain = _plain(media_type)
    return plain == "application/json" or plain.endswith("+json")


def _plain(media_type: str) -> str:
    """Without its parameters, such as a charset."""
    return media_type.partition(";")[0].strip().lower()


@cache
def _decoder(kind: type[S]) -> msgspec.json.Decoder[S]:
    return msgspec.json.Decoder(kind)


def _decoded(body: bytes, kind: type[S]) -> S:
    try:
        read: S = _decoder(kind).decode(body)
        return read
    except msgspec.ValidationError as error:
        return _read_again(body, kind, error)


def _read_again(body: bytes, kind: type[S], error: msgspec.ValidationError) -> S:
    raw = msgspec.json.decode(body)
    renamed = _camelled(raw, kind)
    if renamed == raw:
        raise _explain(str(error), raw) from None
    try:
        return msgspec.json.decode(msgspec.json.encode(renamed), type=kind)
    except msgspec.ValidationError as again:
        raise _explain(str(again), renamed) from None


def _camelled(value: Any, kind: Any, place: str = "") -> Any:
    """The value with field names in camelCase, only where `kind` has such fields: everything else is not looked at.

    What a client sends may be large and deep, and this is done while all others wait.
    """
    if isinstance(value, list):
        item = _item_in(kind)
        if item is None or len(value) > MOST_ITEMS:
            return value
        return [_camelled(each, item, f"{place}[{number}]") for number, each in enumerate(value)]
    struct = _struct_in(kind)
    if not isinstance(value, dict) or struct is None:
        return value
    known, renamed = _names_of(struct), {}
    for key, item in value.items():
        if key not in known:
            raise _unknown(place, key)
        name, type = known[key].encode_name, known[key].type
        if name in renamed:
            raise InvalidParameters("a field is given in both casings", field=_joined(place, name))
        renamed[name] = _camelled(item, type, _joined(place, name))
    return renamed


@cache
def _names_of(struct: type[Struct]) -> dict[str, FieldInfo]:
    """The fields by both of their names."""
    return {name: field for field in msgspec.structs.fields(struct) for name in (field.name, field.encode_name)}


def _struct_in(kind: Any) -> type[Struct] | None:
    return next((part for part in _parts(kind) if isinstance(part, type) and issubclass(part, Struct)), None)


def _item_in(kind: Any) -> Any:
    """What the items of the list are that `kind` allows, None without one or where no field is to be found in them."""
    items = (get_args(part)[0] for part in _parts(kind) if get_origin(part) in (list, tuple))
    return next((item for item in items if _struct_in(item)), None)


def _parts(kind: Any) -> Iterator[Any]:
    """What a type may be, without what is said of it."""
    if get_origin(kind) in (Union, UnionType, Annotated):
        for part in get_args(kind):
            yield from _parts(part)
    else:
        yield kind


def _explain(problem: str, raw: Any) -> InvalidParameters:
    message, at, place = problem.rpartition(_AT)
    message, place = (message[:MOST_SAID], place.removesuffix("`").removeprefix(".")) if at else (place[:MOST_SAID], "")
    if found := _UNKNOWN.match(message):
        return _unknown(place, found[1])
    if found := _MISSING.match(message):
        field = _joined(place, found[1])
        return InvalidParameters(f"{field} is required", field=field, expected="a value")
    value = _shown(raw, place)
    sentence, expected = misfit(place or "the body", message, value)
    return InvalidParameters(sentence, field=place or "body", value=value, expected=expected)


def _unknown(place: str, name: str) -> InvalidParameters:
    field = _joined(place, name[:80])
    return InvalidParameters(f"{field} is not a known field", field=field, expected="no such field")


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
    return value if isinstance(value, int | float | bool) or value is None else str(_beginning(value))[:80]


def _beginning(value: Any, depth: int = 3) -> Any:
    """As much of a value as can be seen of it: it may be large, and deeper than its text can be made."""
    if isinstance(value, list):
        return [_beginning(item, depth - 1) for item in value[:MOST_SHOWN]] if depth else ["..."]
    if isinstance(value, dict):
        some = islice(value.items(), MOST_SHOWN)
        return {key[:80]: _beginning(item, depth - 1) for key, item in some} if depth else {"...": "..."}
    return value[:80] if isinstance(value, str) else value
