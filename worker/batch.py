"""Several requests of one command, run as one call: lists go in, a list comes out, and each caller gets his element.

Whoever does not wait any more when the batch begins, or sent something wrong, is answered by himself and left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from maitred.protocol.frames import Frames
from maitred.worker import answers
from maitred.worker.context import Cancelled, NotBegun
from maitred.worker.failures import name_of_type
from maitred.worker.interrupt import unguarded
from maitred.worker.invoke import Guard
from maitred.worker.requests import Requests, Taken
from maitred.worker.running import Run
from maitred.worker.service import Command

__all__ = ["Batch"]

Answer = tuple[Run, Frames]


class Batch:
    """One call.

    Args:
        requests: the process's.
        command: what is called; it takes batches.
        taken: the requests, with their bodies.

    Attributes:
        runs: those that take part, in the order of the lists.
        left_out: the answers of those that cannot.
    """

    def __init__(self, requests: Requests, command: Command, taken: Sequence[Taken]) -> None:
        self._command = command
        self._max_message_bytes = requests.max_message_bytes
        self._arguments: list[dict[str, Any]] = []
        self._late: list[Answer] = []
        self.runs: list[Run] = []
        self.left_out: list[Answer] = []
        for run, body in taken:
            read = requests.read(run, body)
            if isinstance(read, list):
                self.left_out.append((run, read))
            else:
                self.runs.append(run)
                self._arguments.append(read[1])
        self.left_out += self._leave_out()

    def begin(self) -> dict[str, list[Any]]:
        """The last look before the call; returns its lists. Where `runs` is empty then, nobody waits for it any more."""
        self._late = self._leave_out()
        return {
            parameter.name: [arguments[parameter.name] for arguments in self._arguments]
            for parameter in self._command.parameters
        }

    def run(self, guard: Guard = unguarded) -> Any:
        """Call a synchronous function, where anybody still waits; raises what it does."""
        columns = self.begin()
        return guard(self._command.function, **columns) if self.runs else []

    async def arun(self) -> Any:
        """Do so with an async one."""
        columns = self.begin()
        return await self._command.function(**columns) if self.runs else []

    def _leave_out(self) -> list[Answer]:
        """Take out those whose callers do not wait any more; returns their answers."""
        late: list[Answer] = []
        for number in reversed(range(len(self.runs))):
            run = self.runs[number]
            reason = run.context.cancel_reason
            if reason is not None:
                late.append((run, answers.failure(run.order, NotBegun(reason), run.context)))
                del self.runs[number], self._arguments[number]
        return late

    # --- stopping it: nobody's word stops the others' work ---

    @property
    def overdue(self) -> bool:
        """Whether all who wait were told to stop, long enough ago."""
        return all(run.overdue for run in self.runs)

    @property
    def unwanted(self) -> bool:
        """Whether nobody waits for it any more."""
        return all(run.context.cancelled for run in self.runs)

    def interrupt(self) -> Cancelled:
        """Note that it is interrupted; returns what is raised in it."""
        return [run.interrupt() for run in self.runs][-1]

    # --- what came of it ---

    def results(self, value: object, ran_s: float) -> list[Answer]:
        """Give each his element of the function's result."""
        wanted = len(self.runs)
        if not isinstance(value, list | tuple):
            return self.failures(_mismatch(wanted, name_of_type(type(value))), ran_s)
        elements = cast("Sequence[Any]", value)
        if len(elements) != wanted:
            return self.failures(_mismatch(wanted, f"of {len(elements)}"), ran_s)
        pairs = zip(self.runs, elements, strict=True)
        return [*self._late, *((run, self._answer(run, element, ran_s)) for run, element in pairs)]

    def failures(self, error: BaseException, ran_s: float) -> list[Answer]:
        """Tell each that the call failed; where it was stopped, why in his own case."""
        return [*self._late, *((run, self._failure(run, error, ran_s)) for run in self.runs)]

    def _answer(self, run: Run, element: Any, ran_s: float) -> Frames:
        if isinstance(element, Exception):
            return answers.failure(run.order, element, run.context, ran_s=ran_s)
        run.returned = True
        return answers.result(run.order, element, self._max_message_bytes, ran_s=ran_s)

    def _failure(self, run: Run, error: BaseException, ran_s: float) -> Frames:
        if isinstance(error, Cancelled) and (run.interrupted or run.context.cancelled):
            error = Cancelled(run.context.cancel_reason or "deadline")
        return answers.failure(run.order, error, run.context, ran_s=ran_s, outcome=run.outcome)


def _mismatch(wanted: int, came: str) -> ValueError:
    return ValueError(f"a batch of {wanted} must return a list of {wanted} results, not {came}")
