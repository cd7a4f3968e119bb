"""What somebody is shown of an event over HTTP, by what he may see."""

from __future__ import annotations

from maitred.broker.core.effects import Event
from maitred.broker.web.guard import Right
from maitred.broker.web.tables import event_row

POOL = {"pool": "general", "worker": "0a", "command": "train", "request": None}


def test_who_may_only_look_is_not_shown_what_an_application_tells() -> None:
    event = Event(7, 1.0, "app.model.loaded", POOL | {"path": "/home/ada/model"})
    assert event_row(event, Right.READ)["fields"] == event.fields
    assert event_row(event, Right.LOOK)["fields"] == POOL


def test_nor_what_others_wrote() -> None:
    event = Event(7, 1.0, "worker.died", {"pool": "general", "note": "as Ada wished", "cause": "exit"})
    assert event_row(event, Right.LOOK)["fields"] == {"pool": "general", "cause": "exit"}
