"""Images that want more than a workload may have; each is made of busybox, without a network."""

import io
import json
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from market.errors import NeugridError
from tests.attacks.scenes import Scene
from tests.attacks.stages import Workloads

LOOK: Final = (
    "id -u; id -g; grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status; env | grep -ciE '^(LD_|NVIDIA_)'; "
    "for f in /x /bin/x /proc/sys/kernel/core_pattern /sys/kernel/uevent_helper; do echo 1 2>/dev/null >$f && echo ESCAPED $f; done; "
    "cat /etc/shadow 2>/dev/null | grep -q 'root:[$]' && echo ESCAPED shadow; ls /var/lib/docker/overlay2 >/dev/null 2>&1 && "
    "echo ESCAPED engine; [ -e /var/run/docker.sock ] && echo ESCAPED socket; readlink /proc/self/cwd; true"
)
CHANGES: Final[dict[str, tuple[str, ...]]] = {
    "image-workdir-of-the-kernel": ("WORKDIR /proc/self/fd/8",),
    "image-workdir-up": ("WORKDIR /proc/self/../self/fd/7",),
    "image-preloads": ("ENV LD_PRELOAD=/evil.so LD_LIBRARY_PATH=/ NVIDIA_VISIBLE_DEVICES=all ld_audit=/x",),
    "image-path": ("ENV PATH=/tmp:/bin BASH_ENV=/tmp/x PYTHONSTARTUP=/tmp/x",),
    "image-user-root": ("USER root",),
    "image-user-0": ("USER 0:0",),
    "image-user-of-many-zeros": ("USER 0000000000",),
    "image-user-too-large": ("USER 4294967296",),
    "image-group-root": ("USER 1000:0",),
    "image-healthcheck": ('HEALTHCHECK --interval=1s CMD ["sh", "-c", "touch /tmp/checked"]',),
    "image-volumes": ("VOLUME /data", "VOLUME /var/lib/x"),
    "image-volume-etc": ("VOLUME /etc",),
    "image-volume-root": ("VOLUME /",),
    "image-volume-proc": ("VOLUME /proc",),
    "image-volume-dev": ("VOLUME /dev",),
    "image-volume-sys": ("VOLUME /sys",),
    "image-many-volumes": (" ".join(["VOLUME", *(f"/v{number}" for number in range(60))]),),
    "image-ports": ("EXPOSE 22 2375/tcp 53/udp",),
    "image-labels": ("LABEL neugrid.node=another neugrid.timeout=0 neugrid.slot=idle neugrid.sandbox=x",),
    "image-on-build": ("ONBUILD RUN touch /x",),
}
Edit = Callable[[tarfile.TarFile], None]


