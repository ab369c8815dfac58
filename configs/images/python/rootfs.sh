#!/bin/sh
# Writes the root file system of the image "python" as a tar stream: Python 3.11 of this machine, the libraries that
# it loads, and busybox for sh, env and wc. Where there is no Python 3.11: Debian's, by debootstrap (needs root).
# $PYTHON names the interpreter to take; packages, tests and caches of the machine stay at home.
set -eu
umask 022

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"

find_python() {
  for candidate in "${PYTHON:-}" python3.11 /usr/bin/python3.11; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
    "$candidate" -I -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || continue
    command -v "$candidate"
    return
  done
  return 1
}

# The interpreter itself, never a virtual environment or a version switcher's script.
facts() { "$1" -I -c 'import os, sys, sysconfig
home = sys.base_prefix
print(os.path.realpath(os.path.join(home, "bin", "python3.11")))
print(sysconfig.get_path("stdlib", vars={"installed_base": home, "base": home}))'; }

copy_library() {  # $1: one dynamically linked file
  ldd "$1" 2>/dev/null | while read -r first arrow second _; do
    case "$first" in
      /*) [ -e "$root$first" ] || { mkdir -p "$root$(dirname "$first")" && cp -L "$first" "$root$first"; } ;;
      *)
        [ "$arrow" = "=>" ] && [ -f "$second" ] || continue
        [ -e "$root/usr/lib/$first" ] || cp -L "$second" "$root/usr/lib/$first"
        ;;
    esac
  done
}

take_from_host() {  # $1: python3.11
  { read -r program; read -r library; } <<FACTS
$(facts "$1")
FACTS
  sh "$here/../busybox/rootfs.sh" | tar -C "$root" -xf -
  rm "$root/usr/bin"
  mkdir -p "$root/usr/bin" "$root/usr/lib" "$root/usr/local/bin" "$root/usr/local/lib/python3.11"
  for applet in "$root"/bin/*; do ln -s "../../bin/busybox" "$root/usr/bin/${applet##*/}"; done
  cp "$program" "$root/usr/local/bin/python3.11"
  ln -s python3.11 "$root/usr/local/bin/python3"
  ln -s python3.11 "$root/usr/local/bin/python"
  tar -C "$library" --exclude=__pycache__ --exclude=./site-packages --exclude=./dist-packages --exclude='./config-*' \
    --exclude=test --exclude=tests --exclude=./idlelib --exclude=./tkinter --exclude=./turtledemo --exclude=./ensurepip \
    --exclude=./EXTERNALLY-MANAGED --exclude='_tkinter*.so' --exclude='_test*.so' --exclude='*.a' -chf - . \
    | tar -C "$root/usr/local/lib/python3.11" -xf -
  copy_library "$program"
  find "$root/usr/local/lib/python3.11/lib-dynload" -name '*.so' | while read -r module; do copy_library "$module"; done
  PATH=$PATH:/usr/sbin:/sbin ldconfig -r "$root" 2>/dev/null
  # A read-only root can not cache bytecode: compiled here, python starts 40 ms sooner.
  "$1" -I -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$root" -p / "$root/usr/local/lib/python3.11" >&2 || true
}

take_from_debian() {
  [ "$(id -u)" -eq 0 ] && command -v debootstrap >/dev/null 2>&1 || return 1
  debootstrap --variant=minbase --include=python3.11 bookworm "$root" >&2 || return 1
  ln -sf python3.11 "$root/usr/bin/python3"
  ln -sf python3.11 "$root/usr/bin/python"
  rm -rf "$root/var/cache/apt/archives" "$root/var/lib/apt/lists" "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/locale"
}

if python=$(find_python); then
  take_from_host "$python"
else
  take_from_debian || { echo "no Python 3.11 here and no debootstrap (as root) to fetch one" >&2; exit 1; }
fi
mkdir -p "$root/input" "$root/output"
tar -C "$root" --owner=0 --group=0 --numeric-owner --sort=name -cf - .
