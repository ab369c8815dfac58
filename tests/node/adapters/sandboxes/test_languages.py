"""The languages file: what it says, and how it is refused when it is wrong."""

from pathlib import Path

import pytest

from market.errors import ConfigError, NotFound
from node.adapters.sandboxes.languages import LANGUAGES, load_languages

GOOD = """
[images.one]
reference = "one:latest"
packages = ["python3"]
finish = "true"
[images.two]
reference = "registry.example.org/two:1"
[languages.python]
image = "one"
file = "main.py"
aliases = ["py"]
run = ["python3", "{code}/main.py"]
version = ["python3", "--version"]
[languages.slow]
image = "two"
file = "main"
run = ["slow"]
run_seconds = 20.0
version = ["slow"]
"""


def written(folder: Path, text: str) -> Path:
    (folder / "languages").mkdir()
    (folder / "languages" / "rootfs.sh").write_text("true")
    path = folder / "languages.toml"
    path.write_text(text)
    return path


def test_the_file_of_the_project_names_eight_languages_with_the_promised_limits() -> None:
    languages = load_languages(LANGUAGES)
    assert set(languages.dialects) == {"python", "javascript", "cpp", "java", "bash", "ruby", "perl", "lua"}
    limits = languages.limits
    assert (limits.run, limits.compile, limits.memory, limits.output) == (3.0, 10.0, 256, 65_536)
    assert languages.named("C++") == "cpp"


def test_a_language_has_its_own_limits_or_those_for_all(tmp_path: Path) -> None:
    languages = load_languages(written(tmp_path, GOOD))
    assert (languages.limits_of("slow").run, languages.limits_of("python").run) == (20.0, 3.0)


def test_names_and_aliases_are_found_whatever_their_case_and_nothing_else_is(tmp_path: Path) -> None:
    languages = load_languages(written(tmp_path, GOOD))
    assert languages.named("PY") == languages.named("python") == "python"
    for wrong in ("", "cobol", "python\0", "p" * 10_000):
        with pytest.raises(NotFound):
            languages.named(wrong)
    words = languages.words()
    assert {word: languages.named(word) for word in words} == words


def test_an_image_with_packages_is_built_here_and_one_without_is_pulled(tmp_path: Path) -> None:
    built, pulled = load_languages(written(tmp_path, GOOD)).recipes()
    assert built.script == tmp_path / "languages" / "rootfs.sh"
    assert built.variables == {"PACKAGES": "python3", "FINISH": "true"}
    assert not built.is_published  # nobody else's image of that name is taken for ours
    assert (pulled.script, pulled.is_published) == (None, True)


def test_some_languages_need_only_their_images(tmp_path: Path) -> None:
    (recipe,) = load_languages(written(tmp_path, GOOD)).recipes(("py",))
    assert recipe.reference == "one:latest"


@pytest.mark.parametrize(("old", "new"), [('["python3"]', '["python3", "perl"]'), ('"true"', '"false"')])
def test_the_hash_covers_packages_and_last_steps(tmp_path: Path, old: str, new: str) -> None:
    first = load_languages(written(tmp_path, GOOD)).recipes()[0].hash
    (tmp_path / "languages.toml").write_text(GOOD.replace(old, new, 1))
    assert load_languages(tmp_path / "languages.toml").recipes()[0].hash != first


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('image = "one"', 'image = "none"', "languages.python: there is no image 'none'"),
        ('file = "main.py"', 'file = "../main.py"', "languages.python: Expected"),
        ('file = "main.py"', "", "missing required field `file`"),
        ('aliases = ["py"]', 'aliases = ["slow"]', "'slow' means both python and slow"),
        ('run = ["slow"]', "run = []", "languages.slow: Expected"),
        ("run_seconds = 20.0", "run_seconds = 1e9", "languages.slow: Expected"),
        ("run_seconds = 20.0", "run_second = 2.0", "unknown field `run_second`"),
        ('packages = ["python3"]', 'packages = ["--force"]', "images.one: Expected"),
        ("[languages.slow]", '[languages."So Slow"]', "Expected"),
        ("[images.one]", "[limits]\nmemory = 1\n[images.one]", "limits: Expected"),
        ("[images.one]", "[limits]\nscratch = 200\n[images.one]", "at most half"),
        ("[images.one]", "[other]\n[images.one]", "no table 'other'"),
        ("[images.one]", "[images.one", "no valid TOML"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    path = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError, match=r"languages\.toml") as refusal:
        load_languages(path)
    assert complaint in refusal.value.message


def test_a_file_that_is_missing_huge_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_languages(tmp_path / "none.toml")
    path = tmp_path / "languages.toml"
    for content in (b"#" * 300_000, b"\xff\xfe", b""):
        path.write_bytes(content)
        with pytest.raises(ConfigError):
            load_languages(path)
