"""Where the console scripts begin. What they import takes some tenths of a second, in which Ctrl-C is no error either."""

from __future__ import annotations

import sys

__all__ = ["broker", "main"]

INTERRUPTED = 130
"""128 and SIGINT, as shells have it."""


def main() -> None:
    """`maitred`."""
    try:
        from maitred.cli.main import main as run
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    run()


def broker() -> None:
    """`maitred-broker`."""
    try:
        from maitred.cli.broker_main import main as run
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    run()
