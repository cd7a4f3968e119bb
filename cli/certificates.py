"""A death certificate for people: what ended a worker, how large and how old it was, and its last words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from maitred.cli.output import age, megabytes

__all__ = ["print_certificate"]

MEANINGS = {
    "oom": "it had more memory than it may have",
    "signal": "somebody, or its own code, killed it",
    "exit": "it ended by itself",
    "timeout": "it did not stop when its time was over",
    "cancelled": "it did not stop when its request was cancelled",
    "heartbeat": "it had gone silent",
    "node_lost": "its host, or its agent, is gone",
    "recycle": "another one took its place",
    "drain": "it was no longer needed",
    "operator": "an operator had it ended",
}
"""What a cause means, where the certificate says no more (`maitred.protocol.messages.CAUSES`)."""


def print_certificate(row: dict[str, Any]) -> None:
    """Print one row of the table `deaths`."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    console.print(Text(f"worker {row['worker']} of pool {row['pool']!r}: {row['cause']}", style="bold"))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    for name, words in _facts(row):
        facts.add_row(name, Text(words))
    console.print(facts)
    if row.get("stderr"):
        console.print("last words", style="dim")
        for line in row["stderr"].rstrip().splitlines():
            console.print(Text(f"  {line}"), soft_wrap=True)


def _facts(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "why", str(row.get("note") or MEANINGS.get(row["cause"], row["cause"]))
    if row.get("ended") is not None:
        yield "when", f"{age(row['ended'])} ago"
    if row.get("signal") is not None:
        yield "how", str(row["signal"])
    elif row.get("exit_code") is not None:
        yield "how", f"exit code {row['exit_code']}"
    if row.get("pid") is not None:
        yield "who", f"pid {row['pid']} on {row.get('host') or 'this host'}"
    if row.get("age") is not None:
        yield "lived", age(row["age"])
    if row.get("served") is not None:
        yield "served", f"{row['served']} request{'' if row['served'] == 1 else 's'}"
    yield from _sizes(row)


def _sizes(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if row.get("memory") is not None:
        limit = f", {megabytes(row['memory_limit'])} allowed" if row.get("memory_limit") else ""
        yield "memory", f"{megabytes(row['memory'])}{limit}"
    if row.get("peak_rss") is not None:
        yield "peak", f"{megabytes(row['peak_rss'])} of memory"
    if row.get("gpu_bytes"):
        yield "on its GPU", megabytes(row["gpu_bytes"])
