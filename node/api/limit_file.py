"""Limits as data: for each tier and action the windows that must have room, from one file."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from market.errors import ConfigError, NeugridError
from market.units import parse_duration
from node.actions.access import TIERS
from node.api.limits import ACTIONS, ANONYMOUS, Rules
from node.ports import Window

FILE: Final = Path(__file__).parents[2] / "configs" / "limits.toml"
LONGEST: Final = 7 * 86_400
_WINDOW: Final = re.compile(r"([1-9][0-9]{0,8})/([0-9a-z]{1,16})")


def load_limits(path: Path = FILE) -> Rules:
    """The rules in the file; ConfigError names the file, the tier and what is wrong."""
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}", file=str(path)) from error
    missing = {ANONYMOUS, *TIERS} ^ tables.keys()
    if missing:
        raise ConfigError(f"{path}: the tiers are {ANONYMOUS}, {', '.join(TIERS)}; check {', '.join(sorted(missing))}")
    return {tier: _actions(f"{path}: [{tier}]", table) for tier, table in tables.items()}


def windows_in(texts: object) -> tuple[Window, ...]:
    """The windows that a list such as ["100/1m", "1000/1d"] means; ConfigError for what means none."""
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ConfigError('limits are lists such as ["100/1m", "1000/1d"]')
    return tuple(_window(text) for text in texts)


def _actions(place: str, table: object) -> Mapping[str, tuple[Window, ...]]:
    if not isinstance(table, dict):
        raise ConfigError(f"{place}: expected a table of actions")
    unknown = table.keys() - set(ACTIONS)
    if unknown:
        raise ConfigError(f"{place}: {sorted(unknown)[0]} is no action; actions are {', '.join(ACTIONS)}")
    try:
        return {action: windows_in(texts) for action, texts in table.items()}
    except NeugridError as error:
        raise ConfigError(f"{place}: {error.message}") from error


def _window(text: str) -> Window:
    found = _WINDOW.fullmatch(text)
    seconds = parse_duration(found[2], "limit") if found else 0
    if found is None or not 1 <= seconds <= LONGEST:
        raise ConfigError(f'{text!r} is no limit: expected "<requests>/<time>" such as "100/1m", at most 7 days')
    return Window(int(found[1]), seconds)
