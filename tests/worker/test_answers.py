"""What comes of a request, and the message that says so."""

from __future__ import annotations

from typing import Any

import pytest

from maitred.protocol import frames, messages
from maitred.protocol.body import decode_body, encode_body
from maitred.protocol.errors import EncodeError, InvalidArgument, PayloadTooLarge, UnknownCommand
from maitred.protocol.limits import MAX_TEXT_CHARS
from maitred.worker import Service, answers
from maitred.worker.context import Cancelled, Context, NotBegun

ORDER = messages.Dispatch(bytes(16), 7, 2, "echo", 30.0)
ROOM = 1 << 20

service = Service()


@service.command
def echo(message: str) -> str:
    return message


def read(answer: list[Any]) -> tuple[Any, Any]:
    decoded, body = frames.from_worker.decode(answer)
    message: Any = decoded
    assert (message.client, message.id, message.attempt) == (ORDER.client, ORDER.id, ORDER.attempt)
    return message, decode_body(body)


def failed(error: BaseException, context: Context | None = None) -> tuple[str, str, dict[str, Any]]:
    message, details = read(answers.failure(ORDER, error, context))
    assert isinstance(message, messages.WorkerError)
    return message.code, message.message, details


def test_a_value_is_a_reply() -> None:
    message, value = read(answers.result(ORDER, {"rows": [1, b"x"]}, ROOM))
    assert isinstance(message, messages.WorkerReply)
    assert value == {"rows": [1, b"x"]}


def test_a_part_carries_its_number() -> None:
    message, value = read(answers.part(ORDER, 5, "piece", ROOM))
    assert isinstance(message, messages.WorkerPart)
    assert (message.number, value) == (5, "piece")


def test_a_sentence_is_cut_to_what_a_header_may_hold() -> None:
    _, text, _ = failed(InvalidArgument("x" * 9999, argument="a"))
    assert 1000 < len(text) <= MAX_TEXT_CHARS


def test_a_result_that_is_too_large_says_how_large() -> None:
    message, details = read(answers.result(ORDER, b"x" * 100_000, 1000))
    assert message.code == "payload_too_large"
    assert details["what"] == "result"
    assert details["size"] > details["limit"] == 1000
    with pytest.raises(PayloadTooLarge):
        answers.part(ORDER, 0, b"x" * 100_000, 1000)


class Rude(dict[str, int]):
    def items(self) -> Any:
        raise KeyError("not for you")


@pytest.mark.parametrize("value", [object(), {"rows": [object()]}, "\udc80", 1 << 70, Rude(a=1)])
def test_a_result_that_cannot_be_encoded_is_an_error_of_the_application(value: Any) -> None:
    message, _ = read(answers.result(ORDER, value, ROOM))
    assert message.code == "application_error"


@pytest.mark.parametrize(
    ("error", "context", "code"),
    [
        (UnknownCommand("no such command"), None, "unknown_command"),
        (InvalidArgument("it is wrong", argument="message"), None, "invalid_argument"),
        (InvalidArgument("the function itself says so", argument="message"), Context(), "invalid_argument"),
        (InvalidArgument("another's", argument="m", called="other/echo"), Context(), "application_error"),
        (UnknownCommand("another's"), Context(), "application_error"),
        (ValueError("no such row"), Context(), "application_error"),
        (SystemExit(1), Context(), "application_error"),
        (KeyboardInterrupt(), Context(), "application_error"),
        (EncodeError("no value"), Context(), "application_error"),
        (Cancelled("cancelled"), Context(), "cancelled"),
        (Cancelled("client_lost"), Context(), "cancelled"),
        (Cancelled("draining"), Context(), "cancelled"),
        (Cancelled("deadline"), Context(), "deadline_exceeded"),
    ],
)
def test_each_end_has_its_code(error: BaseException, context: Context | None, code: str) -> None:
    assert failed(error, context)[0] == code


@pytest.mark.parametrize(
    ("error", "outcome", "code", "details", "text"),
    [
        (Cancelled("cancelled"), "stopped", "cancelled", {"outcome": "stopped"}, "'echo' stopped, as its caller asked"),
        (
            Cancelled("operator"),
            "interrupted",
            "cancelled",
            {"outcome": "interrupted"},
            "'echo' was interrupted, as an operator asked",
        ),
        (
            NotBegun("client_lost"),
            "stopped",
            "cancelled",
            {"outcome": "removed"},
            "'echo' was not begun, as its client is gone",
        ),
        (
            Cancelled("a reason of a later version"),
            "stopped",
            "cancelled",
            {"outcome": "stopped"},
            "'echo' stopped, as its caller asked",
        ),
        (
            Cancelled("deadline"),
            "interrupted",
            "deadline_exceeded",
            {"where": "running"},
            "'echo' was interrupted, as its time was over",
        ),
        (
            NotBegun("deadline"),
            "stopped",
            "deadline_exceeded",
            {"where": "queued"},
            "'echo' was not begun, as its time was over",
        ),
    ],
)
def test_what_was_stopped_says_how_and_why(
    error: BaseException, outcome: str, code: str, details: dict[str, Any], text: str
) -> None:
    message, found = read(answers.failure(ORDER, error, Context(), outcome=outcome))
    assert (message.code, found, message.message) == (code, details, text)


@pytest.mark.parametrize(
    "error",
    [
        InvalidArgument("no file \udc80", argument="\udc80"),
        InvalidArgument("x" * 100_000, argument="message", received=object()),
        PayloadTooLarge("\udc80", size=1 << 70, limit=1, what="part"),
        ValueError("\udc80" * 10_000),
    ],
)
def test_whatever_was_raised_there_is_an_answer(error: BaseException) -> None:
    code, text, _ = failed(error, Context())
    assert code
    assert len(text) <= answers.MAX_SENTENCE_CHARS


def test_arguments_are_read_and_checked() -> None:
    command, kwargs = answers.read_request(service, ORDER, encode_body({"message": "hello"}))
    assert (command.name, kwargs) == ("echo", {"message": "hello"})
    for body in ([b"\xc1"], [b""], encode_body({"mesage": "?"}), encode_body([1])):
        with pytest.raises(InvalidArgument):
            answers.read_request(service, ORDER, body)
