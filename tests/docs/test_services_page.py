"""The services that `docs/services.md` and `docs/coming-from.md` show are served, and called."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_blocks import ROOT, blocks

from maitred.testing import running

pytestmark = pytest.mark.slow

TAKEN_FOR_GRANTED = """
import numpy

stored = []


class database:
    is_connected = staticmethod(lambda: True)


def model(text):
    return numpy.array([[len(each), 1.0] for each in text])


def answer(chat):
    return " ".join(chat)


def store(id, chat):
    stored.append((id, chat))
"""


def test_the_page_on_services(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    module = tmp_path / "page_service.py"
    shown = [block.text for block in blocks(ROOT / "docs" / "services.md") if block.language == "python"]
    module.write_text(TAKEN_FOR_GRANTED + "\n".join(shown))
    with running(f"{module}:service") as house:
        client = house.client
        assert client.execute("general", "echo", {"message": "hello"}) == {"message": "hello"}
        embedded = client.map("general", "embed", [{"text": "a"}, {"text": "bb"}])
        assert [list(each) for each in embedded] == [[1.0, 1.0], [2.0, 1.0]]
        with client.session("general") as session:
            assert [session.execute("say", {"text": text}) for text in ("one", "two")] == ["one", "one two"]


def test_the_page_on_coming_from_elsewhere(tmp_path: Path) -> None:
    files = {block.file: block.text for block in blocks(ROOT / "docs" / "coming-from.md") if block.file}
    module = tmp_path / "tasks.py"
    module.write_text(files["tasks.py"])
    with running(f"{module}:service") as house:
        assert house.client.execute("general", "square", {"x": 12}) == 144
