"""Blocks that take turns: every subject once in a round, the baseline twice, so that the machine's moods hit all alike.

The baseline's second block, against its first, is the noise floor (A/A): what the machine makes of no difference at all.
Every second round runs backwards, so that no subject always follows the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from maitred.benchmarks.method.load import Flow
from maitred.benchmarks.method.statistics import compare
from maitred.benchmarks.results import Comparison, Setting

__all__ = ["Rounds", "take_turns"]


class Rounds:
    """What came of all blocks.

    Attributes:
        flows: by subject, one for each round.
        again: the baseline's second blocks.
        baseline: its name; None where nothing is compared.
    """

    def __init__(self, baseline: str | None) -> None:
        self.baseline = baseline
        self.flows: dict[str, list[Flow]] = {}
        self.again: list[Flow] = []

    def comparisons(
        self,
        figure: str,
        of: Callable[[Flow], float],
        setting: Setting,
        *,
        baseline: str | None = None,
        subjects: Sequence[str] | None = None,
    ) -> list[Comparison]:
        """These subjects, or all, against a baseline (another one than the rounds' own has no noise floor), noise last."""
        base = self.baseline if baseline is None else baseline
        if base is None or base not in self.flows:
            return []
        below = [of(flow) for flow in self.flows[base]]
        found: list[Comparison | None] = []
        for name, flows in self.flows.items():
            if name != base and (subjects is None or name in subjects):
                pairs = list(zip(map(of, flows), below, strict=True))
                found.append(compare(figure, name, base, setting, pairs))
        if base == self.baseline:
            pairs = list(zip(map(of, self.again), below, strict=True))
            found.append(compare(figure, base, base, setting, pairs, is_noise=True))
        return [comparison for comparison in found if comparison is not None]


def take_turns(blocks: Mapping[str, Callable[[], Flow]], rounds: int, baseline: str | None) -> Rounds:
    """Run each block once in each round.

    Args:
        blocks: by subject's name.
        rounds: how often.
        baseline: the subject that runs twice in a round; None, or one that is not there, for none.
    """
    found = Rounds(baseline if baseline in blocks else None)
    found.flows = {name: [] for name in blocks}
    order = [*((name, False) for name in blocks), *([(found.baseline, True)] if found.baseline else [])]
    for number in range(rounds):
        for name, is_again in order if number % 2 == 0 else reversed(order):
            (found.again if is_again else found.flows[name]).append(blocks[name]())
    return found
