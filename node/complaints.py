"""What is wrong with a settings file, in one sentence: file, line, setting, what is allowed there, and what came."""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

from msgspec import Meta, Struct

_PLACE: Final = re.compile(r"^(.*?)(?: - at `\$\.?(.*)`)?$", re.DOTALL)
_NAMED: Final = re.compile(r"^Object (contains unknown|missing required) field `(.*)`$", re.DOTALL)
_PASSWORD: Final = re.compile(r"(://[^/\s]*?:)[^/\s]*@")
"""In a URL; what is wrong with the rest of it can be said without."""
_SECRETS: Final = ("password", "secret", "private_key", "passphrase")


def complain(path: Path, text: str, raw: Any, problem: str, kind: type[Struct]) -> str:
    """The sentence for msgspec's `problem` with `raw`, which was read from `text` and should be a `kind`."""
    match = _PLACE.match(problem)
    message, place = (match[1], match[2] or "") if match else (problem, "")
    named = _NAMED.match(message)
    keys = [*re.findall(r"[^.\[\]]+", place), *([named[2]] if named else [])]
    where = f"{path}{_line(text, keys)}"
    if named and named[1].startswith("contains"):
        return f"{where}: there is no setting {_dotted(keys)}{_hint(keys, kind)}"
    allowed = _allowed(keys, kind) or message[:1].lower() + message[1:]
    if named:
        return f"{where}: {_dotted(keys)} is missing; it must be {allowed}"
    return f"{where}: {_dotted(keys)} must be {allowed}, got {_shown(raw, keys)}"


def _dotted(keys: list[str]) -> str:
    return ".".join(keys[:1] + [f"[{key}]" if key.isdigit() else key for key in keys[1:]]).replace(".[", "[")


def _line(text: str, keys: list[str]) -> str:
    """A colon and the number of the line that sets the first two `keys` (table and setting); nothing without one."""
    table, names = "", [key for key in keys if not key.isdigit()][:2]
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*([\w-]+)\s*\]", line):
            table = header[1]
        setting = re.match(r"\s*[\"']?([\w-]+)[\"']?\s*=", line)
        found = [name for name in (table, setting[1] if setting else "") if name]
        if names and found == names:
            return f":{number}"
    return ""


def _hint(keys: list[str], kind: type[Struct]) -> str:
    if keys[-1].lower() in _SECRETS:
        return ": secrets are not kept here; the password is in <data_dir>/password or in NEUGRID_PASSWORD"
    struct = _type_at(keys[:-1], kind)
    fields = struct.__struct_fields__ if isinstance(struct, type) and issubclass(struct, Struct) else ()
    near = difflib.get_close_matches(keys[-1], fields, n=1)
    meant = f", did you mean {near[0]}?" if near else ""
    return f"{meant} (allowed: {', '.join(fields)})" if fields else meant


def _allowed(keys: list[str], kind: type[Struct]) -> str:
    """What the setting's type says of itself; a table is one by its shape."""
    found = _type_at(keys, kind)
    if isinstance(found, type) and issubclass(found, Struct):
        return f"a table: [{'.'.join(keys)}]"
    described = [meta.description for meta in _metas(found) if meta.description]
    return described[0] if described else ""


def _type_at(keys: list[str], kind: Any) -> Any:
    for key in keys:
        if key.isdigit() or key == "...":
            kind = next((part for part in get_args(_plain(kind)) if part is not Ellipsis), kind)
        elif isinstance(kind, type) and issubclass(kind, Struct):
            kind = get_type_hints(kind, include_extras=True).get(key)
    return kind


def _plain(kind: Any) -> Any:
    return getattr(kind, "__origin__", kind) if hasattr(kind, "__metadata__") else kind


def _metas(kind: Any) -> Iterator[Meta]:
    yield from (meta for meta in getattr(kind, "__metadata__", ()) if isinstance(meta, Meta))


def _shown(raw: Any, keys: list[str]) -> str:
    for key in keys:
        try:
            raw = raw[int(key)] if isinstance(raw, list | tuple) else raw[key]
        except (KeyError, IndexError, ValueError, TypeError):
            return "something else"
    return _PASSWORD.sub(r"\1***@", repr(raw))[:80]
