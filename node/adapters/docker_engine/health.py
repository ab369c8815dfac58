"""The verdict on an engine: is it fit for strangers' work, and does it enforce every limit of the profile."""

from typing import Any

from node.ports import RuntimeHealth


def health_of(info: dict[str, Any]) -> RuntimeHealth:
    """The verdict on the engine's own description of itself; `reason` names all that is missing."""
    problems = [text for is_wrong, text in _findings(info) if is_wrong]
    return RuntimeHealth(is_ok=not problems, version=info.get("ServerVersion", ""), reason="; ".join(problems))


def _findings(info: dict[str, Any]) -> list[tuple[bool, str]]:
    security = " ".join(info.get("SecurityOptions") or ())
    driver = info.get("CgroupDriver", "none")
    return [
        (info.get("OSType") != "linux", f"the engine runs {info.get('OSType')} containers, not Linux ones"),
        (driver == "none", "the engine has no control groups (rootless on cgroup v1?): it would apply no limits"),
        (driver != "none" and not info.get("MemoryLimit"), "the kernel applies no memory limits"),
        (driver != "none" and not info.get("CpuCfsQuota"), "the kernel applies no CPU limits"),
        (driver != "none" and not info.get("PidsLimit"), "the kernel applies no process limits"),
        ("name=seccomp" not in security, "the engine filters no system calls (no seccomp)"),
    ]
