"""The one version of package, API and CLI."""

from typing import Final

VERSION: Final = "0.1.0"
API_VERSION: Final = "v1"
