#!/bin/sh
# Writes the root file system of an image for code as a tar stream: $PACKAGES of the configured Debian archive with
# all they depend on, unpacked and not configured, then $FINISH run inside of it (no network, no host files).
# Needs apt-get and dpkg-deb, and root or user namespaces; changes nothing on this machine.
set -eu
umask 022
export LC_ALL=C

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$work/debs/partial" "$work/state/lists/partial" "$root"
: >"$work/status"

say() { echo "$*" >&2; }
for needed in apt-get dpkg-deb unshare chroot; do
  command -v "$needed" >/dev/null 2>&1 || { say "no $needed here: language images are made of Debian packages"; exit 1; }
done

# Nothing counts as installed, so that every dependency comes along; the package lists are ours where the machine has none.
archive() {
  apt-get -qq -y --no-install-recommends -o Dir::State::status="$work/status" -o Dir::Cache::archives="$work/debs" \
    -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=2 "$@" >&2
}
fetch() { archive "$@" --download-only install $PACKAGES; }

if ! fetch 2>"$work/complaint"; then
  archive -o Dir::State="$work/state" update || { cat "$work/complaint" >&2; exit 1; }
  fetch -o Dir::State="$work/state" -o Dir::State::status="$work/status"
fi

for folder in bin sbin lib lib64; do
  mkdir -p "$root/usr/$folder"
  ln -s "usr/$folder" "$root/$folder"
done
for package in "$work"/debs/*.deb; do
  dpkg-deb --fsys-tarfile "$package" >"$work/files.tar"
  tar -C "$root" --keep-directory-symlink --no-same-owner -xf "$work/files.tar" \
    --exclude='./usr/share/doc' --exclude='./usr/share/man' --exclude='./usr/share/info' --exclude='./usr/share/locale'
done
rm -rf "$work/debs" "$work/files.tar"

mkdir -p "$root/etc" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/root"
chmod 1777 "$root/tmp"
printf 'root:x:0:0:root:/:/bin/sh\ncode:x:65000:65000:code:/tmp:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\ncode:x:65000:\n' >"$root/etc/group"
[ -e "$root/bin/sh" ] || ln -s dash "$root/bin/sh"

# Namespaces of its own: what is mounted for the last steps is gone with them, whatever happens.
map=
[ "$(id -u)" -eq 0 ] || map=--map-root-user
printf '%s\n' "$FINISH" >"$root/finish"
unshare $map --mount --pid --net --fork sh -eu -c '
  mount --make-rprivate / 2>/dev/null || true
  mount -t proc proc "$1/proc"
  for device in null zero random urandom; do : >"$1/dev/$device"; mount --bind "/dev/$device" "$1/dev/$device"; done
  exec chroot "$1" /bin/sh -eu /finish
' finish "$root" >&2
rm -rf "$root/finish" "$root/dev" "$root/tmp"
mkdir "$root/dev" "$root/tmp"
chmod 1777 "$root/tmp"
tar -C "$root" --owner=0 --group=0 --numeric-owner --sort=name -cf - .
