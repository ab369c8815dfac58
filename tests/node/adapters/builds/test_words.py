"""The engine's words as lines, steps and reasons."""

from node.adapters.builds.dockerfile import Step
from node.adapters.builds.words import LOG_LIMIT, Told, Words
from node.ports import LogLine

STEPS = (Step("FROM busybox", "FROM sha256:b"), Step("", "LABEL a=b"), Step("RUN make", "RUN make"))


def heard() -> tuple[Told, list[LogLine]]:
    lines: list[LogLine] = []
    return Told(lines.append, lambda: 5), lines


def said(*texts: str, problem: str = "") -> tuple[Words, Told, list[tuple[str, str]]]:
    told, lines = heard()
    words = Words(told, STEPS)
    for text in texts:
        words.take({"stream": text})
    if problem:
        words.take({"errorDetail": {"code": 2, "message": problem}, "error": problem})
    words.flush()
    return words, told, [(line.stream, line.text) for line in lines]


STARTED = ("Step 1/3 : FROM sha256:b", "\n", " ---> abbd1e1ae942\n", "Step 2/3 : LABEL a=b", "\n")


def test_steps_begin_by_the_authors_words_and_ours_are_not_shown() -> None:
    noise = (
        " ---> Running in 3359ae66172a\n",
        "Removing intermediate container 3359ae66172a\n",
        " ---> 9651f2081762\n",
    )
    _, _, lines = said(
        *STARTED, *noise, "Step 3/3 : RUN make", "\n", "hi\n\nth", "ere\n", "Successfully built a13c87fca7ac\n"
    )
    assert lines == [
        ("build", "step 1 begins: FROM busybox"),
        ("build", "step 1 done"),
        ("build", "step 2 begins: RUN make"),
        ("stdout", "hi"),
        ("stdout", ""),
        ("stdout", "there"),
    ]


def test_what_comes_in_red_is_stderr() -> None:
    _, _, lines = said("\x1b[91merr\n\x1b[0m", "out without end")
    assert lines == [("stderr", "err"), ("stdout", "out without end")]


def test_a_command_can_not_make_steps_but_the_next_one() -> None:
    _, _, lines = said("Step 3/3 : RUN make", "Step 1/9 : x", "step 7 done\n")
    assert {stream for stream, _ in lines} == {"stdout"}


def test_a_failure_names_its_step_and_its_last_lines() -> None:
    problem = "The command '/bin/sh -c make' returned a non-zero code: 2"
    lines = "".join(f"line {number}\n" for number in range(100))
    words, told, _ = said(*STARTED, "Step 3/3 : RUN make", "\n", lines, problem=problem)
    assert (words.problem, words.exit_code) == (problem, 2)
    message = told.failure("it ended with exit code 2")
    assert message.startswith("step 2 (RUN make): it ended with exit code 2\n")
    assert message.endswith("line 98\nline 99")
    assert "line 50\n" not in message


def test_a_failure_fits_into_a_receipt_whatever_was_written() -> None:
    told, _ = heard()
    told.begin("RUN " + "x" * 5000)
    for _ in range(50):
        told.line("stdout", "\U0001f680" * 5000)
    assert len(told.failure("y" * 5000)) <= 1024


def test_the_log_is_bounded_and_says_so() -> None:
    told, lines = heard()
    for _ in range(LOG_LIMIT // 10_000 + 10):
        told.line("stdout", "x" * 10_000)
    assert sum(len(line.text) for line in lines) <= LOG_LIMIT
    assert "log limit" in lines[-1].text


def test_the_last_image_is_the_result() -> None:
    words, _, _ = said()
    for id in ("sha256:1", "sha256:2"):
        words.take({"aux": {"ID": id}})
    assert words.image == "sha256:2"
