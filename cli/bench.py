"""`maitred bench`: hands everything over to the benchmark suite, which is loaded here, by name, and nowhere else.

The suite stands above the command line and uses it; nothing here may import it.
"""

from __future__ import annotations

import importlib
from typing import Any

import typer

__all__ = ["SETTINGS", "bench"]

SETTINGS = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": list[str]()}
"""All that follows the verb is the suite's."""


def bench(context: typer.Context) -> None:
    """Measure maitred beside its peers, on this machine: `maitred bench --help`."""
    suite: Any = importlib.import_module("maitred.benchmarks.command")
    suite.app(args=context.args, prog_name="maitred bench", obj=context.obj)
