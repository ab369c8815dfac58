"""The engine and the images of code, as the adapters' own tests have them."""

from tests.node.adapters.conftest import engine
from tests.node.adapters.sandboxes.conftest import images

__all__ = ["engine", "images"]
