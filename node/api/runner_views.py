"""What the API answers about code: the documented envelope of the runner, and its fields."""

from node.api.views import Pagination, View


class SubmittedData(View, frozen=True, kw_only=True):
    """The id of the run, and how it stands."""

    job_id: str
    status: str


class Submitted(View, frozen=True, kw_only=True):
    """The answer to a submission."""

    success: bool = True
    data: SubmittedData


class RunView(View, frozen=True, kw_only=True):
    """What came of one input."""

    stdout: str
    stderr: str
    exit_code: int
    execution_time_ms: int
    error_type: str | None
    error_message: str


class ResultData(View, frozen=True, kw_only=True):
    """A run; times in ms, `runs` has one entry for each input.

    The total is what it waited, its way to the provider included, and what it executed, the compiler included.
    `sandbox_error_type` is null, TLE, MLE, CompilationError, RuntimeError, SandboxError or InternalError.
    """

    job_id: str
    status: str
    language: str
    stdout: str
    stderr: str
    execution_time_ms: int
    queue_time_ms: int
    total_time_ms: int
    compile_time_ms: int
    exit_code: int | None
    sandbox_error_type: str | None
    sandbox_error_message: str
    queued_at: str | None
    started_at: str | None
    finished_at: str | None
    runs: tuple[RunView, ...]


class RunnerResult(View, frozen=True, kw_only=True):
    """The documented envelope."""

    code: int = 200
    success: bool = True
    message: str = "job result fetched successfully"
    data: ResultData


class LanguageView(View, frozen=True, kw_only=True):
    """A language, and how many providers run it."""

    name: str
    providers: int


class LanguageList(View, frozen=True, kw_only=True):
    """A page of the languages that are offered."""

    languages: tuple[LanguageView, ...]
    pagination: Pagination
