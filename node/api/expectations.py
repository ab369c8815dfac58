"""What does not fit, in words: decoders speak of types of their own."""

import re
from typing import Any, Final

_TYPE: Final = re.compile(r"`([^`]+)`")
_NAMES: Final = {
    "int": "an integer",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}
EXPECTED: Final = "Expected "


def misfit(field: str, message: str, value: Any) -> tuple[str, str]:
    """The sentence about `field`, and what was expected, of a decoder's message about the `value` that came."""
    if not message.startswith(EXPECTED):
        return f"{field}: {message[:1].lower()}{message[1:]}", message
    expected = _TYPE.sub(_named, message.removeprefix(EXPECTED).partition(", got ")[0])
    return f"{field} must be {expected}, got {value!r}", expected


def _named(found: re.Match[str]) -> str:
    return " or ".join(_NAMES.get(name, name) for name in found[1].split(" | "))
