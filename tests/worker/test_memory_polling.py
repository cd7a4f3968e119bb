"""Memory read from /proc, of real processes that take it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hungry import MIB, hungry, until

from maitred.worker.memory import MODE_VARIABLE, Usage, keeper
from maitred.worker.memory.polling import PollingKeeper
from maitred.worker.memory.tree import Tree
from maitred.worker.memory.usage import judge

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


def polling(limit: int | None = None) -> PollingKeeper:
    return PollingKeeper(limit, "polling", "")


def test_what_a_process_takes_counts_and_what_it_has_of_files_does_not(tmp_path: Path) -> None:
    with hungry() as one:
        watch = polling().adopt(one.pid)
        before = watch.look().rss
        assert 0 < before < 40 * MIB
        one.do(f"file 64 {tmp_path / 'weights'}")
        assert watch.look().rss - before < 16 * MIB
        one.do("take 64")
        assert 60 * MIB < watch.look().rss - before < 90 * MIB
        one.do("share 64")
        usage = watch.look()
        assert 120 * MIB < usage.rss - before < 160 * MIB
        assert (usage.peak, usage.limit, usage.over_soft, usage.over_hard) == (usage.rss, None, False, False)


def test_a_grandchild_counts() -> None:
    with hungry() as one:
        watch = polling().adopt(os.getpid())  # it is our child: what it starts is a grandchild of who is watched
        before = watch.look().rss
        one.do("child 64")
        assert until(lambda: watch.look().rss - before > 60 * MIB)


def test_who_lost_a_process_to_the_kernel_is_over_both_limits_whatever_is_left() -> None:
    assert judge(1, 99, 100, oom_killed=True) == Usage(1, 99, 100, True, True, True)
    assert judge(89, 89, 100) == Usage(89, 89, 100)
    assert judge(90, 90, 100) == Usage(90, 90, 100, over_soft=True)
    assert judge(100, 100, 100) == Usage(100, 100, 100, over_soft=True, over_hard=True)
    assert judge(100, 100, None) == Usage(100, 100)


def test_the_soft_limit_comes_before_the_hard_one() -> None:
    with hungry() as one:
        watch = polling(200 * MIB).adopt(one.pid)
        assert not watch.look().over_soft
        one.do("take 182")
        usage = watch.look()
        assert (usage.over_soft, usage.over_hard, usage.limit) == (True, False, 200 * MIB)
        one.do("take 30")
        usage = watch.look()
        assert (usage.over_soft, usage.over_hard, usage.oom_killed) == (True, True, False)


def test_nobody_is_over_a_limit_for_what_children_share_with_him() -> None:
    with hungry() as one:
        watch = polling(200 * MIB).adopt(one.pid)
        one.do("take 100")
        one.do("look-alikes 4", answers=4)  # 500 MiB, if each were to count for himself
        everybody = until(lambda: len(seen := Tree().below(one.pid)) == 5 and seen)
        assert len(everybody) == 5
        usage = watch.look()
        assert 90 * MIB < usage.rss < 160 * MIB
        assert not usage.over_soft


def test_a_process_that_is_gone_has_nothing_and_had_its_peak() -> None:
    with hungry() as one:
        watch = polling(1 << 40).adopt(one.pid)
        one.do("take 64")
        peak = watch.look().peak
        os.kill(one.pid, signal.SIGKILL)
        until(lambda: watch.look().rss == 0)  # a zombie
        one.process.wait()
        usage = watch.look()
        assert (usage.rss, usage.peak) == (0, peak)
        assert not watch.kill()
        watch.close()
        watch.close()


def test_one_that_was_gone_from_the_start_is_no_error() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert polling(MIB).adopt(process.pid).look().rss == 0


def test_reading_all_of_proc_has_a_pace() -> None:
    readings = iter([0.0, 0.1, 0.2, 2.09, 2.11, 2.21])  # the first takes 0.1 s, so the next is due 2 s later
    tree = Tree(lambda: next(readings))
    assert os.getpid() in tree.below(os.getppid())
    with hungry() as one:
        assert one.pid not in tree.below(os.getpid())
        assert one.pid not in tree.below(os.getpid())
        assert one.pid in tree.below(os.getpid())


def test_without_a_limit_usage_is_read() -> None:
    kept = keeper(None, "pool")
    assert (kept.mode, kept.why) == ("", "no memory_limit is set")
    assert kept.adopt(os.getpid()).look().rss > MIB
    kept.close()


def test_a_person_may_choose_to_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODE_VARIABLE, "polling")
    kept = keeper(MIB, "pool")
    assert kept.mode == "polling"
    assert kept.why == f"cgroup2: {MODE_VARIABLE} is 'polling'; cgroup1: {MODE_VARIABLE} is 'polling'"
