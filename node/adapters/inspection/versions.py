"""Versions against floors: what is known to let a container out is data, and a distribution's repairs count."""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from market.errors import ConfigError
from node.ports.inspection import Finding

FLOORS: Final = Path(__file__).parents[3] / "configs" / "floors.toml"
_VERSION: Final = re.compile(r"v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?(?:-(rc|beta|alpha)\.?(\d{1,4}))?")
_HEAD: Final = re.compile(r"^\S+ \((?:\d+:)?([^)\s]+)\)")
RELEASE: Final = (3, 0)
_STAGES: Final = {"alpha": 0, "beta": 1, "rc": 2}

Text = Annotated[str, Meta(max_length=64)]
Version = tuple[int, int, int, int, int]
"""Major, minor, patch, stage, number within the stage; a release comes after all its candidates."""


class Floor(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which versions of one program are good enough, and the package whose changelog may say more."""

    risk: Text
    package: Text
    floors: tuple[Text, ...]
    fixes: tuple[Text, ...]
    advised: tuple[Text, ...] = ()
    advised_fixes: tuple[Text, ...] = ()


def load_floors(path: Path = FLOORS) -> dict[str, Floor]:
    """The table of floors by program; ConfigError when it can not be read, for none would mean no floor."""
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), dict[str, Floor])
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path}: the table of floors can not be read: {error}", file=str(path)) from error


def judge(name: str, said: str, floor: Floor, changelog: str = "") -> Finding:
    """The verdict on a program that calls itself version `said`; `changelog` is its package's, "" without one."""
    version, known = parse_version(said), changelog if is_changelog_of(changelog, said) else ""
    if version is None:
        message = f"the version of {name} is not known ({said[:64] or 'nothing said'})"
        return Finding(check=floor.risk, status="failed", message=message)
    is_repaired = bool(floor.fixes and known) and not missing_fixes(known, floor.fixes)
    if not is_repaired and not is_at_least(version, floor.floors):
        lacking = missing_fixes(known, floor.fixes)
        why = f": open are {', '.join(lacking)}" if lacking else ""
        message = f"{name} {said}{why}; upgrade to {' or '.join(floor.floors)}"
        return Finding(check=floor.risk, status="failed", message=message)
    is_modern = bool(floor.advised_fixes and known) and not missing_fixes(known, floor.advised_fixes)
    if is_modern or not floor.advised or is_at_least(version, floor.advised):
        return Finding(check=floor.risk, status="ok", message=f"{name} {said}")
    message = f"{name} {said}; {' or '.join(floor.advised)} is advised"
    return Finding(check=floor.risk, status="warning", message=message)


def parse_version(said: str) -> Version | None:
    """1.2.8, v1.4.0-rc.3, 1.1.5+ds1-1+deb12u1, 1.6.20~ds1; None for what begins with no version."""
    match = _VERSION.match(said.strip())
    if match is None:
        return None
    major, minor, patch, stage, number = match.groups()
    ripeness = (_STAGES[stage], int(number)) if stage else RELEASE
    return int(major), int(minor), int(patch or 0), *ripeness


def is_at_least(version: Version, floors: tuple[str, ...]) -> bool:
    """Whether it reaches the floor of its own branch (major and minor), or its branch is newer than every floor's."""
    known = [floor for text in floors if (floor := parse_version(text))]
    own = [floor for floor in known if floor[:2] == version[:2]]
    return version >= own[0] if own else version > max(known)


def is_changelog_of(changelog: str, said: str) -> bool:
    """Whether the newest entry is of the version that runs: the file may have been upgraded under the program."""
    head = _HEAD.match(changelog)
    return bool(said) and head is not None and head[1].startswith(said.strip())


def missing_fixes(changelog: str, fixes: tuple[str, ...]) -> tuple[str, ...]:
    """The repairs that the changelog does not name."""
    return tuple(fix for fix in fixes if not re.search(rf"{re.escape(fix)}(?!\d)", changelog))
