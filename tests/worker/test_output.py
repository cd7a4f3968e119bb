"""What a worker prints, and what is kept of it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator

import pytest
import trio

from maitred.worker.output import MAX_LINE_BYTES, TAIL_BYTES, Output
from maitred.worker.started_page import StartedPage


@pytest.fixture
def output() -> Iterator[Output]:
    made = Output("[general 1]")
    yield made
    made.close()


def say(output: Output, text: bytes) -> None:
    os.write(output.descriptor_of_child, text)
    output.read()


def test_lines_are_passed_on_with_their_label(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    say(output, b"one\ntwo\r\n\nthr")
    say(output, b"ee\n")
    assert capsys.readouterr().err == "[general 1] one\n[general 1] two\n[general 1] \n[general 1] three\n"
    output.handed_over()


def test_a_line_names_the_request_that_runs_where_exactly_one_does(capsys: pytest.CaptureFixture[str]) -> None:
    page = StartedPage(4)
    output = Output("[general]", page.running)
    output.label = "[general 4711]"
    client = bytes.fromhex("1a2b3c4d") + bytes(12)
    say(output, b"idle\n")
    first = page.begin(client, 7, 0.0)
    say(output, b"one\ntwo\nthr")
    page.begin(client, 8, 0.0)
    say(output, b"ee\n")
    page.end(first)
    output.handed_over()
    assert capsys.readouterr().err.splitlines() == [
        "[general 4711] idle",
        "[general 4711 1a2b3c4d-7] one",
        "[general 4711 1a2b3c4d-7] two",
        "[general 4711] three",
    ]
    assert output.last_words() == "idle\none\ntwo\nthree"
    output.close()
    page.close()


def test_the_last_line_of_a_dead_one_names_what_it_died_of(capsys: pytest.CaptureFixture[str]) -> None:
    page = StartedPage(4)
    output = Output("[general 1]", page.running)
    page.begin(bytes([255]) * 16, 2**63 - 1, 0.0)
    os.write(output.descriptor_of_child, b"Fatal Python error")
    output.handed_over()
    output.finish()
    assert capsys.readouterr().err == f"[general 1 ffffffff-{2**63 - 1}] Fatal Python error\n"
    assert output.last_words() == "Fatal Python error"
    output.close()
    page.close()


def test_a_character_in_two_portions_stays_whole(output: Output) -> None:
    half = "é".encode()
    say(output, b"caf" + half[:1])
    say(output, half[1:] + b"\n")
    assert output.last_words() == "café"
    output.handed_over()


def test_the_last_words_are_the_last_ones(output: Output) -> None:
    for number in range(2000):
        say(output, b"line %d\n" % number)
    os.write(output.descriptor_of_child, b"and then it br")
    output.handed_over()
    output.finish()
    words = output.last_words()
    assert len(words.encode()) <= TAIL_BYTES
    assert words.endswith("line 1999\nand then it br")
    assert not output.read()


def test_a_line_without_end_is_bounded(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(5):
        say(output, b"x" * (MAX_LINE_BYTES // 2))
    assert len(capsys.readouterr().err) > MAX_LINE_BYTES
    assert output.last_words() == "x" * TAIL_BYTES
    output.handed_over()


def test_what_is_no_text_is_shown_all_the_same(output: Output) -> None:
    say(output, b"\xff\xfe ok\n")
    assert output.last_words().endswith("ok")
    output.handed_over()


def test_somebody_who_prints_without_end_holds_nobody_up(output: Output) -> None:
    """Not the agent amid its life, nor at a death, when a process that was left behind goes on printing."""
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            os.write(output.descriptor_of_child, b"y\n" * 100)

    flooder = threading.Thread(target=flood)

    async def look_after_it() -> int:
        turns = 0
        with trio.move_on_after(0.1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(output.relay)
                while True:
                    await trio.lowlevel.checkpoint()
                    turns += 1
        output.finish()
        return turns

    with open(os.devnull, "w") as nowhere, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", nowhere)
        flooder.start()
        try:
            assert trio.run(look_after_it)
        finally:
            stop.set()
            os.set_blocking(output.descriptor_of_child, False)
            while flooder.is_alive():
                output.read()
            flooder.join()
    output.handed_over()


def test_an_agent_whose_own_standard_error_is_gone_goes_on(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", buffering=1) as broken:
        monkeypatch.setattr(sys, "stderr", broken)
        say(output, b"still here\n")
        monkeypatch.undo()
        assert output.last_words() == "still here"
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, writing)
        os.close(nowhere)
    output.handed_over()
