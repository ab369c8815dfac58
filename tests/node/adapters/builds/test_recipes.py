"""Recipes: the shipped ones can be read, and the first that fits is taken."""

from pathlib import Path

import pytest

from market.errors import ConfigError
from node.adapters.builds.dockerfile import images_in, read_dockerfile
from node.adapters.builds.recipes import load_recipes, recipe_for


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"requirements.txt", "index.html"}, "python"),
        ({"pyproject.toml"}, "python"),
        ({"package.json", "public/index.html"}, "node"),
        ({"dist/index.html"}, "static"),
        ({"Cargo.toml"}, ""),
    ],
)
def test_the_files_decide(files: set[str], name: str) -> None:
    recipe = recipe_for(load_recipes(), files.__contains__)
    assert (recipe.name if recipe else "") == name


def test_every_shipped_recipe_is_a_dockerfile_on_one_image() -> None:
    for recipe in load_recipes():
        assert len(images_in(read_dockerfile(recipe.dockerfile))) == 1


@pytest.mark.parametrize("text", ["", "recipes = 3", "[[recipes]]\nname = 'x'", "not toml ["])
def test_a_file_that_is_wrong_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipes.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"recipes\.toml"):
        load_recipes(tmp_path)
