"""The agent as a plain process: its protocol, its limits, and what it clears away. It is root in no container here."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.adapters.sandboxes.profile import AGENT

ENV = {"PATH": "/usr/bin:/bin"}


class Talk:
    def __init__(self, scratch: Path, lifetime: float = 60) -> None:
        command = [sys.executable, "-I", "-S", "-c", AGENT, str(scratch), str(lifetime)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.code = scratch / "box" / "code"

    def listen(self, nonce: str = "") -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline().decode()
        assert line.startswith(nonce + "{"), line
        word: dict[str, Any] = json.loads(line.removeprefix(nonce))
        return word

    def say(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin
        body = json.dumps({"env": ENV, "seconds": 60, "output": 1000, "stdin": ""} | order).encode()
        self.process.stdin.write(str(len(body)).encode() + b"\n" + body)
        self.process.stdin.flush()
        return self.listen("n0nce")

    def prepare(self, code: str = "", *command: str) -> dict[str, Any]:
        assert self.listen()["ready"]
        return self.say({"nonce": "n0nce", "file": "main.sh", "code": code, "command": command})

    def run(self, script: str, **order: Any) -> dict[str, Any]:
        return self.say({"command": ["sh", "-c", script], **order})


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Talk]:
    talk = Talk(tmp_path)
    yield talk
    assert talk.process.stdin
    assert talk.process.stdout
    talk.process.stdin.close()
    assert talk.process.wait(60) == 0
    talk.process.stdout.close()


def test_code_without_a_compiler_is_only_written(talk: Talk) -> None:
    assert talk.prepare("echo 'höi'\r\n") == {"skipped": True}
    assert (talk.code / "main.sh").read_bytes() == "echo 'höi'\r\n".encode()
    assert talk.run(f"sh {talk.code}/main.sh")["stdout"] == "höi\r\n"


def test_a_compiler_runs_beside_the_source(talk: Talk) -> None:
    ended = talk.prepare("text", "sh", "-c", "cat main.sh; echo bad >&2; exit 4")
    assert (ended["code"], ended["stdout"], ended["stderr"]) == (4, "text", "bad\n")


def test_input_arrives_whole_and_its_end_is_seen(talk: Talk) -> None:
    talk.prepare()
    assert talk.run("wc -c", stdin="x" * 300_000)["stdout"].strip() == "300000"
    assert talk.run("exec <&-; echo closed", stdin="x" * 300_000)["stdout"] == "closed\n"
    assert talk.run("cat")["stdout"] == ""


def test_each_stream_is_kept_up_to_its_limit(talk: Talk) -> None:
    talk.prepare()
    ended = talk.run("head -c 200000 /dev/zero; printf 12345 >&2", output=5)
    assert (ended["stdout"], ended["stderr"], ended["cut"]) == ("\0" * 5, "12345", [True, False])


def test_time_is_limited_and_the_whole_group_dies(talk: Talk) -> None:
    talk.prepare()
    ended = talk.run("echo begun; sleep 600 & sleep 600", seconds=2)
    assert (ended["code"], ended["stdout"]) == (None, "begun\n")
    assert 1990 < ended["milliseconds"] < 100_000


def test_a_signal_is_told_as_a_negative_code(talk: Talk) -> None:
    talk.prepare()
    assert talk.run("kill -SEGV $$")["code"] == -11


def test_a_program_that_can_not_be_started_is_a_fault_and_no_exit_code(talk: Talk) -> None:
    talk.prepare()
    ended = talk.say({"command": ["/nowhere/python"]})
    assert "FileNotFoundError" in ended["fault"]
    assert talk.run("exit 127")["fault"] == ""


def test_every_run_begins_in_an_empty_folder_with_its_own_environment(talk: Talk) -> None:
    talk.prepare()
    for _ in range(3):
        assert talk.run("ls -A; echo $SECRET; mkdir -p a/b/c; touch a/b/c/d x; ln -s / l; chmod 0 a")["stdout"] == "\n"
    assert talk.run("echo $SECRET", env={**ENV, "SECRET": "s"})["stdout"] == "s\n"


def test_output_that_is_no_text_is_replaced(talk: Talk) -> None:
    talk.prepare()
    assert talk.run(r"printf 'a\377b\n'")["stdout"] == "a�b\n"


def test_an_agent_without_a_host_ends_by_itself(tmp_path: Path) -> None:
    talk = Talk(tmp_path, lifetime=0.1)
    assert talk.listen()["ready"]
    assert talk.process.wait(60) == 0
    assert talk.process.stdin
    assert talk.process.stdout
    talk.process.stdin.close()
    talk.process.stdout.close()
