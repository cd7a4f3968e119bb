"""The event log: all are counted, as many are written as a person can use."""

from __future__ import annotations

import json
from typing import Any

import pytest

from maitred.broker.core.effects import Note
from maitred.broker.events import EventLog, make_logger


class Lines:
    """Stands for a logger; keeps what was written."""

    def __init__(self) -> None:
        self.written: list[tuple[str, str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.written.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.written.append(("warning", event, fields))


def test_what_peers_decide_the_number_of_is_written_once_a_second_with_a_count() -> None:
    lines, now = Lines(), [0.0]
    log = EventLog(lines, clock=lambda: now[0])
    for _ in range(100):
        log(Note("protocol.error", {"reason": "x"}))
    now[0] = 1.0
    log(Note("protocol.error", {"reason": "y"}))
    log(Note("protocol.error", {"reason": "z"}))
    assert log.counts["protocol.error"] == 102
    assert lines.written == [
        ("warning", "protocol.error", {"reason": "x"}),
        ("warning", "protocol.error", {"reason": "y", "left_out": 99}),
    ]


def test_a_flood_of_one_kind_hides_none_of_another() -> None:
    lines = Lines()
    log = EventLog(lines, clock=lambda: 5.0)
    log(Note("protocol.error", {}))
    log(Note("pool.saturated", {}))
    for _ in range(3):
        log(Note("worker.died", {}))
        log(Note("worker.started", {}))
    assert [line[:2] for line in lines.written] == [
        ("warning", "protocol.error"),
        ("warning", "pool.saturated"),
        *[("warning", "worker.died"), ("info", "worker.started")] * 3,
    ]


def test_a_note_is_left_as_it_was() -> None:
    note = Note("protocol.error", {"reason": "x"})
    now = [0.0]
    log = EventLog(Lines(), clock=lambda: now[0])
    log(note)
    log(note)
    now[0] = 2.0
    log(note)
    assert note.fields == {"reason": "x"}


def test_json_is_one_object_a_line_and_below_the_level_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    logger = make_logger("warning", "json")
    logger.info("worker.started", pool="general")
    logger.warning("worker.died", pool="general", cause="signal SIGKILL")
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["level"], line["cause"]) == ("worker.died", "warning", "signal SIGKILL")


def test_what_a_peer_writes_moves_no_cursor_and_begins_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    log = EventLog(make_logger("info", "text"))
    for software in ("\x1b[2J", "\x9b2J", "a\u2028b", "a\nb", "a b\r\x1b"):
        log(Note("worker.started", {"software": software}))
    written = capsys.readouterr().err
    assert written.count("\n") == len(written.splitlines()) == 5
    assert written.replace("\n", "").isprintable()


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_traceback_says_where_and_not_what_the_variables_held(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fail_with(_secret: str) -> None:
        raise ValueError("told by a peer: \x1b[2J")

    try:
        fail_with("hunter" + "2")
    except ValueError:
        make_logger("info", style).error("crash", exc_info=True)
    said = capsys.readouterr().err
    assert "fail_with" in said
    assert "told by a peer" in said
    assert "hunter2" not in said
    assert "\x1b[2J" not in said
