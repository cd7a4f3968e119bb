"""`docs/commands.md` has an example of each command; that it is current `tests/docs` looks after."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

PLACE = Path(__file__).parents[2] / "scripts" / "commands.py"


def script() -> Any:
    spec = importlib.util.spec_from_file_location("commands_script", PLACE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_command_has_an_example_and_each_option_a_word() -> None:
    it = script()
    examples = it.examples(it.PAGE.read_text())
    for path, command in it.all_commands():
        assert f"$ {path.removesuffix(' ls')}" in _plain(examples[path]), path
        for each in command.params:
            assert each.param_type_name == "argument" or each.help, (path, each.name)


def _plain(example: str) -> str:
    """With options before the verb, and what is piped into it, left out."""
    lines = [line.replace("| maitred", "\n$ maitred") for line in example.splitlines()]
    return "\n".join(lines).replace(" -c maitred.toml", "").replace(" --set pools.general.size=3", "")
