"""Settings files: what a node reads, and what it says about one that is wrong."""

from pathlib import Path

import pytest

from market.errors import ConfigError
from node.config import Config, load_config, password_from, write_config

GOOD = """\
data_dir = "data"
roles = ["requester"]

[api]
port = 0

[network]
bootstrap = []

[provider]
cpu_hour = "0.02"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(GOOD)
    return path


def complaint(path: Path) -> str:
    with pytest.raises(ConfigError) as refused:
        load_config(path)
    return refused.value.message.replace(str(path), "node.toml")


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    config = Config(data_dir=str(tmp_path), roles=("provider", "requester"), name='quo"ted')
    write_config(config, tmp_path / "node.toml")
    assert load_config(tmp_path / "node.toml") == config
    assert (tmp_path / "node.toml").stat().st_mode & 0o077 == 0


def test_a_relative_data_directory_starts_at_the_files_folder(file: Path) -> None:
    assert load_config(file).folder == file.parent / "data"


@pytest.mark.parametrize("name", ["node.toml", "provider.toml", "requester.toml"])
def test_the_examples_that_ship_are_valid(name: str) -> None:
    load_config(Path("configs") / name)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("port = 0", 'port = "x"', "node.toml:5: api.port must be a whole number from 0 to 65535, got 'x'"),
        ("port = 0", "port = 70000", "node.toml:5: api.port must be a whole number from 0 to 65535, got 70000"),
        (
            "port = 0",
            'key_prefixes = ["neo_sk_"]',
            "node.toml:5: api.key_prefixes[0] must be a platform and how its keys",
        ),
        ("port = 0", 'key_prefixes = ["a=b.c"]', "such as \"neorun=neo_sk_\", got 'a=b.c'"),
        ("port = 0", "port =", "node.toml:5:7: no valid TOML: invalid value"),
        ("port = 0", "prt = 0", "node.toml:5: there is no setting api.prt, did you mean port? (allowed: host, port,"),
        ("[api]", "[apis]", "node.toml:4: there is no setting apis, did you mean api? (allowed: data_dir, roles,"),
        ("[api]\nport = 0", "api = 3", "node.toml:4: api must be a table: [api], got 3"),
        ('["requester"]', '["seller"]', """node.toml:2: roles[0] must be "provider" or "requester", got 'seller'"""),
        ('["requester"]', "[]", 'node.toml:2: roles must be a list of "provider", "requester" or both, got []'),
        ('roles = ["requester"]', "", 'node.toml: roles is missing; it must be a list of "provider"'),
        ('"0.02"', '"abc"', 'node.toml:11: provider.cpu_hour must be an amount of tokens in quotes, such as "0.02"'),
        ('"0.02"', "0.02", 'node.toml:11: provider.cpu_hour must be an amount of tokens in quotes, such as "0.02"'),
        (
            'cpu_hour = "0.02"',
            'accept_risks = ["luck"]',
            "provider.accept_risks[0] must be one of runc-version, engine",
        ),
        (
            'cpu_hour = "0.02"',
            'isolation = "kata"',
            "node.toml:11: provider.isolation must be one of hardened, gvisor,",
        ),
        ('"0.02"', '"0.02"\nruntime = "podman"', """provider.runtime must be "docker" or "swarm", got 'podman'"""),
        ("[]", '["/ip4/1.2.3.4/tcp/1"]', "node.toml:8: network.bootstrap[0] must be a multiaddr with peer id"),
        (
            '"0.02"',
            '"0.02"\nregistries = ["https://x"]',
            "node.toml:12: provider.registries[0] must be a registry such as",
        ),
        ('"0.02"', '"0.02"\nmax_image_size = 0', "provider.max_image_size must be a whole number from 1048576 to"),
        (
            "[api]",
            '[storage]\nurl = "mysql://me:secret@h/db"\n[api]',
            """storage.url must be "" or a URL such as "postgresql://user@host:5432/name", got 'mysql://me:***@h/db'""",
        ),
        ("[api]", 'password = "x"\n[api]', "secrets are not kept here; the password is in <data_dir>/password"),
    ],
)
def test_a_wrong_setting_is_named_with_line_and_what_is_allowed(file: Path, old: str, new: str, said: str) -> None:
    file.write_text(GOOD.replace(old, new, 1))
    assert said in complaint(file)


def test_a_file_that_is_no_text_and_one_that_is_not_there_are_said_so(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    assert complaint(file) == "node.toml: this is no text in UTF-8"
    file.unlink()
    assert complaint(file) == "node.toml: No such file or directory; `neugrid init` makes a node"


def test_the_password_comes_from_its_file_or_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NEUGRID_PASSWORD", raising=False)
    with pytest.raises(ConfigError, match="set NEUGRID_PASSWORD"):
        password_from(tmp_path)
    monkeypatch.setenv("NEUGRID_PASSWORD", "from outside")
    assert password_from(tmp_path) == "from outside"
    (tmp_path / "password").write_text("from file\n")
    assert password_from(tmp_path) == "from file"
