#!/bin/sh
# Makes .venv hold exactly what requirements.lock says, and the project itself; does nothing when it already does.
# Exit 3: it can not be had here, and one sentence says why and what to do.
set -eu
cd "$(dirname "$0")/.."

stamp=.venv/.installed
private=build/.uv # uv of our own, where the machine has none

say() { echo "setup: $*" >&2; }
refuse() { say "$*"; exit 3; }

wanted=$(cat requirements.lock pyproject.toml .ci/setup.sh | cksum)
[ -x .venv/bin/python ] && [ "$(cat $stamp 2>/dev/null || true)" = "$wanted" ] && exit 0

find_python() {
  for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
    [ -n "$candidate" ] || continue
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue
    command -v "$candidate"
    return
  done
  return 1
}

# A directory of its own needs no virtual environment, no root, and no leave of an externally managed Python.
export PIP_ROOT_USER_ACTION=ignore
pip_uv() { "$python" -m pip install --quiet --disable-pip-version-check --upgrade --target "$private" 'uv>=0.8,<1' >&2; }

get_uv() {
  for candidate in uv "$private/bin/uv"; do
    if "$candidate" --version >/dev/null 2>&1; then echo "$candidate"; return; fi
  done
  if ! "$python" -m pip --version >/dev/null 2>&1; then
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1 \
      || refuse "pip is needed once, to fetch uv: install it ('sudo apt install python3-pip'), or put uv on the PATH."
    say "installing pip from Debian's packages"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-pip; } \
      >build/apt.log 2>&1 </dev/null || refuse "apt-get could not install python3-pip (see build/apt.log): put uv on the PATH."
  fi
  say "fetching uv"
  pip_uv || refuse "pip could not fetch uv: is a package index reachable?"
  echo "$private/bin/uv"
}

python=$(find_python) || refuse "Python 3.11 or newer is needed: install it ('sudo apt install python3' on Debian 12)."
mkdir -p build
uv=$(get_uv)

[ -w "${HOME:-/nonexistent}" ] || export UV_CACHE_DIR=build/.uv-cache
[ -f /etc/ssl/certs/ca-certificates.crt ] && export UV_NATIVE_TLS=1 # certificates that the machine trusts
unset VIRTUAL_ENV CONDA_PREFIX

say "installing the locked dependencies into .venv"
[ -x .venv/bin/python ] || "$uv" venv --quiet --clear --python "$python" .venv
"$uv" pip sync --quiet --compile-bytecode --python .venv/bin/python --require-hashes requirements.lock
"$uv" pip install --quiet --python .venv/bin/python --no-deps --editable .
echo "$wanted" >$stamp
