"""What is being measured just now, on standard error, where somebody looks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator

from rich.console import Console
from rich.markup import escape

__all__ = ["progress"]


@contextlib.contextmanager
def progress(name: str) -> Generator[Callable[[str], None]]:
    """Gives who is to be told, in a few words each time; in a terminal a line shows them while the `with` lasts."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: None
        return
    with console.status(name) as status:
        yield lambda text: status.update(f"{name}: {escape(text)}")
