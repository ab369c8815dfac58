"""What doctor knows: versions against floors, the host's files, the engine's own words; all of it as data."""

import asyncio
import gzip
from pathlib import Path
from typing import Any

import pytest

from market.errors import ConfigError, Unavailable
from node.adapters.inspection import host
from node.adapters.inspection.engine import (
    address_finding,
    engine_finding,
    groups_finding,
    has_gvisor,
    restore_finding,
    tier_finding,
    versions_of,
)
from node.adapters.inspection.inspector import InspectionSettings, LocalInspector
from node.adapters.inspection.versions import judge, load_floors, parse_version
from node.ports.inspection import RISKS

RUNC = load_floors()["runc"]
HEAD = "runc (1.1.5+ds1-1+deb12u2) bookworm-security; urgency=high\n\n"
REPAIRED = HEAD + "\n".join(f"  * {fix}: fixed" for fix in RUNC.fixes)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("1.2.8", "ok"),
        ("1.3.3", "ok"),
        ("v1.4.0", "ok"),
        ("1.4.0-rc.3", "ok"),
        ("1.10.0", "ok"),
        ("2.0.0", "ok"),
        ("1.2.7", "failed"),
        ("1.3.2", "failed"),
        ("1.4.0-rc.2", "failed"),
        ("1.1.15", "failed"),
        ("1.1.5+ds1-1+deb12u1", "failed"),
        ("", "failed"),
        ("N/A", "failed"),
    ],
)
def test_each_branch_has_a_floor_of_its_own(said: str, status: str) -> None:
    assert judge("runc", said, RUNC).status == status


def test_what_a_package_says_that_it_repaired_is_repaired() -> None:
    assert judge("runc", "1.1.5+ds1-1+deb12u2", RUNC, REPAIRED).status == "ok"


def test_a_package_that_repaired_less_leaves_open_what_it_does_not_name() -> None:
    text = REPAIRED.replace("CVE-2025-52881", "CVE-2025-528819")
    found = judge("runc", "1.1.5+ds1-1+deb12u2", RUNC, text)
    assert (found.status, found.check) == ("failed", "runc-version")
    assert "open are CVE-2025-52881;" in found.message


def test_the_changelog_of_another_version_than_the_one_that_runs_says_nothing() -> None:
    assert judge("runc", "1.1.5+ds1-1+deb12u1", RUNC, REPAIRED).status == "failed"


def test_below_what_is_advised_only_warns() -> None:
    floor = load_floors()["containerd"]
    assert judge("containerd", "1.6.20", floor).status == "warning"
    assert judge("containerd", "2.1.5", floor).status == "ok"
    assert judge("containerd", "1.5.9", floor).status == "failed"
    text = "containerd (1.6.20~ds1-1+deb12u3) x\n" + " ".join(floor.advised_fixes)
    assert judge("containerd", "1.6.20~ds1-1+deb12u3", floor, text).status == "ok"


@pytest.mark.parametrize(
    ("program", "bad", "good"),
    [
        ("engine", "20.10.8", "20.10.24+dfsg1"),
        ("crun", "1.19", "1.21"),
        ("nvidia-toolkit", "1.17.7", "1.17.8"),
        ("python", "3.11.3", "3.13.0"),
    ],
)
def test_the_shipped_table_has_a_floor_for_every_program(program: str, bad: str, good: str) -> None:
    floor = load_floors()[program]
    assert (judge(program, bad, floor).status, judge(program, good, floor).status != "failed") == ("failed", True)


def test_every_floor_is_a_risk_that_can_be_named() -> None:
    assert {floor.risk for floor in load_floors().values()} <= set(RISKS)
    assert all(parse_version(text) for floor in load_floors().values() for text in floor.floors + floor.advised)


@pytest.mark.parametrize("text", ["", "[runc]\nrisk = 7", "[runc"])
def test_a_table_that_can_not_be_read_is_no_absence_of_floors(tmp_path: Path, text: str) -> None:
    (tmp_path / "floors.toml").write_text(text or "x = 1")
    with pytest.raises(ConfigError):
        load_floors(tmp_path / "floors.toml")


