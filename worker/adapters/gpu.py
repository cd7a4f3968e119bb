"""Whether a GPU that was there when a worker started still works: one can fall off its bus, or be left broken by a kernel.

A worker that goes on would train on the processor from then on, or fail each request; one that says so is replaced.
"""

from __future__ import annotations

from maitred.worker.adapters.backends import GPU
from maitred.worker.adapters.extras import library

__all__ = ["UsedGpu"]


class UsedGpu:
    """The GPU that PyTorch uses in this process, where it uses one."""

    def __init__(self) -> None:
        self._is_used = False

    def look(self) -> None:
        """Find out whether there is one; after the fork, as this opens it."""
        try:
            self._is_used = bool(library("torch").cuda.is_available())
        except ModuleNotFoundError:
            self._is_used = False

    def check(self) -> str:
        """Have it compute something; "" where it can, or where there is none.

        Raises:
            RuntimeError: what PyTorch says of it.
        """
        if not self._is_used:
            return ""
        numbers = library("torch").arange(4, device=GPU)
        found = int((numbers * numbers).sum().item())
        return "" if found == 14 else f"{GPU} computes 0 + 1 + 4 + 9 = {found}"
