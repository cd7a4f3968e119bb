"""`saturation`: the figures of refusals from requests made by hand, callers that follow them, and a tiny run."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest

from maitred.benchmarks.method.followers import Followed, Followers
from maitred.benchmarks.method.load import Flow
from maitred.benchmarks.method.recorder import durations
from maitred.benchmarks.method.timeline import Ended, Timeline, first_from
from maitred.benchmarks.scenarios import saturation
from maitred.benchmarks.scenarios.refusals import Bound, figures, told_s
from maitred.benchmarks.subjects.registry import chosen
from maitred.client.errors import PoolSaturated, Unavailable

MS = 1_000_000


def full(retry_after: float | None = None) -> PoolSaturated:
    return PoolSaturated("full", **({} if retry_after is None else {"retry_after": retry_after}))


def flow(served: int, refused: int) -> Flow:
    found = Flow(began_ns=0, ended_ns=1_000 * MS)
    found.latency.extend([MS] * served)
    if refused:
        found.failed["PoolSaturated"] = durations([MS] * refused)
    return found


def test_only_a_refusal_names_a_time() -> None:
    assert told_s(full(0.5)) == 0.5
    assert told_s(full()) is None
    assert told_s(Unavailable("leaving", retry_after=1.0)) is None


def test_what_was_served_is_held_against_the_capacity() -> None:
    found = figures([flow(80, 20), flow(100, 0)], [], [], Bound(100.0, 20))
    assert found["of_capacity_share"] == 0.9
    assert found["refused_share"] == 0.1
    assert found["refusal_p50_us"] == 1000.0
    assert "told_share" not in found


def test_what_followers_had_served_counts_too() -> None:
    assert figures([flow(80, 20)], [], [], Bound(100.0, 20), 15)["of_capacity_share"] == 0.95


def test_the_latency_of_what_is_accepted_is_held_against_the_bound() -> None:
    found = figures([flow(80, 20)], [], [], Bound(500.0, 10))
    assert found["p99_per_bound"] == 0.05  # 1 ms of 20
    assert "p99_per_bound" not in figures([flow(80, 0)], [], [], Bound(500.0, 10))


def test_room_is_there_with_the_next_answer() -> None:
    block = [
        Ended(0, 10 * MS, None),
        Ended(11 * MS, 12 * MS, full(0.004)),  # room after 8 ms: twice what it was told
        Ended(12 * MS, 15 * MS, full(0.010)),  # room after 5 ms: half of it
        Ended(16 * MS, 17 * MS, full()),  # room after 3 ms, and not told
        Ended(5 * MS, 20 * MS, None),
        Ended(21 * MS, 22 * MS, full(1.0)),  # nothing came after it
    ]
    found = figures([flow(2, 4)], [block], [], Bound(2.0, 20))
    assert (found["room_per_told_p10"], found["room_per_told_p90"]) == (0.5, 2.0)
    assert found["room_p50_ms"] == 5.0
    assert (found["told_p50_ms"], found["told_p99_ms"]) == (4.0, 10.0)
    assert found["told_share"] == pytest.approx(2 / 3, abs=1e-3)
    assert found["refusal_p99_us"] == 3000.0


def test_entries_are_held_against_what_was_told_first() -> None:
    followed = [Followed(0.1, 1, 0.1), Followed(0.1, 3, 0.4), Followed(0.1, 2, None), Followed(0.1, 0, None)]
    found = figures([flow(1, 4)], [], followed, Bound(1.0, 20))
    assert found["in_at_first_try_share"] == pytest.approx(1 / 3, abs=1e-3)
    assert (found["entry_per_told_p10"], found["entry_per_told_p90"]) == (1.0, 4.0)


def test_the_first_from_a_moment_on() -> None:
    assert [first_from([10, 20], at) for at in (0, 10, 11, 21)] == [10, 10, 20, None]


@pytest.fixture(autouse=True)
def short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maitred.benchmarks.method.followers.REST_S", 0.005)


def follow(*outcomes: Exception | None) -> Followers:
    """One caller, whose calls end like this, to the end of them."""
    left, over = list(outcomes), threading.Event()

    def attempt() -> None:
        if not left:
            over.set()
            return
        outcome = left.pop(0)
        if outcome is not None:
            raise outcome

    with Followers(attempt, told_s, 1) as followers:
        assert over.wait(10)
    return followers


def test_who_is_refused_again_comes_back_again() -> None:
    followers = follow(full(0.0), full(0.0), full(0.001), None)
    (found,) = followers.followed
    assert (found.told_s, found.tries) == (0.0, 3)
    assert found.in_s is not None
    assert found.in_s >= 0.001
    assert len(followers.served_ns) >= 1


def test_another_error_ends_the_following() -> None:
    (found,) = follow(full(0.0), LookupError()).followed
    assert (found.tries, found.in_s) == (1, None)


def test_who_is_told_nothing_or_served_follows_nothing() -> None:
    assert follow(full(), None).followed == []


def test_at_the_end_nobody_waits_for_a_time_to_come() -> None:
    refused = threading.Event()

    def attempt() -> None:
        refused.set()
        raise full(1000.0)

    with Followers(attempt, told_s, 1) as followers:
        assert refused.wait(10)
    assert [it.tries for it in followers.followed] == [0]


def test_a_timeline_keeps_every_end() -> None:
    futures: list[Future[int]] = [Future(), Future()]
    seen: list[Ended] = []
    timeline = Timeline(seen.append)
    submit = timeline.through(iter(futures).__next__)
    assert [submit(), submit()] == futures
    futures[1].set_exception(full())
    futures[0].set_result(1)
    assert [type(it.error).__name__ for it in timeline.ended] == ["PoolSaturated", "NoneType"]
    assert timeline.successes_ns() == [seen[1].ended_ns]
    assert all(it.ended_ns > it.sent_ns for it in seen)


@pytest.mark.slow
def test_beyond_its_capacity_a_pool_refuses_and_goes_on() -> None:
    parameters = saturation.Parameters(
        rounds=1, workers=1, task_s=0.005, max_queue=4, loads=(0.1, 8.0), seconds=0.4, unbounded_up_to=0.1,
        capacity_s=0.3, rest_s=0.1,
        warm_up=saturation.common.WarmUp(requests=10, seconds=0.1),
    )  # fmt: skip
    found = saturation.run(chosen("maitred-wire", peers="zmq-proxy"), parameters, lambda _: None)
    shown = {(it.subject, it.setting["load"]): it for it in found.measurements}
    assert list(shown) == [("maitred-wire", 0.1), ("zmq-proxy", 0.1), ("maitred-wire", 8.0)]
    over = shown["maitred-wire", 8.0]
    assert over.failures["PoolSaturated"] > over.values["refused_share"] > 0.5
    assert over.latency is not None
    assert over.latency.count > 0
    assert over.values["refusal_p50_us"] > 0
    assert over.values["room_p50_ms"] > 0
    assert over.values["p99_per_bound"] > 0.1
    assert 0.5 < over.values["rss_after_share"] < 2.0
    assert over.values["rss_peak_bytes"] >= over.values["rss_after_bytes"] > 0
    assert "rss_after_share" not in shown["zmq-proxy", 0.1].values


@pytest.mark.slow
def test_the_synchronous_client_is_watched_too() -> None:
    parameters = saturation.Parameters(
        rounds=1, workers=1, task_s=0.005, max_queue=4, loads=(4.0,), seconds=0.3, capacity_s=0.2, rest_s=0.0,
        warm_up=saturation.common.WarmUp(requests=10, seconds=0.1),
    )  # fmt: skip
    (found,) = saturation.run(chosen("maitred", "none"), parameters, lambda _: None).measurements
    assert found.values["refusal_p50_us"] > 0
