"""What `maitred top` shows and what its keys change, without a screen; and how it is drawn on screens of any size."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from maitred.cli.keyboard import decode
from maitred.cli.top_model import VIEWS, Model, Snapshot
from maitred.cli.top_view import draw, sparkline

BROKER = {"software": "maitred", "draining": False, "uptime": 61.0, "requests": 3, "clients": 1}


def pool(name: str, **more: Any) -> dict[str, Any]:
    row = {"name": name, "level": "ok", "available": 1, "busy": 1, "total": 2, "queued": 0, "completed": 0, "failed": 0}
    return row | {"refused": 0, "oldest_wait": 0.0, "degraded": None, "reason": None, "agents": 0, "least": 0} | more


def worker(name: str, **more: Any) -> dict[str, Any]:
    return {"id": "0a" * 16, "pool": name, "state": "idle", "pid": 7, "host": "ada", "rss": None, "requests": 1} | more


def snapshot(at: float, pools: list[dict[str, Any]], view: str = "p", rows: Any = None) -> Snapshot:
    return Snapshot(at, view, BROKER, pools, pools if rows is None else rows)


def names(model: Model) -> list[str]:
    return [row["name"] for row in model.shown()]


def press(model: Model, *keys: str) -> bool:
    return [model.press(key) for key in keys][-1]


def test_rates_are_of_what_was_answered_between_two_looks() -> None:
    model = Model()
    model.take(snapshot(10.0, [pool("a", completed=100)]))
    assert model.histories["a"].rate is None
    model.take(snapshot(12.0, [pool("a", completed=150, failed=10, queued=7)]))
    assert model.histories["a"].rate == 30.0
    assert list(model.histories["a"].queued) == [0, 7]
    model.take(snapshot(13.0, [pool("a", completed=1)]))
    assert model.histories["a"].rate == 30.0, "a broker that was restarted counts anew: nothing is known yet"
    model.take(snapshot(14.0, [pool("a", completed=3)]))
    assert model.histories["a"].rate == 2.0


def test_rows_are_sorted_filtered_and_turned_round() -> None:
    model = Model()
    model.take(snapshot(1.0, [pool("b", queued=1), pool("a", queued=9), pool("ab", queued=0)]))
    assert names(model) == ["b", "a", "ab"], "as the broker gives them"
    press(model, ">")
    assert (model.sort, names(model)) == ("name", ["a", "ab", "b"])
    press(model, ">")
    assert (model.sort, names(model)) == ("queued", ["a", "b", "ab"])
    press(model, "i")
    assert names(model) == ["ab", "b", "a"]
    press(model, "/", "a")
    assert names(model) == ["ab", "a"], "already while it is typed"
    press(model, "q", "backspace", "enter")
    assert (model.filter, model.typed, names(model)) == ("a", None, ["ab", "a"]), "q is a letter there"
    press(model, "escape")
    assert len(names(model)) == 3
    assert press(model, "q")


def test_what_has_no_value_comes_last() -> None:
    model = Model()
    press(model, "w", *">" * VIEWS["w"].sorts.index("rss"))
    rows = [worker("x"), worker("y", rss=5), worker("z", rss=9)]
    model.take(snapshot(1.0, [pool("x")], "w", rows))
    assert [row["rss"] for row in model.shown()] == [9, 5, None]


def test_a_view_shows_nothing_until_its_own_rows_came() -> None:
    model = Model()
    model.take(snapshot(1.0, [pool("a")]))
    press(model, "w")
    assert model.shown() == []
    model.take(snapshot(2.0, [pool("a")]))  # was under way when the key was pressed
    assert model.shown() == []
    model.take(snapshot(3.0, [pool("a")], "w", [worker("a")]))
    assert len(model.shown()) == 1


def test_paused_the_screen_stands_still_and_another_view_still_comes() -> None:
    model = Model()
    model.take(snapshot(1.0, [pool("a", queued=1)]))
    press(model, " ")
    model.take(snapshot(2.0, [pool("a", queued=2)]))
    assert model.shown()[0]["queued"] == 1
    press(model, "w")
    model.take(snapshot(3.0, [pool("a")], "w", [worker("a")]))
    assert len(model.shown()) == 1
    press(model, " ", "p")
    model.take(snapshot(4.0, [pool("a", queued=4)]))
    assert model.shown()[0]["queued"] == 4


def test_the_cursor_stays_within_the_rows() -> None:
    model = Model()
    model.take(snapshot(1.0, [pool(name) for name in "abc"]))
    press(model, "up")
    assert model.selected == 0
    press(model, *["down"] * 9)
    assert model.selected == 2
    model.take(snapshot(2.0, [pool("a")]))
    assert "a" in str(draw(model, 80, 10, "")[5])
    press(model, "up")
    assert model.selected == 0


@given(
    st.lists(st.sampled_from([*"pwrsi/<> qa", "up", "down", "page up", "page down", "home", "end", "enter", "escape"])),
    st.lists(st.tuples(st.text(min_size=1, max_size=30), st.integers(0, 10**9)), max_size=30),
    st.integers(1, 200),
    st.integers(1, 60),
)
def test_it_fits_on_every_screen_whatever_was_pressed(keys: list[str], pools: Any, width: int, height: int) -> None:
    model = Model()
    rows = [pool(name, queued=queued, level="full", degraded="broken") for name, queued in pools]
    for at, key in enumerate(keys):
        model.press(key)
        other = [] if model.view == "s" else [worker("x", state="suspect", note="…", age=1.0, command="c", attempt=2)]
        model.take(snapshot(at, rows, model.view, rows if model.view == "p" else other))
        assert 0 <= model.selected <= max(0, len(rows) - 1)
        lines = draw(model, width, height, "tcp://127.0.0.1:5750")
        assert len(lines) == height
        assert all(cell_len(line.plain) <= width for line in lines)


def test_the_row_under_the_cursor_is_always_seen() -> None:
    model = Model()
    model.take(snapshot(1.0, [pool(f"pool-{number:03}") for number in range(100)]))
    for number in range(100):
        assert f"pool-{number:03}" in "\n".join(line.plain for line in draw(model, 80, 12, ""))
        press(model, "down")


def test_colour_stands_only_where_something_is_wrong() -> None:
    model = Model()
    model.take(snapshot(1.0, [pool("a"), pool("b")]))
    press(model, "down")
    styles = {str(span.style) for line in draw(model, 200, 20, "") for span in line.spans} - {""}
    assert styles <= {"bold", "dim", "reverse"}
    model.take(snapshot(2.0, [pool("a", level="full"), pool("b", degraded="x")]))
    styles = {str(span.style) for line in draw(model, 200, 20, "") for span in line.spans}
    assert "bold red" in styles


def test_sparklines() -> None:
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([0, 7, 3.5]) == "▁█▅"
    assert sparkline([0, 7], blocks=False) == "_#"
    assert len(sparkline(range(100))) == 12


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("q", ["q"]),
        ("\x1b[A\x1b[Bx", ["up", "down", "x"]),
        ("\x1bOA\x1b[5~\x1b[6~", ["up", "page up", "page down"]),
        ("\x1b", ["escape"]),
        ("\x1bq", ["escape", "q"]),
        ("\r\x7f", ["enter", "backspace"]),
        ("\x1b[1;5C\x1b[A", ["up"]),
        ("\x1b[", []),
    ],
)
def test_keys(text: str, keys: list[str]) -> None:
    assert decode(text) == keys


@given(st.text())
def test_whatever_a_terminal_sends_is_no_error(text: str) -> None:
    decode(text)
