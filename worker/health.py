"""Runs a service's health check, and puts what came of it into words: "" where the worker is well.

There is no time limit in here: a check that does not return leaves CHECK without an answer, and the broker acts on that.
"""

from __future__ import annotations

import inspect
from typing import Any

from maitred.worker.context import Cancelled, Context
from maitred.worker.failures import describe_exception, in_one_sentence
from maitred.worker.process_hooks import ProcessHook

__all__ = ["acheck", "check"]

_RAISED = (Exception, SystemExit, Cancelled)
"""What a check may raise, and its process go on: all but what belongs to trio."""


def check(hook: ProcessHook | None, context: Context) -> str:
    """Run a check that is not async; without one, that it is asked for is all there is to find out."""
    if hook is None:
        return ""
    try:
        return _problem(hook.call(context))
    except _RAISED as error:
        return describe_exception(error)[0]


async def acheck(hook: ProcessHook | None, context: Context, *, in_thread: bool) -> str:
    """Run any check under trio, a plain one in a thread where asked; cancelled, it leaves the thread to itself."""
    if hook is None:
        return ""
    try:
        return _problem(await _call(hook, context, in_thread))
    except _RAISED as error:
        return describe_exception(error)[0]


async def _call(hook: ProcessHook, context: Context, in_thread: bool) -> Any:
    if in_thread and not hook.is_async:
        import trio  # here: a worker of plain functions never needs it

        return await trio.to_thread.run_sync(hook.call, context, abandon_on_cancel=True)
    outcome = hook.call(context)
    return await outcome if inspect.isawaitable(outcome) else outcome


def _problem(outcome: Any) -> str:
    if outcome is None or isinstance(outcome, str):
        return in_one_sentence(outcome or "")
    return "" if outcome else f"the health check returned {in_one_sentence(repr(outcome))}"
