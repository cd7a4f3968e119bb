"""The page that outlives a worker."""

from __future__ import annotations

import multiprocessing
import os
import signal

import pytest

from maitred.worker.started_page import Started, StartedPage

CLIENT = bytes(range(16))


def test_what_was_begun_and_not_ended_is_read_back() -> None:
    page = StartedPage(3)
    first = page.begin(CLIENT, 1, 10.0)
    page.begin(CLIENT, 2, 20.0)
    page.end(first)
    page.begin(CLIENT, 3, 30.0)
    assert sorted(page.running()) == [Started(CLIENT, 2, 20.0), Started(CLIENT, 3, 30.0)]
    assert page.served == 1
    page.close()
    page.close()


def test_what_was_answered_stays_until_the_answer_must_have_arrived() -> None:
    """An answer handed to ZeroMQ dies with the process: its request was begun all the same."""
    page = StartedPage(2)
    page.end(page.begin(CLIENT, 1, 10.0))
    page.end(page.begin(CLIENT, 2, 20.0))
    assert sorted(started.id for started in page.begun()) == [1, 2]
    assert page.running() == []
    page.end(page.begin(CLIENT, 3, 30.0))  # the broker gave it, so it has the first answer
    assert sorted(started.id for started in page.begun()) == [2, 3]
    page.begin(CLIENT, 4, 40.0)
    assert sorted(started.id for started in page.begun()) == [3, 4]
    assert [started.id for started in page.running()] == [4]
    page.close()


def test_a_page_is_not_ready_until_its_worker_says_so() -> None:
    page = StartedPage(1)
    assert not page.ready
    page.mark_ready()
    page.end(page.begin(CLIENT, 1, 1.0))
    assert page.ready
    page.close()


def test_more_than_its_slots_is_a_bug() -> None:
    page = StartedPage(1)
    page.begin(CLIENT, 1, 1.0)
    with pytest.raises(RuntimeError, match="more than 1"):
        page.begin(CLIENT, 2, 1.0)
    page.close()


def test_a_worker_says_how_much_of_the_page_is_in_use() -> None:
    page = StartedPage(1024)
    page.mark_ready()
    page.narrow(2)
    page.end(page.begin(CLIENT, 1, 10.0))
    page.begin(CLIENT, 2, 20.0)
    page.begin(CLIENT, 3, 30.0)
    assert sorted(started.id for started in page.begun()) == [2, 3]
    assert (page.served, page.ready) == (1, True)
    with pytest.raises(RuntimeError, match="more than 2"):
        page.begin(CLIENT, 4, 1.0)
    page.close()


def _begin_and_die(page: StartedPage) -> None:
    page.narrow(3)
    page.mark_ready()
    page.begin(CLIENT, 7, 70.0)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_it_outlives_a_worker_that_is_killed(method: str) -> None:
    page = StartedPage(1024)
    process = multiprocessing.get_context(method).Process(target=_begin_and_die, args=(page,))
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert page.ready
    assert page.begun() == page.running() == [Started(CLIENT, 7, 70.0)]
    page.close()
