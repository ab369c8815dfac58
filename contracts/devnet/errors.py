"""What the devnet answers when it refuses: JSON-RPC errors (https://www.jsonrpc.org/specification, section 5.1)."""


class Refused(Exception):
    """A JSON-RPC error: `code` as clients expect it, `data` as 0x-hex where there is any."""

    def __init__(self, message: str, code: int = -32000, data: str | None = None) -> None:
        super().__init__(message)
        self.message, self.code, self.data = message, code, data


class Reverted(Refused):
    """The call reverted; code 3 and the revert data, as geth answers it."""

    def __init__(self, reason: str, data: bytes) -> None:
        super().__init__(f"execution reverted: {reason}" if reason else "execution reverted", 3, "0x" + data.hex())
