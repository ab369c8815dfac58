"""How a build ends that its repository or its Dockerfile is the reason for."""


class Refusal(Exception):
    """The build can not be done, with a sentence for its owner; `code` is one of `market.builds.CODES`."""

    def __init__(self, message: str, code: str = "BUILD_FAILED", exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.exit_code = exit_code
