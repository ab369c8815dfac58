#!/bin/sh
# Makes a Docker Engine available: done when one answers, else installed from Debian's packages and started.
# Exit 0: it answers. Exit 3: it can not be had here, and one sentence says why and what to do.
set -eu
cd "$(dirname "$0")/.."

socket=/var/run/docker.sock
log=build/dockerd.log
pidfile=/var/run/docker.pid

say() { echo "engine: $*" >&2; }
refuse() { say "$*"; exit 3; }

python() {
  for candidate in .venv/bin/python python3; do
    if command -v "$candidate" >/dev/null 2>&1; then "$candidate" "$@"; return; fi
  done
  refuse "Python 3 is needed to ask the engine: run 'make setup' first."
}

# Prints nothing; 0: answers, 1: nobody there, 2: not allowed.
answers() {
  python - "$socket" <<'PY' 2>/dev/null
import socket, sys
talk = socket.socket(socket.AF_UNIX)
talk.settimeout(5)
try:
    talk.connect(sys.argv[1])
    talk.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
    answer = talk.recv(64)
except PermissionError:
    sys.exit(2)
except OSError:
    sys.exit(1)
sys.exit(0 if b" 200 " in answer else 1)
PY
}

wait_until_it_answers() {  # $1: seconds
  tenths=$(($1 * 10))
  while [ "$tenths" -gt 0 ]; do
    if answers; then return 0; fi
    sleep 0.1
    tenths=$((tenths - 1))
  done
  return 1
}

install_engine() {
  command -v apt-get >/dev/null 2>&1 || refuse "No Docker Engine here and no apt-get to install one: install Docker Engine and start it."
  say "installing Docker Engine from Debian's packages"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends docker.io iptables nftables ca-certificates; } \
    >"$log.install" 2>&1 </dev/null || refuse "apt-get could not install docker.io (see $log.install): install Docker Engine and start it."
}

# Workloads that may connect to the internet are held to their policy by nft; without it none is let out.
install_nft() {
  [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1 && ! command -v nft >/dev/null 2>&1 || return 0
  say "installing nftables from Debian's packages"
  mkdir -p build
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nftables; } \
    >"$log.install" 2>&1 </dev/null || say "apt-get could not install nftables (see $log.install): workloads get no network."
}

# A pid file outlives a power cut or a kill; its number may belong to somebody else or to a zombie (which has no
# program) by now, and then dockerd refuses to start.
drop_stale_pidfiles() {
  for file in "$pidfile" /var/run/docker/containerd/containerd.pid; do
    [ -f "$file" ] || continue
    case "$(readlink "/proc/$(cat "$file")/exe" 2>/dev/null || true)" in
      */dockerd* | */containerd*) ;;
      *) rm -f "$file" ;;
    esac
  done
}

# cgroups are mounted by the service manager; where none runs, by us.
mount_cgroups() {
  [ -d /sys/fs/cgroup ] || return 0
  if ! grep -q ' /sys/fs/cgroup' /proc/mounts; then
    mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null || true
  fi
}

start_daemon() {  # arguments go to dockerd; nothing is inherited from make, so that make can end
  setsid dockerd --host "unix://$socket" --pidfile "$pidfile" "$@" >>"$log" 2>&1 </dev/null &
}

start_engine() {
  if [ -d /run/systemd/system ]; then
    systemctl enable --now docker >>"$log" 2>&1 </dev/null || true
    wait_until_it_answers 30 && return 0
    refuse "systemd could not start docker: see 'journalctl -u docker'."
  fi
  if [ -d /run/openrc ] && command -v rc-service >/dev/null 2>&1; then
    rc-service docker start >>"$log" 2>&1 </dev/null || true
    wait_until_it_answers 30 && return 0
  fi
  drop_stale_pidfiles
  mount_cgroups
  say "starting dockerd (its log: $log)"
  : >"$log"
  start_daemon
  wait_until_it_answers 30 && return 0
  # A kernel without packet filters can still run containers that have no network, and ours have none.
  drop_stale_pidfiles
  start_daemon --iptables=false --bridge=none
  wait_until_it_answers 30 || refuse "dockerd does not start: the last lines of $log say why: $(tail -n 2 "$log" | tr '\n' ' ')"
}

case "${DOCKER_HOST:-}" in
  "") ;;
  unix://*) socket=${DOCKER_HOST#unix://} ;;
  *) exit 0 ;;  # a remote engine is its owner's to start
esac

code=0
answers || code=$?
[ "$code" -eq 0 ] && { install_nft; exit 0; }
[ "$code" -eq 2 ] && refuse "$socket is not open to $(id -un): add the user to the group docker, or run as root."
[ "$(id -u)" -eq 0 ] || refuse "No Docker Engine answers on $socket: start it ('sudo systemctl start docker'), or install it ('sudo apt install docker.io')."

mkdir -p build
if ! command -v dockerd >/dev/null 2>&1; then
  install_engine
  wait_until_it_answers 3 && exit 0  # the package's own script may have started it
fi
install_nft
start_engine
