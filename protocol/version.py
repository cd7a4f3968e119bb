"""Which maitred this is: here, so that no process reads the metadata of installed packages to say it when it starts."""

from __future__ import annotations

__all__ = ["VERSION"]

VERSION = "0.1.0"
