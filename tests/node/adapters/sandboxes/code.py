"""Code in one line, and programs that say hello in every language."""

from itertools import count

from node.adapters.sandboxes.docker import DockerSandboxes
from node.ports import CodeResult, CodeRun, CodeSpec

_numbers = count(1)

ECHO = {
    "python": "import sys\nprint('hello ' + sys.stdin.read())",
    "javascript": "console.log('hello ' + require('fs').readFileSync(0, 'utf8'))",
    "cpp": """
#include <bits/stdc++.h>
int main() { std::string s; std::cin >> s; std::cout << "hello " << s << std::endl; }""",
    "java": """
import java.util.*;
public class Main {
    public static void main(String[] a) { System.out.println("hello " + new Scanner(System.in).next()); }
}""",
    "bash": "echo hello $(cat)",
    "ruby": "puts 'hello ' + STDIN.read",
    "perl": "print 'hello ' . <STDIN> . \"\\n\"",
    "lua": "print('hello ' .. io.read('a'))",
}


def some_code(language: str, code: str, *inputs: str) -> CodeSpec:
    return CodeSpec(id=f"cod_{next(_numbers):06}", language=language, code=code, inputs=inputs or ("",))


async def result(sandboxes: DockerSandboxes, language: str, code: str, *inputs: str) -> CodeResult:
    return await sandboxes.run(some_code(language, code, *inputs))


async def run(sandboxes: DockerSandboxes, language: str, code: str, stdin: str = "") -> CodeRun:
    """The only run of `code`."""
    (only,) = (await result(sandboxes, language, code, stdin)).runs
    return only


async def python(sandboxes: DockerSandboxes, code: str, stdin: str = "") -> CodeRun:
    return await run(sandboxes, "python", code, stdin)
