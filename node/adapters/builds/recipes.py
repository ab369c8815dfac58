"""How a repository without a Dockerfile is built: recipes as data in `configs/builds/`, chosen by the files it has."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from market.errors import ConfigError

RECIPES: Final = Path(__file__).parents[3] / "configs" / "builds"
FILE: Final = "recipes.toml"
_Name = Annotated[str, Meta(min_length=1, max_length=64)]


class BuildRecipe(Struct, frozen=True, kw_only=True):
    """A Dockerfile for repositories that have one of the `files`."""

    name: str
    files: tuple[str, ...]
    dockerfile: bytes


class _Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: _Name
    files: Annotated[tuple[_Name, ...], Meta(min_length=1, max_length=16)]
    dockerfile: Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]{1,64}$")]
    image: Annotated[str, Meta(min_length=1, max_length=255)]


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    recipes: Annotated[tuple[_Entry, ...], Meta(max_length=32)]


def load_recipes(folder: Path = RECIPES) -> tuple[BuildRecipe, ...]:
    """The recipes in their order; ConfigError names the file and what is wrong."""
    file = folder / FILE
    try:
        found = msgspec.convert(tomllib.loads(file.read_text()), _File)
        return tuple(_recipe(folder, entry) for entry in found.recipes)
    except (OSError, ValueError) as error:  # msgspec's and TOML's errors are ValueErrors
        raise ConfigError(f"{file}: {error}", file=str(file)) from error


def recipe_for(recipes: tuple[BuildRecipe, ...], has: Callable[[str], bool]) -> BuildRecipe | None:
    """The first recipe that fits, when `has` tells which files there are."""
    return next((recipe for recipe in recipes if any(map(has, recipe.files))), None)


def _recipe(folder: Path, entry: _Entry) -> BuildRecipe:
    text = (folder / entry.dockerfile).read_text().replace("{image}", entry.image)
    return BuildRecipe(name=entry.name, files=entry.files, dockerfile=text.encode())
