"""What git is asked, in a container that has nothing but git; and what its words mean.

Only HTTPS to the one host, one commit deep; no hooks, no submodules, no filters (so no LFS), no settings of anybody, no
questions. What it wrote of itself is removed before anybody looks at the files.
"""

from typing import Final

from market.workloads import Source
from node.adapters.builds.hosts import Place
from node.adapters.builds.refusals import Refusal

FOLDER: Final = "checkout"
"""Where the files are, under /output."""
NO_SPACE: Final = "No space left on device"
SCRIPT: Final = """
set -eu
tries=0
until grep -q "0100007F:$(printf %04X "$REPO_PORT") 00000000:0000 0A" /proc/net/tcp; do
  tries=$((tries + 1))
  [ "$tries" -lt 600 ] || { echo 'there is no way to the repository' >&2; exit 75; }
  sleep 0.05
done
cat /etc/ssl/certs/ca-certificates.crt >/tmp/authorities.pem
[ -z "$REPO_AUTHORITIES" ] || printf '%s\\n' "$REPO_AUTHORITIES" >>/tmp/authorities.pem
git init -q /output/checkout
cd /output/checkout
fetch() {
  git -c protocol.allow=never -c protocol.https.allow=always -c http.followRedirects=initial \\
    -c http.sslCAInfo=/tmp/authorities.pem -c http.curloptResolve="$REPO_HOST:$REPO_PORT:127.0.0.1" \\
    -c http.lowSpeedLimit=1000 -c http.lowSpeedTime=60 -c core.hooksPath=/dev/null -c gc.auto=0 \\
    fetch -q --depth 1 --no-tags --no-recurse-submodules --no-write-fetch-head -- "$REPO_URL" "$1:refs/neugrid/wanted"
}
fetch "${REPO_REF:-HEAD}"
git -c core.hooksPath=/dev/null -c advice.detachedHead=false checkout -q refs/neugrid/wanted
git rev-parse refs/neugrid/wanted^0
rm -rf .git
"""


def command() -> tuple[str, ...]:
    """The command of the container."""
    return ("sh", "-c", SCRIPT)


def environment(source: Source, place: Place, authorities: str) -> dict[str, str]:
    """Its variables; `authorities` are certificates in PEM that are believed beside the usual ones."""
    return {
        "REPO_URL": source.url,
        "REPO_REF": source.ref,
        "REPO_HOST": place.host,
        "REPO_PORT": str(place.port),
        "REPO_AUTHORITIES": authorities,
        "GIT_ALLOW_PROTOCOL": "https",
        "GIT_ASKPASS": "/bin/false",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }


def refusal_of(code: int, reason: str, lines: list[str], is_exhausted: bool, limit: int) -> Refusal:
    """Why the clone failed, by how its container ended and by what git said."""
    if is_exhausted or any(NO_SPACE in line for line in lines):
        return Refusal(f"the repository is larger than {limit} bytes", "BUILD_TOO_LARGE")
    if reason == "timeout":
        return Refusal("cloning took too long", "CLONE_FAILED")
    if reason == "oom":
        return Refusal("git used more memory than was ordered", "OUT_OF_MEMORY")
    said = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1] if lines else "")
    return Refusal(f"the repository can not be cloned: {said or f'git ended with exit code {code}'}", "CLONE_FAILED")