def test_candidates_come_before_their_release() -> None:
    versions = [parse_version(text) for text in ("1.4.0-alpha.1", "1.4.0-beta.1", "1.4.0-rc.1", "1.4.0-rc.10", "1.4.0")]
    assert versions == sorted(versions, key=lambda version: version or (0,))
    assert len(set(versions)) == 5


def test_a_changelog_is_found_by_its_package_and_by_no_path(tmp_path: Path) -> None:
    (tmp_path / "runc").mkdir()
    (tmp_path / "runc" / "changelog.Debian.gz").write_bytes(gzip.compress(REPAIRED.encode()))
    assert host.changelog_of("runc", tmp_path) == REPAIRED
    assert host.changelog_of("crun", tmp_path) == host.changelog_of("../runc", tmp_path) == ""
    (tmp_path / "runc" / "changelog.Debian.gz").write_bytes(b"no archive")
    assert host.changelog_of("runc", tmp_path) == ""


# --- the host ---


def files(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.write_text("cpuset cpu io memory pids\n")
    return folder


@pytest.mark.parametrize(
    ("names", "groups", "missing"),
    [
        (("cgroup.controllers",), "v2", ()),
        (("memory/", "cpu/", "pids/"), "v1", ()),
        (("memory/", "cpu/", "pids/", "unified/cgroup.controllers"), "hybrid", ()),
        (("memory/", "cpu/"), "v1", ("pids",)),
        (("unified/cgroup.controllers",), "none", ("cpu", "memory", "pids")),
        ((), "none", ("cpu", "memory", "pids")),
    ],
)
def test_the_versions_of_control_groups_are_told_apart(
    tmp_path: Path, names: tuple[str, ...], groups: str, missing: tuple[str, ...]
) -> None:
    root = files(tmp_path, *names)
    assert (host.control_groups(root), host.missing_controllers(root)) == (groups, missing)


def test_a_controller_that_version_two_does_not_hand_out_is_missing(tmp_path: Path) -> None:
    root = files(tmp_path, "cgroup.controllers")
    (root / "sys/fs/cgroup/cgroup.controllers").write_text("cpuset cpu io\n")
    assert host.missing_controllers(root) == ("memory", "pids")


@pytest.mark.parametrize(("error", "status"), [(None, "warning"), (500, "ok"), (999_999, "ok"), (1_000_000, "failed")])
def test_a_clock_may_be_wrong_by_less_than_a_second(error: int | None, status: str) -> None:
    assert host.clock_finding(error).status == status


CHRONY = "A29FC801,162.159.200.1,3,1764191000.1,{},-0.000012,0.0001,-9.1,0.0,0.02,0.01,0.001,64.2,{}\n"


@pytest.mark.parametrize(
    ("report", "offset"),
    [
        (CHRONY.format("-0.001500000", "Normal"), 1500),
        (CHRONY.format("2.5", "Normal"), 2_500_000),
        (CHRONY.format("0.0", "Not synchronised"), None),
        (CHRONY.format("x", "Normal"), None),
        ("506 Cannot talk to daemon\n", None),
    ],
)
def test_chronys_word_is_read(report: str, offset: int | None) -> None:
    assert host.chrony_offset(report) == offset


def test_the_kernel_says_something_about_this_clock() -> None:
    error = host.clock_error()
    assert error is None or error >= 0


def test_a_full_disk_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.disk(tmp_path, tmp_path / "not here").status == "ok"
    monkeypatch.setattr(host, "MIN_DISK", 2**60)
    assert host.disk(tmp_path).status == "failed"


# --- the engine's own words ---


def an_info(**changes: Any) -> dict[str, Any]:
    """A sound engine of today on control groups v2."""
    limits = {"MemoryLimit": True, "CpuCfsQuota": True, "PidsLimit": True, "CgroupDriver": "systemd"}
    about = {"OSType": "linux", "ServerVersion": "28.5.2", "CgroupVersion": "2", "DefaultRuntime": "runc"}
    security = {"SecurityOptions": ["name=seccomp,profile=builtin"], "Runtimes": {"runc": {"path": "runc"}}}
    return limits | about | security | changes


OPEN_API = "[DEPRECATION NOTICE]: API is accessible on http://0.0.0.0:2375 without encryption."


@pytest.mark.parametrize(
    ("info", "address", "has_tls", "status"),
    [
        (an_info(), "unix:///var/run/docker.sock", False, "ok"),
        (an_info(), "tcp://10.0.0.1:2376", True, "ok"),
        (an_info(), "tcp://10.0.0.1:2375", False, "failed"),
        (an_info(Warnings=[OPEN_API]), "unix:///var/run/docker.sock", False, "failed"),
    ],
)
def test_an_engine_that_others_can_command_has_failed(
    info: dict[str, Any], address: str, has_tls: bool, status: str
) -> None:
    assert address_finding(info, address, has_tls).status == status


@pytest.mark.parametrize(
    ("info", "groups", "missing", "status"),
    [
        (an_info(), "v2", (), "ok"),
        (an_info(CgroupVersion="1", CgroupDriver="cgroupfs"), "hybrid", (), "ok"),
        (an_info(), "", (), "ok"),
        (an_info(), "v1", (), "warning"),
        (an_info(CgroupDriver="none"), "v1", (), "failed"),
        (an_info(), "v2", ("pids",), "failed"),
        (an_info(), "none", (), "failed"),
    ],
)
def test_without_control_groups_nothing_is_limited(
    info: dict[str, Any], groups: str, missing: tuple[str, ...], status: str
) -> None:
    assert groups_finding(info, groups, missing).status == status


def test_an_engine_without_a_filter_of_system_calls_has_failed() -> None:
    assert engine_finding(an_info()).status == "ok"
    assert engine_finding(an_info(SecurityOptions=[])).status == "failed"


def test_containers_that_die_with_their_engine_are_a_warning() -> None:
    assert [restore_finding(an_info(LiveRestoreEnabled=on)).status for on in (True, False)] == ["ok", "warning"]


def a_part(name: str, version: str, commit: str = "") -> dict[str, Any]:
    return {"Name": name, "Version": version, "Details": {"GitCommit": commit}}


def test_versions_are_those_of_the_engines_own_parts_and_a_packages_where_it_is_one() -> None:
    parts = [a_part("containerd", "1.6.20~ds1", "1.6.20~ds1-1+deb12u3"), a_part("runc", "1.2.8", "v1.2.8-0-g0b9fa21b")]
    found = versions_of(an_info(), {"Version": "28.5.2", "Components": parts})
    assert found == {"engine": "28.5.2", "containerd": "1.6.20~ds1-1+deb12u3", "runc": "1.2.8"}


def test_an_engine_that_says_little_is_not_taken_for_sound() -> None:
    found = versions_of({}, {})
    assert found == {"engine": "", "containerd": "", "runc": ""}
    assert all(judge(name, said, load_floors()[name]).status == "failed" for name, said in found.items())


def test_the_program_below_the_default_runtime_is_judged() -> None:
    runtimes = {"fast": {"path": "/usr/bin/crun"}, "runsc": {"path": "/usr/bin/runsc"}}
    info = an_info(DefaultRuntime="fast", Runtimes=runtimes)
    assert "crun" in versions_of(info, {})
    assert has_gvisor(info)
    assert not has_gvisor(an_info())


def test_only_a_measured_tier_is_sold() -> None:
    measured = {"hardened": "", "gvisor": "runsc is not among the engine's runtimes"}
    assert tier_finding("hardened", measured).status == "ok"
    assert "runsc is not among" in tier_finding("gvisor", measured).message
    assert tier_finding("kata", measured).status == "failed"


def test_an_engine_that_does_not_answer_leaves_everything_unknown(tmp_path: Path) -> None:
    settings = InspectionSettings(folder=tmp_path, address=f"unix://{tmp_path}/none.sock")
    with pytest.raises(Unavailable):
        asyncio.run(LocalInspector(settings).inspect())
