"""The profile of a sandbox as the engine's create request: that of every workload, with a root that can do four things.

`docs/decisions/0006-sandboxes.md` says why. The agent (process 1) needs root to become the compiler and the program
(SETUID, SETGID), to kill them (KILL) and to give them their folders (CHOWN); with no-new-privileges they can not get
back what it has. System V memory and message queues of both kinds are off: they would outlive a run.
"""

from pathlib import Path
from typing import Any, Final

from node.adapters.docker_engine.profile import MIB, NODE_LABEL, SANDBOX_LABEL, shares_of
from node.adapters.sandboxes.languages import Limits

SCRATCH: Final = "/tmp"  # noqa: S108 (the container's own)
CODE: Final = f"{SCRATCH}/box/code"
AGENT: Final = (Path(__file__).parent / "agent.py").read_text()
CAPABILITIES: Final = ("SETUID", "SETGID", "KILL", "CHOWN")
MAX_FILES: Final = 1024
NOTHING_SHARED: Final = {
    "kernel.shmmni": "0",
    "kernel.msgmni": "0",
    "kernel.sem": "32000 1024000000 500 0",
    "fs.mqueue.queues_max": "0",
}


def sandbox_request(
    reference: str, node: str, slot: str, limits: Limits, cpu: int, lifetime: float, seccomp: str
) -> dict[str, Any]:
    """The body of the engine's create call for one sandbox of the image `reference`."""
    return {
        "Image": reference,
        "Entrypoint": [],
        "Cmd": ["python3", "-I", "-S", "-c", AGENT, SCRATCH, str(lifetime)],
        "Env": ["LANG=C.UTF-8"],
        "User": "0:0",
        "WorkingDir": "/",
        "Labels": {NODE_LABEL: node, SANDBOX_LABEL: reference},
        "Healthcheck": {"Test": ["NONE"]},
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": _host_config(slot, limits, cpu, seccomp),
    }


def _host_config(slot: str, limits: Limits, cpu: int, seccomp: str) -> dict[str, Any]:
    memory = limits.memory * MIB
    return {
        "AutoRemove": True,
        "NetworkMode": f"container:{slot}" if slot else "none",
        "CapDrop": ["ALL"],
        "CapAdd": list(CAPABILITIES),
        "SecurityOpt": ["no-new-privileges:true", f"seccomp={seccomp}"],
        "Privileged": False,
        "ReadonlyRootfs": True,
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "Sysctls": NOTHING_SHARED,
        "Memory": memory,
        "MemorySwap": memory,
        "NanoCpus": cpu * 1_000_000,
        "CpuShares": shares_of(cpu),
        "PidsLimit": limits.processes + 1,
        "Ulimits": [_ulimit("nofile", MAX_FILES), _ulimit("core", 0), _ulimit("memlock", 64 * 1024)],
        "ShmSize": limits.scratch * MIB // 4,
        "Tmpfs": {SCRATCH: f"rw,exec,nosuid,nodev,mode=1777,size={limits.scratch * MIB}"},
        "LogConfig": {"Type": "none", "Config": {}},
        "RestartPolicy": {"Name": "no"},
        "OomScoreAdj": 500,
    }


def _ulimit(name: str, limit: int) -> dict[str, Any]:
    return {"Name": name, "Soft": limit, "Hard": limit}
