"""What our own pages may do: they are one file each, and the hash of what they hold is all that runs."""

import base64
import hashlib
import re


def hash_of(page: str, tag: str) -> str:
    """The source of a content policy that allows the page's own `<script>` or `<style>`, and no other."""
    found = re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    digest = hashlib.sha256((found[1] if found else "").encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
