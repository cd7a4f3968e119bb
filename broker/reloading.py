"""Reads the authorisation file again, while the broker runs: by SIGHUP, or because an operator asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import trio

from maitred.broker.core.effects import Note, Reload
from maitred.broker.keyring import Keyring, compared
from maitred.broker.shell import Shell
from maitred.config.authorized import AuthorizedError
from maitred.config.key_file import KeyFileError

__all__ = ["Reloading"]

LOGGED_NAMES = 20
"""Of each kind in a line of the log; the answer to an operator has all."""


class Reloading:
    """One reading at a time, each of the file as it is when its turn comes.

    Args:
        keyring: what was read at the start.
        shell: whose core goes by it.
        tell: told of each reading.
    """

    def __init__(self, keyring: Keyring, shell: Shell, tell: Callable[[Note], object]) -> None:
        self._keyring = keyring
        self._shell = shell
        self._tell = tell
        self._turn = trio.Lock()

    async def read(self, asked: Reload | None = None) -> None:
        """Read the file, go by it, and answer whoever asked. A file that is wrong changes nothing. Cancelling it does not
        either.
        """
        async with self._turn:
            done = await self._read()
        if asked is not None:
            core = self._shell.core
            self._shell.perform(core.reloaded(asked, done, trio.current_time()))

    async def _read(self) -> dict[str, Any] | str:
        try:
            keys = await trio.to_thread.run_sync(self._keyring.read_again, abandon_on_cancel=True)
        except (AuthorizedError, KeyFileError) as error:
            text = f"nothing was changed: {error}"
            self._tell(Note("keys.unchanged", {"problem": text}))
            return text
        core = self._shell.core
        policy = core.state.policy
        done = compared(policy.keys, keys)
        changed = {name: value[:LOGGED_NAMES] for name, value in done.items() if name != "keys"}
        self._tell(Note("keys.reloaded", {"keys": done["keys"], **changed}))
        self._shell.perform(core.adopt(msgspec.structs.replace(policy, keys=keys), trio.current_time()))
        return done
