"""The page at /device, where a person lets in the device that shows a code (RFC 8628, 3.3).

It keeps its token in memory and sends it in a header, so that no other site can act with it; nobody may frame it.
"""

from pathlib import Path
from typing import Final

from litestar import Response, get
from litestar.enums import MediaType

from node.api.auth import known_or_not
from node.api.policy import hash_of

PAGE: Final = Path(__file__).with_name("device.html").read_text()
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        f"script-src {hash_of(PAGE, 'script')}",
        f"style-src {hash_of(PAGE, 'style')}",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@get("/device", guards=[known_or_not], include_in_schema=False)
async def show_device_page() -> Response[str]:
    """The same page for everybody; what it shows it asks the API for."""
    return Response(content=PAGE, media_type=MediaType.HTML, headers=HEADERS)
