"""`maitred call` and `maitred map` against a running house: what is typed, what is printed, and what Ctrl-C does."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from terminal import Terminal
from user_shell import Shell, ended, wait_for

from maitred.testing import House, Pool, running

pytestmark = pytest.mark.slow

APP = f"{Path(__file__).parent / 'app.py'}:service"
GENERAL = "maitred.worker.adapters.general:service"


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with running(app=Pool(APP, size=2), general=Pool(GENERAL)) as house:
        yield house


@pytest.fixture
def shell(tmp_path: Path, house: House) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    shell.environment["MAITRED_ENDPOINT"] = house.clients
    yield shell
    shell.end()


@pytest.fixture
def terminal(shell: Shell) -> Iterator[Any]:
    opened: list[Terminal] = []

    def start(*words: str) -> Terminal:
        opened.append(Terminal(shell.environment, shell.directory, *words))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def is_quiet(house: House) -> bool:
    return all(row["state"] == "idle" for row in house.client.workers() if row["pool"] == "app")


# --- call ---


def test_arguments_come_from_the_line_a_pipe_or_a_file(shell: Shell) -> None:
    (shell.directory / "args.json").write_text('{"message": "from\\na file"}')
    for words, text, answer in (
        (['{"message": "typed"}'], None, "typed"),
        (["-"], '{"message":\n "piped"}\n', "piped"),
        (["@args.json"], None, "from\na file"),
    ):
        done = shell.maitred("call", "app", "echo", *words, text=text)
        assert (done.returncode, json.loads(done.stdout)) == (0, {"message": answer}), done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{message: hello}"], "quote it for the shell"),
        (["{message:", "hello}"], "these are 2: '{message: hello}'; quote it"),
        (["{'message': 'hello'}"], "quote it for the shell"),
        (["message=hello"], "quote it for the shell"),
        (['"hello"'], 'an object is {"message": "hello"}'),
        (["[1]"], "no JSON object"),
        (["@nothing.json"], "cannot be read from 'nothing.json'"),
        (["-"], "in standard input are no JSON object: Expecting value at line 2, column 1"),
    ],
)
def test_what_is_no_json_is_said_with_what_to_write(shell: Shell, words: list[str], said: str) -> None:
    done = shell.maitred("call", "app", "echo", *words, text="\n]")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_parts_are_lines_where_output_is_no_terminal(shell: Shell) -> None:
    done = shell.maitred("call", "general", "compute", '{"n": 3000000}', "--stream")
    *parts, result = lines(done.stdout)
    assert all("progress" in part for part in parts)
    assert result["primes"] == 216_816
    done = shell.maitred("call", "app", "count", '{"n": 3}', "--stream")
    assert (done.stdout, done.stderr) == ("0\n1\n2\n3\n", "")


def test_on_a_terminal_progress_is_a_bar_and_the_result_is_json(terminal: Any) -> None:
    it = terminal("call", "general", "compute", '{"n": 20000000}', "--stream")
    assert it.ended() == 0
    assert b"\r\x1b[K[" in it.raw, "there was no bar"
    assert '"primes": 1270607' in it.text()
    assert "progress" not in it.text()
    assert "[#" not in it.text(), "the bar is still there"
    it = terminal("call", "app", "count", '{"n": 3}', "--stream")
    assert it.ended() == 0
    assert it.text().split() == ["0", "1", "2", "3"]


@pytest.mark.parametrize("stream", [[], ["--stream"]], ids=["call", "stream"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_the_request_and_says_so(
    house: House, shell: Shell, number: signal.Signals, stream: list[str]
) -> None:
    call = shell.start("call", "app", "nap", '{"seconds": 25}', *stream)
    wait_for(lambda: not is_quiet(house))
    call.send_signal(number)
    code, errors = ended(call)
    assert code == 128 + number
    assert errors == "maitred: interrupted: the request is cancelled, and told to stop where it runs\n"
    wait_for(lambda: is_quiet(house), 5)


def test_exit_codes_and_options(shell: Shell) -> None:
    for words, code, said in (
        (["app", "nap", '{"seconds": 9}', "--timeout", "100ms"], 1, "DeadlineExceeded"),
        (["app", "fail", '{"text": "broken"}'], 1, "ValueError: broken"),
        (["app", "ecko"], 1, "did you mean 'echo'"),
        (["ap", "echo"], 1, "UnknownPool"),
        (["app", "echo", "--timeout", "soon"], 2, "--timeout"),
        (["app", "echo", "--timeout", "0s"], 2, "--timeout"),
        (["app", "echo", '{"message": "x"}', "--session", "mine"], 2, "32 hexadecimal digits"),
        (["app", "echo", '{"message": "x"}', "--session", "ab" * 16], 1, "SessionNotFound"),
        (["app", "echo", "--priority", "urgent"], 2, "urgent"),
        (["app"], 2, "COMMAND"),
    ):
        done = shell.maitred("call", *words)
        assert done.returncode == code, (words, done.stderr)
        assert said in done.stderr
        assert done.stdout == ""


# --- map ---


def objects(count: int) -> str:
    return "".join(f'{{"message": "{number}"}}\n' for number in range(count))


def test_results_are_in_the_lines_order(shell: Shell) -> None:
    done = shell.maitred("map", "app", "echo", text=objects(500))
    assert (done.returncode, done.stderr) == (0, "")
    assert [each["message"] for each in lines(done.stdout)] == [str(number) for number in range(500)]
    (shell.directory / "in.jsonl").write_text(objects(3))
    done = shell.maitred("map", "app", "echo", "in.jsonl")
    assert [each["message"] for each in lines(done.stdout)] == ["0", "1", "2"]
    assert shell.maitred("map", "app", "echo", text="").stdout == ""


def test_a_pipe_that_stands_still_holds_no_result_back(shell: Shell) -> None:
    process = shell.start("map", "app", "echo", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    for number in range(3):
        process.stdin.write(objects(1))
        process.stdin.flush()
        assert json.loads(process.stdout.readline()) == {"message": "0"}, number
    process.stdin.write('{"message": "the last has no end of line"}')
    process.stdin.close()
    process.stdin = None
    assert json.loads(process.stdout.readline()) == {"message": "the last has no end of line"}
    assert ended(process)[0] == 0


def test_ctrl_c_while_a_pipe_stands_still_is_no_crash(shell: Shell) -> None:
    process = shell.start("map", "app", "echo", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(objects(1))
    process.stdin.flush()
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    code, errors = ended(process)
    assert (code, errors.count("\n")) == (130, 1), errors


def test_lines_that_are_no_text_keep_their_places_too(shell: Shell) -> None:
    process = shell.start("map", "app", "echo", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.buffer.write(b'{"message": "\xff"}\n{"message": "good"}\n')
    process.stdin.close()
    process.stdin = None
    out, errors = process.communicate(timeout=20)
    assert [list(each) for each in lines(out)] == [["error"], ["message"]]
    assert "line 1: ValueError: no JSON object: " in errors


def test_failures_keep_their_places_and_the_others_go_on(shell: Shell) -> None:
    done = shell.maitred("map", "app", "echo", text='{"message": "a"}\nnonsense\n{"wrong": 1}\n[]\n{"message": "b"}\n')
    first, *failed, last = lines(done.stdout)
    assert (done.returncode, first, last) == (1, {"message": "a"}, {"message": "b"})
    assert [each["error"]["type"] for each in failed] == ["ValueError", "InvalidArgument", "ValueError"]
    assert "3 of 5 lines failed" in done.stderr
    assert "line 3: InvalidArgument: echo: " in done.stderr
    done = shell.maitred("map", "app", "fail", text='{"text": "x"}\n' * 30)
    assert done.returncode == 1
    assert "30 of 30 lines failed" in done.stderr
    assert "and 20 more" in done.stderr


def test_only_so_many_are_under_way(house: House, shell: Shell) -> None:
    (shell.directory / "in").write_text('{"seconds": 25}\n' * 5)
    process = shell.start("map", "app", "nap", "in", "--concurrency", "1")
    wait_for(lambda: house.client.requests())
    assert len(house.client.requests()) == 1
    process.send_signal(signal.SIGINT)
    code, errors = ended(process)
    assert (code, errors) == (
        130,
        "maitred: interrupted: what is under way is cancelled, and told to stop where it runs\n",
    )
    wait_for(lambda: is_quiet(house), 5)
    assert shell.maitred("map", "app", "echo", "in", "--concurrency", "0").returncode == 2
    assert shell.maitred("map", "app", "echo", "absent").returncode == 2


def test_a_bar_on_a_terminal_tells_how_far_it_is(shell: Shell, terminal: Any) -> None:
    (shell.directory / "in").write_text('{"seconds": 0.1}\n' * 20)
    it = terminal("map", "app", "nap", "in")
    it.when(lambda text: "of 20 done" in text)
    assert it.ended() == 0
    assert " of 20 done" not in it.text()
    it = terminal("map", "app", "nap", "in", "--quiet")
    assert it.ended() == 0
    assert b"done" not in it.raw
