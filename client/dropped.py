"""What the asynchronous client hands out and has to be told when nobody wants it any more."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from maitred.client.async_link import AsyncLink
from maitred.client.origin import Origin

__all__ = ["Dropped"]


class Dropped(ABC):
    """Has its requests stopped when it is closed, left or dropped."""

    def __init__(self, link: AsyncLink, origin: Origin) -> None:
        self._link = link
        self._origin = origin
        self._thread = threading.get_ident()

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if threading.get_ident() == self._thread and not self._link.closed:
            self.close()

    async def aclose(self) -> None:
        """Do what `close` does, for `contextlib.aclosing`."""
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Have what is under way stopped. Repeatable; does not wait."""
