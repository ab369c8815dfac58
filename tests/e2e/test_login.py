"""A person signs in from the command line: a real node, a real browser, and the commands as processes of their own."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.cluster import Cluster
from tests.chromium import Browser

pytestmark = [pytest.mark.e2e, pytest.mark.chain, pytest.mark.timeout(400)]
PROGRAM = (sys.executable, "-m", "cli.main")
EMAIL = "ann@example.org"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="neugrid-e2e-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[Browser]:
    browser = Browser(folder / "chromium")
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def requester(folder: Path) -> Iterator[Cluster]:
    """A devnet and one node that sells nothing, so that it needs no container engine."""
    cluster = Cluster(folder, prices=())
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Of a user who has never signed in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NEUGRID_")}
    return {**kept, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config"), **more}


def test_a_user_signs_in_by_the_page_works_and_signs_out(requester: Cluster, browser: Browser, folder: Path) -> None:
    def neugrid(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, *words],
            env=environment(folder, **more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    url = requester.contact("requester").url
    operator = str(folder / "requester")
    made = json.loads(neugrid("users", "create", EMAIL, "--json", NEUGRID_DATA_DIR=operator).stdout)
    waiting = subprocess.Popen(
        [*PROGRAM, "login", url, "--name", "laptop"],
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stderr is not None
    page = re.search(r"http\S+", waiting.stderr.readline())
    assert page is not None
    tab = browser.tab()
    tab.open(page[0])
    tab.fill("email", EMAIL)
    tab.fill("password", made["password"])
    tab.press("Enter")
    tab.shows("laptop")
    tab.click("allow")
    tab.shows("The device is let in")
    said, _ = waiting.communicate(timeout=120)
    assert (waiting.returncode, said) == (0, f"signed in at {url} as {EMAIL}\n")

    assert json.loads(neugrid("whoami", "--json").stdout)["user"]["id"] == made["id"]
    assert [key["name"] for key in json.loads(neugrid("keys", "list", "--json").stdout)] == ["laptop"]
    assert neugrid("users", "list").returncode == 3
    assert neugrid("logout").returncode == 0
    assert neugrid("whoami").returncode == 2
