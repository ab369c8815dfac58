"""The tier `gvisor` on an engine of the test's own that has runsc among its runtimes."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.adapters.inspection.inspector import InspectionSettings, LocalInspector
from node.ports import Finding
from tests.node.adapters.daemons import Daemon, a_daemon
from tests.node.adapters.engines import MIB, a_container, a_node, a_runtime, run, texts, user_in

pytestmark = [pytest.mark.anyio, pytest.mark.docker]
RUNTIMES = {"runsc": {"path": "runsc", "runtimeArgs": ["--network=none", "--platform=ptrace"]}}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    if shutil.which("runsc") is None:
        pytest.skip("runsc is not installed: `apt install runsc`")
    with a_daemon(tmp_path_factory.mktemp("engine") / "own", runtimes=RUNTIMES) as daemon:
        yield daemon


async def found(daemon: Daemon, folder: Path, isolation: str, **changes: bool) -> dict[str, Finding]:
    settings = InspectionSettings(folder=folder, isolation=isolation, address=daemon.address, **changes)
    return {finding.check: finding for finding in await LocalInspector(settings).inspect()}


async def test_a_real_start_proves_the_tier(daemon: Daemon, tmp_path: Path) -> None:
    findings = await found(daemon, tmp_path, "gvisor")
    assert findings["gvisor"].status == "ok", findings["gvisor"]
    assert findings["isolation"].message == "sold as gvisor; also possible: hardened"
    assert findings["runc-version"].status != "failed", "strangers do not run under runc alone"


async def test_a_tier_that_is_not_sold_is_tried_only_when_asked(daemon: Daemon, tmp_path: Path) -> None:
    assert "gvisor" not in await found(daemon, tmp_path, "hardened")
    findings = await found(daemon, tmp_path, "hardened", tries_all=True)
    assert findings["isolation"].message == "sold as hardened; also possible: gvisor"


async def test_a_workload_of_the_tier_sees_no_kernel_of_the_host(daemon: Daemon, tmp_path: Path) -> None:
    async with a_runtime(a_node(), tmp_path, address=daemon.address, slots=1) as runtime:
        await runtime.warm_up()
        spec = a_container("sh", "-c", "uname -r; id -u; exit 3", isolation="gvisor")
        end, lines = await run(runtime, spec)
        assert (end.code, end.reason) == (3, "exited")
        kernel, user = texts(lines)
        assert kernel != Path("/proc/sys/kernel/osrelease").read_text().strip()
        assert user == user_in(spec)


async def test_memory_is_limited_under_it_too(daemon: Daemon, tmp_path: Path) -> None:
    async with a_runtime(a_node(), tmp_path, address=daemon.address) as runtime:
        spec = a_container("tail", "/dev/zero", isolation="gvisor", memory=96 * MIB)
        end, _ = await run(runtime, spec)
        assert end.reason == "oom"
