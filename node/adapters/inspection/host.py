"""The machine below the engine: its clock, disk, control groups and Python; what can not be known is a warning."""

import ctypes
import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from node.adapters.inspection.versions import Floor, judge
from node.ports.inspection import Finding

MIN_DISK: Final = 2 * 2**30
MOST_OFFSET: Final = 1_000_000
"""Microseconds: requester and provider may be 1.5 s apart in all."""
UNSYNCHRONISED: Final = 5
"""TIME_ERROR of adjtimex(2): nobody disciplines the clock."""
DOCUMENTS: Final = Path("/usr/share/doc")
MOST_CHANGELOG: Final = 2**21


class _Timex(ctypes.Structure):
    """The head of struct timex; the kernel writes the rest into `more`."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("more", ctypes.c_byte * 256),
    )


def clock_error() -> int | None:
    """By how many microseconds the clock may be wrong, as the kernel was told; None when nobody tells it."""
    try:
        state = _Timex(modes=0)
        said = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(state))
    except (OSError, AttributeError):
        return None
    return None if said in (-1, UNSYNCHRONISED) else int(state.maxerror)


def chrony_offset(report: str) -> int | None:
    """Microseconds of offset in the answer to `chronyc -c tracking`; None when chrony has no source."""
    fields = report.strip().split(",")
    try:
        is_synchronised = len(fields) > 13 and fields[13] != "Not synchronised" and fields[2] != "0"
        return abs(int(float(fields[4]) * 1_000_000)) if is_synchronised else None
    except ValueError:
        return None


def clock_finding(error: int | None) -> Finding:
    """`error` in microseconds, None when it can not be known."""
    if error is None:
        return Finding(check="clock", status="warning", message="nobody keeps the clock right: install chrony or NTP")
    text = f"the clock is right to {error / 1000:g} ms"
    if error < MOST_OFFSET:
        return Finding(check="clock", status="ok", message=text)
    return Finding(check="clock", status="failed", message=f"{text}: leases need {MOST_OFFSET // 1000} ms")


def clock() -> Finding:
    """The clock, by chrony's word where it runs, else by the kernel's."""
    report = said_by("chronyc", "-c", "tracking")
    offset = chrony_offset(report) if report else None
    return clock_finding(clock_error() if offset is None else offset)


def disk(*folders: Path) -> Finding:
    """The least free space of the file systems that hold `folders`; those that do not exist here count for none."""
    free = min((shutil.disk_usage(folder).free for folder in folders if folder.exists()), default=0)
    enough = free >= MIN_DISK
    advice = "" if enough else f", at least {MIN_DISK // 2**20} MiB are needed"
    return Finding(check="disk", status="ok" if enough else "failed", message=f"{free // 2**20} MiB free{advice}")


def python(floor: Floor) -> Finding:
    """The interpreter that this runs on."""
    return judge("Python", ".".join(map(str, sys.version_info[:3])), floor)


def control_groups(root: Path = Path("/")) -> str:
    """Which control groups this machine has: "v2", "v1", "hybrid" or "none", by what is mounted."""
    groups = root / "sys/fs/cgroup"
    if (groups / "cgroup.controllers").exists():
        return "v2"
    if not (groups / "memory").is_dir():
        return "none"
    return "hybrid" if (groups / "unified/cgroup.controllers").exists() else "v1"


def missing_controllers(root: Path = Path("/")) -> tuple[str, ...]:
    """Controllers that limits need and that this machine does not hand out."""
    groups, wanted = root / "sys/fs/cgroup", ("cpu", "memory", "pids")
    try:
        given = set((groups / "cgroup.controllers").read_text().split())
    except OSError:
        given = {name for name in wanted if (groups / name).is_dir()}
    return tuple(name for name in wanted if name not in given)


def changelog_of(package: str, documents: Path = DOCUMENTS) -> str:
    """What a Debian package says about its changes; "" where there is none."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]{1,63}", package):
        return ""
    try:
        with gzip.open(documents / package / "changelog.Debian.gz", "rt", errors="replace") as file:
            return file.read(MOST_CHANGELOG)
    except (OSError, EOFError):
        return ""


def said_by(program: str, *arguments: str) -> str:
    """What a program prints; "" when it is not here, fails, or takes longer than two seconds."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        return ""
    try:
        done = subprocess.run(  # noqa: S603  a program of the system, by its own name
            [found, *arguments], capture_output=True, text=True, errors="replace", timeout=2, check=True
        )
    except (subprocess.SubprocessError, OSError):
        return ""
    return done.stdout[:65_536]
