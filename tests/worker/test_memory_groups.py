"""Memory limits that the kernel keeps: real groups where this machine has them, else files that look like them."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hungry import MIB, hungry, is_gone, until

from maitred.worker.memory import keeper
from maitred.worker.memory.cgroup1 import Cgroup1
from maitred.worker.memory.cgroup2 import LEAF, Cgroup2, hand_down
from maitred.worker.memory.groups import GroupKeeper, Hierarchy
from maitred.worker.memory.mounts import Unavailable, Which, own_group

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")]


def why_not(hierarchy: Hierarchy) -> str:
    try:
        GroupKeeper(MIB, "probe", hierarchy).close()
    except (Unavailable, OSError) as error:
        return str(error)
    return ""


HERE = [
    pytest.param(hierarchy, marks=pytest.mark.skipif(bool(reason), reason=reason), id=hierarchy.mode)
    for hierarchy in (Cgroup2(), Cgroup1())
    for reason in [why_not(hierarchy)]
]


@pytest.fixture(params=HERE)
def kept(request: pytest.FixtureRequest) -> Iterator[GroupKeeper]:
    mark = secrets.token_hex(4)  # the same tests may run beside these
    one = GroupKeeper(100 * MIB, f"tests: Ω {mark}", request.param)
    (home,) = one.hierarchy.base().glob(f"maitred-pool-tests____{mark}-*")
    yield one
    one.close()
    one.close()
    assert not home.exists()


def groups(kept: GroupKeeper, pid: int) -> list[Path]:
    return list(kept.hierarchy.base().glob(f"maitred-pool-*/worker-{pid}-*"))


# --- real groups ---


def test_what_a_worker_takes_counts_and_what_it_reads_does_not(kept: GroupKeeper, tmp_path: Path) -> None:
    with hungry() as one:
        watch = kept.adopt(one.pid)
        one.do("take 40")
        usage = until(lambda: (seen := watch.look()).rss > 38 * MIB and seen)
        assert usage.rss < 60 * MIB
        assert (usage.limit, usage.over_soft, usage.oom_killed) == (100 * MIB, False, False)
        one.do(f"file 64 {tmp_path / 'weights'}")  # more than there is room for: the kernel takes back what it can
        usage = watch.look()
        assert usage.rss < 60 * MIB
        assert not usage.over_soft
        assert usage.peak >= usage.rss


def test_the_soft_limit_is_seen_before_the_kernel_acts(kept: GroupKeeper) -> None:
    with hungry() as one:
        watch = kept.adopt(one.pid)
        one.do("take 93")
        assert until(lambda: (seen := watch.look()).over_soft and seen).over_hard is False


def test_the_kernel_kills_who_takes_too_much_and_it_is_known_afterwards(kept: GroupKeeper) -> None:
    with hungry() as one, hungry() as neighbour:
        watch, other = kept.adopt(one.pid), kept.adopt(neighbour.pid)
        one.say("take 300")
        assert one.process.wait(30) == -9
        watch.close()
        usage = watch.look()
        assert (usage.oom_killed, usage.over_hard) == (True, True)
        assert usage.peak > 90 * MIB
        neighbour.do("take 10")
        assert not other.look().oom_killed


def test_a_grandchild_counts_and_dies_by_the_same_limit(kept: GroupKeeper) -> None:
    with hungry() as one:
        watch = kept.adopt(one.pid)
        one.do("child 40")
        assert until(lambda: watch.look().rss > 38 * MIB)
        one.say("child 300")
        assert until(lambda: watch.look().oom_killed)


def test_children_that_were_born_before_move_along(kept: GroupKeeper) -> None:
    with hungry() as one:
        one.do("child 1")
        one.do("child 1")
        watch = kept.adopt(one.pid)
        (group,) = groups(kept, one.pid)
        assert len((group / "cgroup.procs").read_text().split()) == 3
        assert watch.kill()


def test_who_left_his_parents_and_his_session_is_killed_all_the_same(kept: GroupKeeper) -> None:
    with hungry() as one:
        watch = kept.adopt(one.pid)
        stray = int(one.do("stray 10").split()[1])
        assert watch.kill()
        assert until(lambda: is_gone(stray) and is_gone(one.pid))


def test_closing_ends_whom_a_dead_worker_left_behind(kept: GroupKeeper) -> None:
    with hungry() as one:
        watch = kept.adopt(one.pid)
        stray = int(one.do("stray 10").split()[1])
        os.kill(one.pid, 9)
        one.process.wait()
        watch.close()
        watch.close()
        assert until(lambda: is_gone(stray))
        kept.adopt(one.pid).close()
        assert not groups(kept, one.pid)


def test_a_worker_that_is_gone_already_is_no_error(kept: GroupKeeper) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    watch = kept.adopt(process.pid)
    assert watch.look().rss < MIB
    watch.kill()
    watch.close()


def test_many_come_and_go(kept: GroupKeeper) -> None:
    for _ in range(20):
        process = subprocess.Popen(["/bin/true"])
        watch = kept.adopt(process.pid)
        watch.look()
        process.wait()
        watch.close()
        assert not watch.look().oom_killed


AGENT = """
import subprocess, sys, time
from maitred.worker.memory.groups import GroupKeeper
from maitred.worker.memory import cgroup1, cgroup2
hierarchy = {"cgroup1": cgroup1.Cgroup1, "cgroup2": cgroup2.Cgroup2}[sys.argv[1]]()
keeper = GroupKeeper(1 << 27, "dead-agent-" + sys.argv[2], hierarchy)
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
keeper.adopt(child.pid)
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("hierarchy", HERE)
def test_what_a_killed_agent_left_behind_is_removed_and_a_living_one_is_left_alone(hierarchy: Hierarchy) -> None:
    mark = secrets.token_hex(4)
    orders = [sys.executable, "-c", AGENT, hierarchy.mode, mark]
    with subprocess.Popen(orders, stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        orphan = int(agent.stdout.readline())
        try:
            GroupKeeper(MIB, "next", hierarchy).close()
            assert not is_gone(orphan)
            agent.kill()
            agent.wait()
            assert not is_gone(orphan)
            left = f"maitred-pool-dead-agent-{mark}-*"
            assert until(lambda: GroupKeeper(MIB, "next", hierarchy).close() or not any(hierarchy.base().glob(left)))
            assert until(lambda: is_gone(orphan))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan, 9)


