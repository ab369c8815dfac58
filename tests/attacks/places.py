"""Files, devices, processes and sockets that are the host's, and must be out of reach or out of sight."""

from typing import Final

from tests.attacks.attack import Attack

WRITTEN: Final[dict[str, tuple[str, ...]]] = {
    "core-pattern": ("/proc/sys/kernel/core_pattern",),
    "module-loader": ("/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug"),
    "magic-keys": ("/proc/sysrq-trigger", "/proc/sys/kernel/sysrq"),
    "kernel-settings": (
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/ns_last_pid",
        "/proc/sys/kernel/randomize_va_space",
        "/proc/sys/kernel/panic",
        "/proc/sys/kernel/yama/ptrace_scope",
    ),
    "memory-settings": ("/proc/sys/vm/overcommit_memory", "/proc/sys/vm/drop_caches", "/proc/sys/vm/swappiness"),
    "file-settings": ("/proc/sys/fs/file-max", "/proc/sys/fs/suid_dumpable", "/proc/sys/fs/binfmt_misc/register"),
    "network-settings": ("/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/ping_group_range"),
    "kernel-trees": (
        "/proc/irq/0/smp_affinity",
        "/proc/bus/pci/00/00.0",
        "/proc/scsi/scsi",
        "/proc/acpi/wakeup",
        "/proc/mtrr",
    ),
    "uevent-helper": ("/sys/kernel/uevent_helper", "/sys/kernel/mm/transparent_hugepage/enabled"),
    "power": ("/sys/power/state", "/sys/power/disk"),
    "buses": ("/sys/bus/pci/rescan", "/sys/bus/usb/drivers_probe", "/sys/module/loop/parameters/max_loop"),
    "interfaces": ("/sys/class/net/lo/mtu", "/sys/class/net/lo/flags"),
    "image-files": ("/etc/passwd", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname"),
    "init-program": ("/proc/1/exe", "/sbin/docker-init"),
    "init-memory": ("/proc/1/mem",),
    "identity-maps": ("/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/projid_map"),
}
READ: Final[dict[str, tuple[str, ...]]] = {
    "kcore": ("/proc/kcore", "/dev/mem", "/dev/kmem", "/dev/port"),
    "kernel-messages": ("/proc/kmsg", "/dev/kmsg"),
    "keys": ("/proc/keys",),
    "timers": ("/proc/timer_list", "/proc/sched_debug", "/proc/latency_stats"),
    "firmware": ("/sys/firmware/dmi/tables/DMI", "/sys/firmware/memmap/0/start", "/sys/firmware/efi/vars"),
    "debugging": ("/sys/kernel/debug/tracing/trace", "/sys/kernel/tracing/trace", "/sys/kernel/debug/kprobes/list"),
    "kernel-memory": ("/proc/slabinfo", "/proc/vmallocinfo", "/proc/kpagecount", "/proc/pagetypeinfo"),
    "secrets-of-the-host": ("/root/.ssh/id_ed25519", "/etc/shadow-", "/proc/1/root/root/.bash_history"),
    "engine-folders": ("/var/lib/docker/image", "/var/lib/containerd", "/proc/1/root/var/lib/docker"),
}
PROGRAMS: Final[dict[str, str]] = {
    "lower-oom-score": """
for who in ("1", "self"): never(who, lambda: writes(f"/proc/{who}/oom_score_adj", b"-1000"))
""",
    "release-agent": """
import glob
for name in ("release_agent", "notify_on_release", "devices.allow", "cgroup.procs", "tasks", "memory.limit_in_bytes",
             "memory.max", "pids.max", "cpu.max", "cpu.cfs_quota_us", "cgroup.subtree_control", "cgroup.freeze"):
    for path in glob.glob(f"/sys/fs/cgroup/{name}") + glob.glob(f"/sys/fs/cgroup/*/{name}"):
        never(path, lambda: writes(path, b"1"))
""",
    "new-cgroup": """
import glob
for folder in ["/sys/fs/cgroup", *glob.glob("/sys/fs/cgroup/*")]: never(folder, lambda: os.mkdir(folder + "/x"))
""",
    "make-devices": """
for folder in ("/tmp", "/dev", "/dev/shm"):
    for kind, number in ((stat.S_IFBLK, (8, 0)), (stat.S_IFBLK, (254, 0)), (stat.S_IFCHR, (1, 1)), (stat.S_IFCHR, (10, 237))):
        never(folder, lambda: os.mknod(folder + "/node", kind | 0o666, os.makedev(*number)) or True)
""",
    "devices-that-are-there": """
known = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "console", "stdin", "stdout", "stderr"}
for folder, _, names in os.walk("/dev"):
    for name in names:
        path = os.path.join(folder, name)
        mode = os.stat(path).st_mode if os.path.exists(path) else 0
        device = stat.S_ISBLK(mode) or stat.S_ISCHR(mode)
        if device and name not in known and not folder.startswith("/dev/pts"): print("ESCAPED device", path)
""",
    "machine-devices": """
for name in ("kvm", "fuse", "net/tun", "loop-control", "loop0", "vda", "sda", "mapper/control", "vhost-vsock", "vhost-net",
             "uinput", "snapshot", "cpu/0/msr", "nvidiactl", "dri/card0", "autofs", "btrfs-control", "hpet", "mem"):
    never(name, lambda: os.open("/dev/" + name, os.O_RDWR | os.O_NONBLOCK) + 1)
""",
    "write-the-root": """
for path in ("/x", "/bin/x", "/etc/x", "/lib/x", "/usr/x", "/root/x", "/dev/x", "/proc/x", "/sys/x", "/.dockerenv", "/sbin/x",
             "/home/x", "/opt/x", "/input/x"):
    never(path, lambda: makes(path))
never("rename", lambda: os.rename("/etc", "/etcetera") or True)
never("link over", lambda: os.symlink("/tmp", "/bin/y") or True)
""",
    "engine-sockets": """
found = [path for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock",
         "/run/dbus/system_bus_socket", "/run/systemd/private", "/var/run/crio/crio.sock") if os.path.exists(path)]
for folder, folders, names in os.walk("/", followlinks=False):
    folders[:] = [] if folder in ("/proc", "/sys", "/usr") else folders
    found += [name for name in (os.path.join(folder, name) for name in names)
              if os.path.lexists(name) and stat.S_ISSOCK(os.lstat(name).st_mode)]
for path in found: print("ESCAPED socket", path)
""",
    "descriptors-left-open": """
for number in os.listdir("/proc/self/fd"):
    try: there = os.readlink(f"/proc/self/fd/{number}")
    except OSError: continue
    if int(number) > 2 and there.startswith("/") and not there.startswith("/proc/"): print("ESCAPED", number, there)
""",
    "up-and-up": """
os.chdir("/proc/self/cwd/" + "../" * 60)
here, root = os.stat("."), os.stat("/")
if (here.st_dev, here.st_ino) != (root.st_dev, root.st_ino): print("ESCAPED", os.getcwd())
for name in ("/proc/1/root", "/proc/self/root", "/proc/1/cwd"):
    never(name, lambda: os.path.exists(name + "/var/lib/docker/overlay2"))
""",
    "links-to-the-host": """
for place in ("/etc/shadow", "/proc/1/root/etc/shadow", "/../../../../etc/shadow", "/proc/1/environ"):
    os.symlink(place, "/tmp/link")
    try:
        with open("/tmp/link") as file: text = file.read()
        if "root:$" in text or "dockerd" in text: print("ESCAPED", place)
    except OSError: pass
    os.unlink("/tmp/link")
never("hard link", lambda: os.link("/etc/passwd", "/tmp/hard") or True)
""",
    "processes-of-others": """
for number in filter(str.isdecimal, os.listdir("/proc")):
    try: name = open(f"/proc/{number}/comm").read().strip()
    except OSError: continue
    if name in ("dockerd", "containerd", "systemd", "sshd", "runc", "containerd-shim"): print("ESCAPED saw", number, name)
if len([n for n in os.listdir("/proc") if n.isdecimal()]) > 60: print("ESCAPED many processes")
""",
    "signals": """
mine = {int(n) for n in os.listdir("/proc") if n.isdecimal()}
for number in range(2, 3000):
    if number not in mine: never(number, lambda: os.kill(number, 0) or True)
""",
    "terminals": """
for path in ("/dev/tty", "/dev/console", "/dev/tty0", "/dev/pts/0", "/dev/vcs"):
    never(path, lambda: fcntl.ioctl(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY), 0x5412, b"x") or True)
""",
    "socket-families": """
for family in range(46):
    if family not in (1, 2, 10, 16): never(family, lambda: socket.socket(family, socket.SOCK_DGRAM))
    never(f"raw {family}", lambda: socket.socket(family, socket.SOCK_RAW) if family not in (1, 16) else False)
""",
    "vsock": """
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET): never("vsock", lambda: socket.socket(40, kind))
""",
    "netlink": """
def asked(protocol, kind, flags, body):
    one = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    one.settimeout(0.5)
    one.send(struct.pack("=LHHLL", 16 + len(body), kind, flags | 5, 1, 0) + body)
    answer = one.recv(4096)
    return struct.unpack_from("=H", answer, 4)[0] != 2 or struct.unpack_from("=i", answer, 16)[0] == 0
never("new link", lambda: asked(0, 16, 0x600, bytes(16) + struct.pack("=HH8s", 12, 3, b"owned")))
never("new address", lambda: asked(0, 20, 0x600, struct.pack("=BBBBI", 2, 24, 0, 0, 1) + struct.pack("=HH4s", 8, 2, bytes(4))))
never("new route", lambda: asked(0, 24, 0x600, struct.pack("=8BI", 2, 0, 0, 0, 254, 3, 0, 1, 0)))
never("audit", lambda: asked(9, 1001, 0, bytes(32)))
never("xfrm", lambda: asked(6, 0x1c, 0, bytes(8)))
""",
    "abstract-sockets": """
names = [line.split()[-1] for line in open("/proc/net/unix") if "@" in line]
for name in names: print("ESCAPED", name)
""",
}
CLOSED: Final[dict[str, tuple[tuple[str, int], ...]]] = {
    "host-gateway": tuple(("172.17.0.1", port) for port in (22, 80, 2375, 8080, 8545)),
    "metadata-service": (("169.254.169.254", 80), ("169.254.170.2", 80), ("100.100.100.200", 80), ("192.0.0.192", 80)),
    "local-network": (("10.0.0.1", 80), ("192.168.0.1", 80), ("192.168.1.1", 443), ("172.16.0.1", 22)),
    "other-containers": tuple((f"172.17.0.{last}", 80) for last in range(2, 10)),
    "carrier-network": (("100.64.0.1", 80), ("100.127.255.254", 80)),
    "mail": (("93.184.216.34", 25), ("93.184.216.34", 465), ("93.184.216.34", 587)),
    "names-by-tcp": (("127.0.0.53", 53), ("10.0.0.1", 53)),
}
CONNECT: Final = """
waiting = {}
for place in PLACES:
    one = socket.socket()
    one.setblocking(False)
    try: one.connect(place)
    except BlockingIOError: waiting[one] = place
    except OSError: continue
end = time.monotonic() + 1
while waiting and time.monotonic() < end:
    for one in select.select([], list(waiting), [], 0.1)[1]:
        place = waiting.pop(one)
        if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0: print("ESCAPED", *place)
"""
SENT: Final = """
def sent(place, option=None):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.settimeout(0.4)
    if option: one.setsockopt(*option)
    one.sendto(bytes.fromhex("0007010000010000000000000377777703636f6d0000010001"), place)
    return one.recv(512)
"""
DATAGRAMS: Final = {
    "broadcast": 'never("broadcast", lambda: sent(("255.255.255.255", 67), (socket.SOL_SOCKET, socket.SO_BROADCAST, 1)))',
    "multicast": 'for place in (("224.0.0.251", 5353), ("239.255.255.250", 1900)): never(place, lambda: sent(place))',
    "names-by-udp": 'for place in (("10.0.0.1", 53), ("169.254.169.253", 53)): never(place, lambda: sent(place))',
    "bind-to-a-device": """
for name in (b"eth0", b"docker0", b"ens5"):
    never(name, lambda: sent(("172.17.0.1", 53), (socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)))
""",
    "mark-packets": 'never("mark", lambda: sent(("10.0.0.1", 53), (socket.SOL_SOCKET, 36, 1)))',
}


def _attacks() -> tuple[Attack, ...]:
    programs = {name: f"for path in {paths!r}: never(path, lambda: writes(path))" for name, paths in WRITTEN.items()}
    programs |= {name: f"for path in {paths!r}: never(path, lambda: reads(path))" for name, paths in READ.items()}
    programs |= PROGRAMS
    files = [
        Attack(id=name, group="files and devices", is_quiet=True, program=text, emulated=_own(name))
        for name, text in programs.items()
    ]
    closed = {name: f"PLACES = {places!r}\n{CONNECT}" for name, places in CLOSED.items()}
    closed |= {name: f"{SENT}\n{text}" for name, text in DATAGRAMS.items()}
    network = [Attack(id=name, group="network", is_quiet=True, program=text) for name, text in closed.items()]
    return (*files, *network)


def _own(name: str) -> tuple[str, ...]:
    """gVisor has settings, limits and netlink of its own, which end with the sandbox."""
    own = ("kernel-settings", "memory-settings", "network-settings", "identity-maps", "lower-oom-score", "netlink",
           "init-memory", "socket-families", "init-program", "file-settings")  # fmt: skip
    return ("gvisor",) if name in own else ()


PLACES: Final = _attacks()
