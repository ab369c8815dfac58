"""Dockerfiles of strangers: what reaches the engine is our own text, and names nothing that was not looked up."""

import pytest

from node.adapters.builds.dockerfile import images_in, read_dockerfile, steps_of
from node.adapters.builds.refusals import Refusal

IDS = {"busybox": "sha256:b", "alpine:3": "sha256:a", "tool/x:1": "sha256:t"}
HEAD = "FROM busybox\n"


def lines(text: str, labels: str = "") -> list[str]:
    return [step.line for step in steps_of(read_dockerfile(text.encode()), IDS, labels)]


def test_images_are_named_by_their_ids_and_stages_by_their_names() -> None:
    text = (
        "ARG BASE=alpine:3\nFROM ${BASE} AS Build\nRUN make\nFROM --platform=linux/amd64 busybox\n"
        "COPY --from=build /a /a\nCOPY --from=0 --chown=1:1 /b /b\nCOPY --from=tool/x:1 /c /c\nFROM build\n"
    )
    assert lines(text) == [
        "ARG BASE=alpine:3",
        "FROM sha256:a AS build",
        "RUN make",
        "FROM sha256:b",
        "COPY --from=build /a /a",
        "COPY --from=0 --chown=1:1 /b /b",
        "COPY --from=sha256:t /c /c",
        "FROM build",
    ]
    assert images_in(read_dockerfile(text.encode())) == ("alpine:3", "busybox", "tool/x:1")


def test_every_stage_begins_with_our_labels_which_are_no_steps_of_the_author() -> None:
    steps = steps_of(read_dockerfile(b"FROM busybox\nRUN a\nFROM scratch\n"), IDS, '"x"="y"')
    assert [step.line for step in steps] == [
        "FROM sha256:b", 'LABEL "x"="y"', "RUN a", "FROM scratch", 'LABEL "x"="y"'
    ]  # fmt: skip
    assert [step.name for step in steps] == ["FROM busybox", "", "RUN a", "FROM scratch", ""]


def test_continuations_comments_and_blank_lines_become_one_line_an_instruction() -> None:
    text = "\ufeff# syntax=evil/frontend\n\nFROM busybox\r\nRUN a \\\n  # not this\n\n  && b \\  \n  && c\n  env A=1\n"
    assert lines(text) == ["FROM sha256:b", "RUN a   && b   && c", "ENV A=1"]


@pytest.mark.parametrize(
    ("variables", "image"),
    [("ARG A=alpine\nARG B=${A}:3\n", "$B"), ("", "${X:-alpine:3}"), ('ARG A="alpine:3"\n', "${A}")],
)
def test_variables_before_the_first_image_are_known_there(variables: str, image: str) -> None:
    assert lines(f"{variables}FROM {image}\n")[-1] == "FROM sha256:a"


@pytest.mark.parametrize(
    "instruction",
    [
        *("ADD http://169.254.169.254/latest /x", "ADD https://example.org/x /x", 'ADD ["http://10.0.0.1/", "/x"]'),
        *("ADD $WHERE /x", "ADD ${A}${B} /x", 'ADD "http"://x /y', "ADD ht\\tp://x /y", "ADD [ http://x /y ]"),
        *('ADD ["http\\u003a//x", "/y"]', "ADD --chown=1 http://x /y", "ADD git@example.org:x/y /x"),
        *("COPY --fr\\om=secret / /", 'COPY --from="secret" / /', "COPY --from=$A / /", "COPY --link --from=x / /"),
        *("ADD --from=secret / /", "ADD --keep-git-dir=true . /", "COPY --mount=x / /"),
        *("ONBUILD ADD http://x /y", "ONBUILD COPY --from=secret / /", "ONBUILD RUN true"),
        *("FROM", "FROM a b", "FROM a AS", "FROM a AS 1", "FROM a AS b c", "INCLUDE x", "RUN", "R\u00dcN x"),
        *("RUN <<EOF", "COPY <<EOF /x", "RUN cat <<'EOF'", "RUN 3<<X", "COPY <<-a <<b /"),
        *("WORKDIR /proc/self/fd/8", 'WORKDIR "/sys"', "WORKDIR //dev/x", "RUN a\x1bb", "RUN a\u2028FROM b"),
    ],
)
def test_what_leads_out_of_the_build_is_refused(instruction: str) -> None:
    with pytest.raises(Refusal):
        lines(HEAD + instruction + "\n")


@pytest.mark.parametrize(
    "instruction",
    [
        *("RUN test 1 -lt $((1 << 2))", "RUN cat <<< x", "ADD . /app", "ADD a.tar.gz b/* /x/", 'COPY ["a b", "/c"]'),
        *('CMD ["a"]', "ENV A=http://x", "LABEL a=b", "HEALTHCHECK --interval=5s CMD true", "WORKDIR /srv/process"),
    ],
)
def test_what_stays_inside_passes_as_it_is(instruction: str) -> None:
    assert lines(HEAD + instruction + "\n")[-1] == instruction


@pytest.mark.parametrize(
    "text",
    [
        *("", "# nothing\n", "RUN a\n", "ARG A\n", "# escape=`\nFROM busybox\n", "#  Escape = `\nFROM busybox\n"),
        *(HEAD + "RUN a\n" * 300, HEAD + "#" + "x" * 300_000),
    ],
)
def test_what_is_no_dockerfile_is_refused(text: str) -> None:
    with pytest.raises(Refusal):
        lines(text)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(Refusal, match="UTF-8"):
        read_dockerfile(b"FROM busybox\nRUN \xff\n")


def test_an_open_line_at_the_end_takes_nothing_with_it() -> None:
    assert lines(HEAD + "RUN a \\\n") == ["FROM sha256:b", "RUN a"]