def test_the_best_mode_is_chosen_and_says_why_not_a_better_one() -> None:
    kept = keeper(64 * MIB, "choice")
    best = next((hierarchy.mode for hierarchy in (Cgroup2(), Cgroup1()) if not why_not(hierarchy)), "polling")
    assert kept.mode == best
    assert [clause.split(":")[0] for clause in kept.why.split("; ") if clause] == {
        "cgroup2": [],
        "cgroup1": ["cgroup2"],
        "polling": ["cgroup2", "cgroup1"],
    }[best]
    kept.close()


UNPRIVILEGED = """
import os
from maitred.worker.memory import keeper
os.setuid(65534)
kept = keeper(1 << 40, "pool")
print(kept.mode, kept.adopt(os.getpid()).look().over_soft, kept.why)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_who_may_not_make_groups_polls() -> None:
    told = subprocess.run([sys.executable, "-c", UNPRIVILEGED], capture_output=True, text=True, check=True).stdout
    assert told.startswith("polling False cgroup2: ")
    assert "; cgroup1: " in told


# --- the unified hierarchy without the memory controller: its rules, and its way to kill, are the same ---


@pytest.fixture
def unified() -> Iterator[Path]:
    try:
        own = own_group("cgroup2")
        base = own / f"maitred-test-{secrets.token_hex(4)}"
        handed_down = set((own / "cgroup.subtree_control").read_text().split())
        base.mkdir()
    except (Unavailable, OSError) as error:
        pytest.skip(f"no group of version 2 can be made: {error}")
    yield base
    for group in sorted(base.glob("**/"), reverse=True):
        with contextlib.suppress(OSError):
            Cgroup2().kill(group)
        until(lambda group=group: remove(group))
    for name in set((own / "cgroup.subtree_control").read_text().split()) - handed_down:
        (own / "cgroup.subtree_control").write_text(f"-{name}")


def remove(group: Path) -> bool:
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()


@pytest.fixture
def controller(unified: Path) -> str:
    """One that is at hand in a group of the test's, so that it is not the memory controller's name that is tested."""
    root = unified.parent
    found = (root / "cgroup.controllers").read_text().split()
    if not found:
        pytest.skip("version 2 has no controller at all here")
    try:
        (root / "cgroup.subtree_control").write_text(f"+{found[0]}")
    except OSError as error:
        pytest.skip(f"{root} cannot hand down its controllers: {error}")
    return found[0]


def test_processes_in_the_way_move_into_a_group_below(
    unified: Path, controller: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getxattr", lambda _path, _name: b"1")
    with hungry() as one, hungry() as other:
        for pid in (one.pid, other.pid):
            (unified / "cgroup.procs").write_text(str(pid))
        with pytest.raises(OSError, match="busy"):
            (unified / "cgroup.subtree_control").write_text(f"+{controller}")
        hand_down(unified, controller)
        assert (unified / "cgroup.subtree_control").read_text().split() == [controller]
        assert len((unified / LEAF / "cgroup.procs").read_text().split()) == 2
        hand_down(unified, controller)


@pytest.mark.skipif(os.geteuid() != 0, reason="to others only what was given to them is writable")
def test_root_leaves_alone_what_is_systemds(unified: Path, controller: str) -> None:
    with hungry() as one:
        (unified / "cgroup.procs").write_text(str(one.pid))
        with pytest.raises(Unavailable, match="belongs to systemd"):
            hand_down(unified, controller)
        assert str(one.pid) in (unified / "cgroup.procs").read_text().split()


@pytest.mark.parametrize("old_kernel", [False, True])
def test_all_of_a_group_are_killed_at_one_blow(
    unified: Path, old_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if old_kernel:
        genuine = Path.write_text

        def refuse(path: Path, text: str) -> int:
            if path.name == "cgroup.kill":
                raise PermissionError(errno.EACCES, "there is no such file, and none can be made")
            return genuine(path, text)

        monkeypatch.setattr(Path, "write_text", refuse)
    with hungry() as one:
        group = unified / "worker"
        group.mkdir()
        (group / "cgroup.procs").write_text(str(one.pid))
        stray = int(one.do("stray 1").split()[1])
        Cgroup2().kill(group)
        assert one.process.wait(30) == -9
        assert until(lambda: is_gone(stray))


# --- trees of files that look like one ---


class Imitated(Cgroup2):
    """Version 2 over plain files, which the kernel does not fill in."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def base(self) -> Path:
        hand_down(self._base, "memory")
        return self._base

    def limit(self, group: Path, limit_bytes: int) -> None:
        super().limit(group, limit_bytes)
        (group / "memory.stat").write_text(f"anon {90 * MIB}\nfile {500 * MIB}\nshmem {5 * MIB}\n")
        (group / "memory.swap.current").write_text("4096\n")
        (group / "memory.peak").write_text(f"{97 * MIB}\n")
        (group / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 1\noom_kill 0\noom_group_kill 0\n")


def imitation(base: Path, controllers: str = "cpu memory", handed_down: str = "", kind: str = "domain\n") -> Path:
    base.mkdir(exist_ok=True)
    files = {"cgroup.controllers": controllers, "cgroup.subtree_control": handed_down, "cgroup.procs": ""}
    for name, text in files.items():
        (base / name).write_text(text)
    if kind:
        (base / "cgroup.type").write_text(kind)
    return base


def test_version_2_sets_and_reads_its_files(tmp_path: Path) -> None:
    base = imitation(tmp_path / "unit")
    kept = GroupKeeper(100 * MIB, "neural", Imitated(base))
    (home,) = base.glob("maitred-pool-neural-*")
    assert (base / "cgroup.subtree_control").read_text() == "+memory"
    assert (home / "cgroup.subtree_control").read_text() == "+memory"
    watch = kept.adopt(os.getpid())
    (group,) = home.glob("worker-*")
    written = {name: (group / name).read_text() for name in ("memory.max", "memory.swap.max", "memory.oom.group")}
    assert written == {"memory.max": str(100 * MIB), "memory.swap.max": "0", "memory.oom.group": "1"}
    assert (group / "cgroup.procs").read_text() == str(os.getpid())
    usage = watch.look()
    assert (usage.rss, usage.peak) == (95 * MIB + 4096, 97 * MIB)
    assert (usage.over_soft, usage.over_hard, usage.oom_killed) == (True, False, False)
    (group / "memory.events").write_text("oom_kill 2\n")
    assert watch.look().oom_killed
    assert watch.kill()
    assert (group / "cgroup.kill").read_text() == "1"


def test_an_old_kernel_of_version_2_has_no_peak_and_no_swap(tmp_path: Path) -> None:
    group = tmp_path
    (group / "memory.stat").write_text("anon 10\nshmem 5\n")
    (group / "memory.events").write_text("max 0\n")
    assert Cgroup2().read(group) == (15, 15, 0)


@pytest.mark.parametrize(
    ("group", "reason"),
    [
        ({"controllers": "cpu pids"}, r"no memory controller \(it has: cpu pids\)"),
        ({"controllers": ""}, r"\(it has: none\)"),
    ],
)
def test_what_is_missing_of_version_2_is_said(tmp_path: Path, group: dict[str, str], reason: str) -> None:
    with pytest.raises(Unavailable, match=reason):
        hand_down(imitation(tmp_path / "unit", **group), "memory")


def test_the_root_may_hand_down_as_it_is(tmp_path: Path) -> None:
    base = imitation(tmp_path / "root", kind="")
    (base / "cgroup.procs").write_text("1\n2\n")
    hand_down(base, "memory")
    assert (base / "cgroup.subtree_control").read_text() == "+memory"
    assert not (base / LEAF).exists()


MOUNTS_OF_BOTH = r"""
23 1 8:1 / / rw,relatime - ext4 /dev/root rw
35 31 0:32 /docker/abc /sys/fs/cgroup/mem\040ory rw,relatime shared:9 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified ro,relatime - cgroup2 cgroup2 rw
"""


@pytest.mark.parametrize(
    ("which", "mounts", "groups", "found"),
    [
        ("cgroup1", MOUNTS_OF_BOTH, "4:cpu,memory:/docker/abc/x\n0::/", "/sys/fs/cgroup/mem ory/x"),
        ("cgroup1", MOUNTS_OF_BOTH, "4:memory:/docker/abc\n0::/", "/sys/fs/cgroup/mem ory"),
        ("cgroup1", MOUNTS_OF_BOTH, "4:memory:/docker/abcd\n0::/", "not below /docker/abc"),
        ("cgroup1", MOUNTS_OF_BOTH, "4:cpu:/docker/abc\n0::/", "in no group of it"),
        ("cgroup1", "", "4:memory:/", "no hierarchy with the memory controller is mounted"),
        ("cgroup2", MOUNTS_OF_BOTH, "0::/", "unified is mounted read-only"),
        ("cgroup2", MOUNTS_OF_BOTH.replace("ro,", "rw,"), "4:memory:/no\n0::/a/b", "/sys/fs/cgroup/unified/a/b"),
        ("cgroup2", "", "0::/", "no hierarchy is mounted"),
    ],
)
def test_the_own_group_is_found_or_it_is_said_why_not(
    tmp_path: Path, which: Which, mounts: str, groups: str, found: str
) -> None:
    (tmp_path / "mountinfo").write_text(mounts.lstrip())
    (tmp_path / "cgroup").write_text(groups)
    if found.startswith("/"):
        assert own_group(which, tmp_path) == Path(found)
    else:
        with pytest.raises(Unavailable, match=found):
            own_group(which, tmp_path)


def test_a_system_without_proc_has_no_groups(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No such file"):
        own_group("cgroup2", tmp_path / "nowhere")


def test_where_the_kernel_refuses_a_worker_it_is_polled(tmp_path: Path) -> None:
    base = imitation(tmp_path / "unit")
    hierarchy = Imitated(base)
    kept = GroupKeeper(MIB, "pool", hierarchy)

    def refuse(_group: Path, _limit_bytes: int) -> None:
        raise PermissionError(errno.EACCES, "no more")

    hierarchy.limit = refuse
    watch = kept.adopt(os.getpid())
    assert watch.look().over_hard
    assert not watch.kill()
