"""What the engine says about itself, against what strangers' work needs: pure functions of its own description."""

from typing import Any, Final

from node.adapters.docker_engine.health import health_of
from node.adapters.docker_engine.profile import GVISOR
from node.ports.inspection import TIERS, Finding

LOOPBACK: Final = "unix://"


def engine_finding(info: dict[str, Any]) -> Finding:
    """Whether it enforces every limit; what is missing here can not be accepted by anybody."""
    health = health_of(info)
    message = f"Docker {health.version}" if health.is_ok else health.reason
    return Finding(check="engine", status="ok" if health.is_ok else "failed", message=message)


def address_finding(info: dict[str, Any], address: str, has_tls: bool) -> Finding:
    """Whether only this machine, or who has a certificate, can command the engine: a command is root on its host."""
    warnings = " ".join(info.get("Warnings") or ())
    is_open = "without encryption" in warnings or "accessible on http://" in warnings
    if is_open:
        message = "the engine also listens on TCP without TLS: whoever reaches it is root here"
        return Finding(check="engine-address", status="failed", message=message)
    if address.startswith(LOOPBACK) or has_tls:
        return Finding(check="engine-address", status="ok", message=address)
    return Finding(check="engine-address", status="failed", message=f"{address} is neither a socket nor under TLS")


def groups_finding(info: dict[str, Any], groups: str, missing: tuple[str, ...]) -> Finding:
    """Which control groups hold the limits; `groups` and `missing` as the host has them, "" for another machine's."""
    version = f"v{info.get('CgroupVersion') or 1}"
    text = f"control groups {version} by {info.get('CgroupDriver')}"
    if info.get("CgroupDriver", "none") == "none" or groups == "none":
        return Finding(check="cgroups", status="failed", message=f"{text}: limits would not be applied")
    if missing:
        return Finding(check="cgroups", status="failed", message=f"{text}: no controller for {', '.join(missing)}")
    if groups and (groups == "v2") != (version == "v2"):
        return Finding(check="cgroups", status="warning", message=f"{text}, and this machine has {groups}")
    return Finding(check="cgroups", status="ok", message=f"{text}{', hybrid' if groups == 'hybrid' else ''}")


def restore_finding(info: dict[str, Any]) -> Finding:
    """Whether containers live through a restart of the engine."""
    if info.get("LiveRestoreEnabled"):
        return Finding(check="live-restore", status="ok", message="containers live through a restart of the engine")
    message = 'set "live-restore": true in daemon.json, or a restart of the engine ends every job'
    return Finding(check="live-restore", status="warning", message=message)


def versions_of(info: dict[str, Any], version: dict[str, Any]) -> dict[str, str]:
    """What engine, containerd and the runtime below call themselves; "" for what is not told."""
    parts = {str(part.get("Name", "")).lower(): part for part in version.get("Components") or ()}
    runtime = runtime_of(info)
    return {
        "engine": str(version.get("Version") or info.get("ServerVersion") or ""),
        "containerd": _version(parts.get("containerd", {})),
        runtime: _version(parts.get(runtime, {})),
    }


def runtime_of(info: dict[str, Any]) -> str:
    """The program that makes the containers: "runc" or "crun"; others stand on one of them."""
    default = str(info.get("DefaultRuntime") or "runc")
    path = str(((info.get("Runtimes") or {}).get(default) or {}).get("path") or default)
    return "crun" if "crun" in path else "runc"


def _version(part: dict[str, Any]) -> str:
    """A package's version where it was built in, for it says more than the program's own."""
    own, commit = str(part.get("Version") or ""), str((part.get("Details") or {}).get("GitCommit") or "")
    return commit if own and commit.startswith(own) else own


def has_gvisor(info: dict[str, Any]) -> bool:
    """Whether gVisor is among the engine's runtimes, under its own name."""
    return GVISOR in (info.get("Runtimes") or {})


def tier_finding(wanted: str, measured: dict[str, str]) -> Finding:
    """Whether the tier that is to be sold was measured; `measured` has "" or what is missing for every tier."""
    problem = measured.get(wanted, f"there is no such tier, only {', '.join(TIERS)}")
    if problem:
        return Finding(check="isolation", status="failed", message=f"{wanted} can not be sold: {problem}")
    others = [name for name, lack in measured.items() if not lack and name != wanted]
    also = f"; also possible: {', '.join(others)}" if others else ""
    return Finding(check="isolation", status="ok", message=f"sold as {wanted}{also}")
