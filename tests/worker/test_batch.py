"""Several requests as one call: who takes part, and what each is answered."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maitred.protocol import frames, messages
from maitred.protocol.body import decode_body, encode_body
from maitred.worker import Cancelled, Context, Service
from maitred.worker.batch import Batch
from maitred.worker.loading import AdapterError
from maitred.worker.options import WorkerOptions
from maitred.worker.requests import Requests, check_room

service = Service()
seen: list[list[Any]] = []


@service.command(batch=32, max_wait="5ms")
def embed(text: list[str], scale: list[int]) -> list[int]:
    seen.append(text)
    return [len(each) * factor for each, factor in zip(text, scale, strict=True)]


@pytest.fixture
def requests() -> Iterator[Requests]:
    seen.clear()
    requests = Requests(WorkerOptions("general", "-", (), "-", os.urandom(16)), service)
    yield requests
    requests.page.close()


def a_batch(requests: Requests, *args: Any, command: str = "embed") -> Batch:
    """A batch of requests that send these arguments, numbered from 0."""
    group = [
        (messages.Dispatch(bytes(16), number, 1, command, 30.0), encode_body(each), time.monotonic())
        for number, each in enumerate(args)
    ]
    return Batch(requests, requests.service.commands[command], requests.take_all(group))


def read(answers: list[Any]) -> dict[int, Any]:
    """Values by request; of errors code, text and details."""
    found: dict[int, Any] = {}
    for run, answer in answers:
        message, body = frames.from_worker.decode(answer)
        assert isinstance(message, messages.WorkerReply | messages.WorkerError)
        assert message.id == run.order.id
        assert message.id not in found, "answered twice"
        value = decode_body(body)
        found[message.id] = (
            value if isinstance(message, messages.WorkerReply) else (message.code, message.message, value)
        )
    return found


def texts(*words: str) -> list[dict[str, Any]]:
    return [{"text": word, "scale": 1} for word in words]


def test_one_call_with_lists_and_each_gets_his_element(requests: Requests) -> None:
    batch = a_batch(requests, *texts("a", "bb", "ccc"))
    assert read(batch.results(batch.run(), 0.5)) == {0: 1, 1: 2, 2: 3}
    assert seen == [["a", "bb", "ccc"]]
    assert not batch.left_out


def test_each_is_told_how_long_the_whole_call_took(requests: Requests) -> None:
    batch = a_batch(requests, *texts("a", "b"))
    for answers in (batch.results([1, ValueError()], 0.5), batch.failures(ValueError(), 0.5)):
        assert [frames.from_worker.decode(answer)[0].ran for _, answer in answers] == [0.5, 0.5]  # type: ignore[union-attr]


def test_who_sent_something_wrong_is_told_so_and_left_out(requests: Requests) -> None:
    batch = a_batch(requests, *texts("a"), {"text": 5, "scale": 1}, {"scale": 1}, *texts("d"))
    refused = read(batch.left_out)
    assert {number: (code, details["argument"]) for number, (code, _, details) in refused.items()} == {
        1: ("invalid_argument", "text"),
        2: ("invalid_argument", "text"),
    }
    assert "expected str, got int" in refused[1][1]
    assert read(batch.results(batch.run(), 0.0)) == {0: 1, 3: 1}


def test_who_does_not_wait_any_more_is_left_out_when_it_is_made_and_when_it_begins(requests: Requests) -> None:
    requests.running.cancel((bytes(16), 0), "cancelled")
    batch = a_batch(requests, *texts("a", "b", "c"))
    (code, text, details) = read(batch.left_out)[0]
    assert (code, details) == ("cancelled", {"outcome": "removed"})
    assert "not begun" in text
    requests.running.cancel((bytes(16), 2), "deadline")
    answers = read(batch.results(batch.run(), 0.0))
    assert answers[1] == 1
    assert answers[2][0] == "deadline_exceeded"
    assert answers[2][2] == {"where": "queued"}
    assert seen == [["b"]]


def test_nothing_is_called_for_nobody(requests: Requests) -> None:
    batch = a_batch(requests, *texts("a", "b"))
    for number in range(2):
        requests.running.cancel((bytes(16), number), "client_lost")
    assert set(read(batch.results(batch.run(), 0.0))) == {0, 1}
    assert not seen


def test_an_exception_among_the_results_is_that_callers(requests: Requests) -> None:
    batch = a_batch(requests, *texts("a", "b"))
    answers = read(batch.results([ValueError("no such word"), 7], 0.0))
    assert answers[1] == 7
    assert answers[0][:2] == ("application_error", "ValueError: no such word")


def test_a_result_that_cannot_be_sent_is_that_callers_too(requests: Requests) -> None:
    batch = a_batch(requests, *texts("a", "b"))
    answers = read(batch.results([object(), 7], 0.0))
    assert (answers[0][0], answers[1]) == ("application_error", 7)


@pytest.mark.parametrize("value", [[1], [1, 2, 3], None, {"a": 1, "b": 2}, "ab", iter([1, 2])])
def test_a_result_of_another_shape_is_everybodys_error(requests: Requests, value: Any) -> None:
    batch = a_batch(requests, *texts("a", "b"))
    for code, text, _ in read(batch.results(value, 0.0)).values():
        assert code == "application_error"
        assert "a batch of 2 must return a list of 2 results" in text


def test_what_it_raises_is_everybodys_error(requests: Requests) -> None:
    batch = a_batch(requests, *texts("a", "b"))
    assert {answer[:2] for answer in read(batch.failures(KeyError("x"), 0.0)).values()} == {
        ("application_error", "KeyError: 'x'")
    }


def test_it_is_interrupted_when_the_last_who_waits_was_told_to_stop(requests: Requests) -> None:
    batch = a_batch(requests, *texts("a", "b"))
    batch.begin()
    first, second = batch.runs
    first.context.cancel("cancelled")
    first.overdue = True
    assert not batch.overdue
    assert not batch.unwanted
    second.context.cancel("operator")
    assert batch.unwanted
    assert not batch.overdue
    second.overdue = True
    assert batch.overdue
    error = batch.interrupt()
    assert isinstance(error, Cancelled)
    answers = read(batch.failures(error, 0.1))
    assert [answers[n][::2] for n in range(2)] == [("cancelled", {"outcome": "interrupted"})] * 2
    assert "operator" in answers[1][1]


outcomes = st.lists(st.sampled_from(["wrong", "early", "late", "value", "error"]), min_size=1, max_size=32)


@given(outcomes, st.booleans(), st.integers(-1, 1))
def test_whatever_happens_each_is_answered_once(ends: list[str], raises: bool, off_by: int) -> None:
    requests = Requests(WorkerOptions("general", "-", (), "-", os.urandom(16)), service)
    try:
        for number, end in enumerate(ends):
            if end == "early":
                requests.running.cancel((bytes(16), number), "cancelled")
        batch = a_batch(requests, *({"text": 1 if end == "wrong" else "x", "scale": 1} for end in ends))
        for number, end in enumerate(ends):
            if end == "late":
                requests.running.cancel((bytes(16), number), "cancelled")
        columns = batch.begin()
        taking_part = [number for number, end in enumerate(ends) if end in ("value", "error")]
        assert [run.order.id for run in batch.runs] == taking_part
        assert all(len(column) == len(taking_part) for column in columns.values())
        elements = [ValueError() if ends[number] == "error" else number for number in taking_part]
        if raises:
            answers = batch.failures(RuntimeError(), 0.0)
        else:
            answers = batch.results(elements[: len(elements) + off_by] if off_by < 0 else elements + [0] * off_by, 0.0)
        found = read([*batch.left_out, *answers])
        assert set(found) == set(range(len(ends)))
        if not raises and (not off_by or (off_by < 0 and not elements)):
            assert all(found[number] == number for number in taking_part if ends[number] == "value")
    finally:
        requests.page.close()


# --- what cannot be a batch command -----------------------------------------------------------------------------------


def streams(text: list[str]) -> Iterator[str]:
    yield from text


def with_context(text: list[str], *, context: Context) -> list[str]:
    return text


def of_another_type(text: str) -> list[str]:
    return [text]


def with_default(text: list[str] = []) -> list[str]:  # noqa: B006 - never called
    return text


def without() -> list[str]:
    return []


def with_others(**others: list[str]) -> list[str]:
    return list(others)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (streams, "cannot stream"),
        (with_context, "no context of its own"),
        (of_another_type, "'text' is annotated str; a batch command takes a list.*list\\[str\\]"),
        (with_default, "'text' has a default"),
        (without, "one at least"),
        (with_others, "one at least"),
    ],
)
def test_a_function_that_cannot_take_batches_is_refused_at_registration(function: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        Service().command(batch=8)(function)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"batch": 0}, ValueError),
        ({"batch": 1025}, ValueError),
        ({"batch": True}, TypeError),
        ({"batch": "32"}, TypeError),
        ({"batch": 8, "max_wait": "5 minutes"}, TypeError),
        ({"batch": 8, "max_wait": "8d"}, ValueError),
        ({"max_wait": "5ms"}, TypeError),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"@service\.command"):
        Service().command(**options)


def test_the_broker_is_told() -> None:
    service = Service()
    service.command("a", batch=8, max_wait="5ms")(lambda text: text)
    service.command("b", batch=4, max_wait=0.25)(lambda text: text)
    service.command("c")(lambda text: text)
    requests = Requests(WorkerOptions("general", "-", (), "-", os.urandom(16)), service)
    assert requests.commands() == [
        messages.CommandInfo("a", batch=8, max_wait=0.005),
        messages.CommandInfo("b", batch=4, max_wait=0.25),
        messages.CommandInfo("c", batch=1),
    ]
    requests.page.close()


def test_there_is_room_on_the_page_for_batches_that_run_and_lie_ready(requests: Requests) -> None:
    slots = [requests.page.begin(bytes(16), number, 1.0) for number in range((1 + 15) * 32)]
    assert len(set(slots)) == len(requests.page.running()) == 512


@pytest.mark.parametrize(("slots", "batch", "prefetch"), [(1, 32, 15), (1, 128, 7), (4, 256, 0), (1, 1024, 0)])
def test_no_more_lies_ready_than_a_worker_can_hold(slots: int, batch: int, prefetch: int) -> None:
    service = Service()
    service.command("a", batch=batch)(lambda text: text)
    requests = Requests(WorkerOptions("general", "-", (), "-", os.urandom(16), slots), service)
    assert requests.prefetch == prefetch
    requests.page.close()


def test_batches_that_a_worker_could_not_hold_are_refused() -> None:
    check_room(WorkerOptions("general", "my_app:service", (), "-", bytes(16), 32), service)
    with pytest.raises(AdapterError, match="33 batches of 32 at a time; a worker holds at most 1024 requests"):
        check_room(WorkerOptions("general", "my_app:service", (), "-", bytes(16), 33), service)
