"""The command line: nouns and verbs over HTTP to a node, and the commands that run one.

Modules of the server, HTTP and tables are imported by the verbs that need them, so that `--help` is instant.
"""

import sys
import traceback
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from cli import (
    billing,
    code,
    consoles,
    databases,
    deployments,
    files,
    jobs,
    keys,
    login,
    market,
    nodes,
    projects,
    users,
    wallet,
    webhooks,
)
from cli.exits import FILE, INTERNAL, INTERRUPTED, USAGE, exit_code_of
from market.errors import NeugridError
from node.version import VERSION

app = App(
    name="neugrid",
    help="A node of a decentralized compute marketplace: run one, or talk to one.",
    version=VERSION,
    version_flags=["--version"],
    help_format="plaintext",
)
app.command(jobs.app)
app.command(deployments.app)
app.command(deployments.deploy)
app.command(files.app)
app.command(projects.app)
app.command(projects.build)
app.command(market.app)
app.command(market.providers)
app.command(wallet.app)
app.command(keys.app)
app.command(users.app)
app.command(billing.app)
app.command(webhooks.app)
app.command(login.login)
app.command(login.logout)
app.command(login.whoami)
app.command(databases.app)
app.command(code.run)
app.command(code.languages)
app.command(consoles.execute, name="exec")
app.command(consoles.copy, name="cp")
for verb in nodes.VERBS:
    app.command(verb)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; an error is one sentence on stderr."""
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return 0
    except Exception:  # noqa: BLE001  the last door: nobody may take our mistake for a failed job
        traceback.print_exc()
        return INTERNAL


def _run(arguments: Sequence[str] | None) -> int:
    try:
        result = app(arguments, exit_on_error=False, result_action="return_value")
    except CycloptsError:
        return USAGE
    except NeugridError as error:
        sys.stderr.write(f"neugrid: {error.message}\n")
        return exit_code_of(error)
    except BrokenPipeError:
        raise
    except OSError as error:
        sys.stderr.write(f"neugrid: {error}\n")
        return FILE
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(main())
