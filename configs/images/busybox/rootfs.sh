#!/bin/sh
# Writes the root file system of the image "busybox" as a tar stream: one static program, its links, two users.
# The source is Debian's busybox-static: the installed one, else the package of the configured archive, unpacked aside.
set -eu
umask 022

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root/bin" "$root/etc" "$root/usr" "$root/tmp" "$root/proc" "$root/sys" "$root/dev" "$root/input" "$root/output"

is_static() { [ -x "$1" ] && ! ldd "$1" >/dev/null 2>&1; }

find_busybox() {
  for candidate in /usr/bin/busybox /bin/busybox "$(command -v busybox || true)"; do
    if is_static "$candidate"; then echo "$candidate"; return; fi
  done
  command -v apt-get >/dev/null 2>&1 || return 1
  (cd "$work" && apt-get download -qq busybox-static >&2 && dpkg-deb -x busybox-static_*.deb unpacked) || return 1
  if [ -x "$work/unpacked/usr/bin/busybox" ]; then echo "$work/unpacked/usr/bin/busybox"; else echo "$work/unpacked/bin/busybox"; fi
}

busybox=$(find_busybox) || { echo "no static busybox here: install Debian's package busybox-static" >&2; exit 1; }
cp "$busybox" "$root/bin/busybox"
chmod 755 "$root/bin/busybox"
for applet in $("$root/bin/busybox" --list); do
  [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
ln -s ../bin "$root/usr/bin"
printf 'root:x:0:0:root:/:/bin/sh\njob:x:65532:65532:job:/tmp:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\njob:x:65532:\n' >"$root/etc/group"
chmod 1777 "$root/tmp"
tar -C "$root" --owner=0 --group=0 --numeric-owner --sort=name --mtime=@0 -cf - .