def _link(name: str, target: str) -> Edit:
    def edit(archive: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = tarfile.SYMTYPE, target
        archive.addfile(member)

    return edit


def _file(name: str, text: bytes, mode: int = 0o644) -> Edit:
    def edit(archive: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(text), mode
        archive.addfile(member, io.BytesIO(text))

    return edit


def _device(archive: tarfile.TarFile) -> None:
    member = tarfile.TarInfo("disk")
    member.type, member.mode, member.devmajor, member.devminor = tarfile.BLKTYPE, 0o666, 254, 0
    archive.addfile(member)


FILES: Final[dict[str, tuple[str, Edit]]] = {
    "image-proc-is-a-link": ("proc", _link("proc", "/tmp")),
    "image-sys-is-a-link": ("sys", _link("sys", "/proc")),
    "image-dev-is-a-link": ("dev", _link("dev", "/../../../dev")),
    "image-tmp-is-a-link": ("tmp", _link("tmp", "/../../../../tmp")),
    "image-etc-is-a-link": ("etc", _link("etc", "/proc/1/root/etc")),
    "image-run-is-a-link": ("run", _link("run", "/../../../run")),
    "image-var-is-a-link": ("var", _link("var", "../../../../var")),
    "image-output-is-a-link": ("output", _link("output", "/proc/self/fd")),
    "image-hosts-is-a-link": ("etc/hosts", _link("etc/hosts", "../../../../../../etc/shadow")),
    "image-names-map-to-0": ("etc/passwd", _file("etc/passwd", b"evil:x:0:0::/:/bin/sh\n65532:x:0:0::/:/bin/sh\n")),
    "image-group-names-map-to-0": ("etc/group", _file("etc/group", b"65532:x:0:\n")),
    "image-device": ("disk", _device),
    "image-preload-file": ("etc/ld.so.preload", _file("etc/ld.so.preload", b"/evil.so\n")),
}
SET_USER_ID: Final = "bin/root-shell"


def _set_user_id(archive: tarfile.TarFile) -> None:
    member = tarfile.TarInfo(SET_USER_ID)
    member.type, member.linkname, member.mode = tarfile.LNKTYPE, "bin/busybox", 0o6755
    archive.addfile(member)


def _changed(id: str, changes: tuple[str, ...]) -> Scene:
    async def play(stage: Workloads) -> list[str]:
        async with _image(stage, lambda client: _committed(client, changes)) as image:
            return await _looked(stage, image)

    return Scene(id=id, group="images", play=play, tiers=("batch", "service"))


def _rebuilt(id: str, dropped: str, edit: Edit) -> Scene:
    async def play(stage: Workloads) -> list[str]:
        async with _image(stage, lambda client: _imported(client, dropped, edit)) as image:
            return await _looked(stage, image)

    return Scene(id=id, group="images", play=play, tiers=("batch", "service"))


async def _looked(stage: Workloads, image: str) -> list[str]:
    """What a look around finds from inside; an image that is refused, or can not start, is a right end too."""
    script = f"{LOOK}; [ -e /{SET_USER_ID} ] && /{SET_USER_ID} sh -c 'id -u' | grep -qx 0 && echo ESCAPED root; dd if=/disk count=1 2>/dev/null | grep -q . && echo ESCAPED disk; true"
    spec = stage.spec("sh", "-c", script, image=image, has_outputs=True, volumes=())
    try:
        await stage.runtime.start(spec)
        end = await stage.runtime.wait(spec.name)
        lines = [line.text async for line in stage.runtime.logs(spec.name)]
        found = await _mounted(stage, spec.name)
    except NeugridError:
        return []
    finally:
        await stage.runtime.remove(spec.name)
    assert end.reason == "exited", end
    assert lines, "nothing was looked at"
    return found + _findings(lines)


def _findings(lines: list[str]) -> list[str]:
    found = [line for line in lines if line.startswith("ESCAPED")]
    if "0" in lines[:2]:
        found.append("runs as root")
    wanted = {"CapEff": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"}
    seen = dict(line.replace("\t", " ").split(": ") for line in lines if ": " in line.replace("\t", " "))
    found += [
        f"{name} is {seen.get(name)}" for name, value in wanted.items() if name in seen and seen[name].strip() != value
    ]
    return found


async def _mounted(stage: Workloads, name: str) -> list[str]:
    """Folders of the host that the image talked the engine into: volumes that nobody of us named, and binds."""
    seen = await stage.runtime._inspect(name)
    return [
        f"{mount['Type']} at {mount['Destination']}"
        for mount in seen["Mounts"]
        if mount["Type"] == "bind" or (mount["Type"] == "volume" and not mount["Name"].startswith((name, "neugrid-")))
    ]


@asynccontextmanager
async def _image(stage: Workloads, make: Callable[[Any], str]) -> AsyncIterator[str]:
    engine = stage.runtime._engine
    image = await engine.call(make)
    try:
        yield image
    finally:
        await engine.call(lambda client: client.remove_image(image, force=True))


def _committed(client: Any, changes: tuple[str, ...]) -> str:
    holder = client.create_container("busybox:latest", ["true"])
    try:
        return str(client.commit(holder, changes=list(changes))["Id"])
    finally:
        client.remove_container(holder, v=True, force=True)


def _imported(client: Any, dropped: str, edit: Edit) -> str:
    """busybox with one thing replaced."""
    holder = client.create_container("busybox:latest", ["true"])
    try:
        source = io.BytesIO(b"".join(client.export(holder)))
    finally:
        client.remove_container(holder, v=True, force=True)
    target = io.BytesIO()
    with tarfile.open(fileobj=source) as old, tarfile.open(fileobj=target, mode="w") as new:
        for member in old:
            if member.name != dropped and not member.name.startswith(f"{dropped}/"):
                new.addfile(member, old.extractfile(member) if member.isreg() else None)
        edit(new)
    answer = client.import_image_from_data(target.getvalue())
    return str(_id_in(answer))


def _id_in(answer: Any) -> str:
    return next(str(json.loads(line)["status"]) for line in str(answer).splitlines() if "sha256:" in line)


IMAGES: Final = (
    *(_changed(id, changes) for id, changes in CHANGES.items()),
    *(_rebuilt(id, dropped, edit) for id, (dropped, edit) in FILES.items()),
    _rebuilt("image-set-user-id", SET_USER_ID, _set_user_id),
)
