"""Registration: names, kinds, options, and everything that is refused before a process starts."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from typing import Any

import pytest

import maitred.worker
from maitred.protocol.errors import UnknownCommand
from maitred.worker import Context, Service
from maitred.worker.service import Kind


@pytest.fixture
def service() -> Service:
    return Service()


def test_a_bare_command_is_named_after_its_function(service: Service) -> None:
    @service.command
    def echo(message: str) -> str:
        """Say it again.

        More words.
        """
        return message

    assert echo("a") == "a"  # the function stays what it was
    assert service.commands["echo"].function is echo
    assert service.commands["echo"].describe() == {
        "name": "echo",
        "idempotent": False,
        "streams": False,
        "batch": 0,
        "parameters": [{"name": "message", "type": "str", "required": True}],
        "doc": "Say it again.",
    }


def test_a_command_with_a_name_and_options(service: Service) -> None:
    @service.command("optimize_model", idempotent=True)
    def optimize(iterations: int = 3, *, context: Context):
        yield iterations

    command = service.commands["optimize_model"]
    assert (command.name, command.idempotent, command.streams) == ("optimize_model", True, True)
    assert command.context_parameter == "context"
    assert command.validate({"iterations": 5}) == {"iterations": 5}
    assert json.dumps(command.describe())

    @service.command(idempotent=True)
    def later() -> None: ...

    assert service.commands["later"].idempotent


def sync(): ...
def generator():
    yield 1


async def coroutine(): ...
async def async_generator():
    yield 1


class Callable:
    async def __call__(self, x: int): ...

    def method(self, x: int):
        yield x


def wrapped(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (sync, Kind.SYNC),
        (lambda: 1, Kind.SYNC),
        (generator, Kind.GENERATOR),
        (coroutine, Kind.ASYNC),
        (async_generator, Kind.ASYNC_GENERATOR),
        (functools.partial(generator), Kind.GENERATOR),
        (functools.partial(functools.partial(coroutine)), Kind.ASYNC),
        (wrapped(coroutine), Kind.ASYNC),
        (functools.partial(wrapped(async_generator)), Kind.ASYNC_GENERATOR),
        (Callable(), Kind.ASYNC),
        (Callable().method, Kind.GENERATOR),
    ],
)
def test_kinds(service: Service, function: Any, kind: Kind) -> None:
    service.command("run")(function)
    command = service.commands["run"]
    assert command.kind is kind
    assert command.streams == (kind in (Kind.GENERATOR, Kind.ASYNC_GENERATOR))
    assert service.needs_trio == command.is_async == (kind in (Kind.ASYNC, Kind.ASYNC_GENERATOR))


def test_a_partial_and_a_method_take_what_is_left(service: Service) -> None:
    def scale(model: object, x: int, factor: int = 2) -> int:
        return x * factor

    service.command("scale")(functools.partial(scale, object(), factor=5))
    assert [str(parameter) for parameter in service.commands["scale"].parameters] == ["x: int", "factor: int = 5"]
    service.command("method")(Callable().method)
    assert [parameter.name for parameter in service.commands["method"].parameters] == ["x"]


def test_options_that_do_not_exist(service: Service) -> None:
    with pytest.raises(TypeError, match=r"no option 'idempotnt'; it has: idempotent"):
        service.command(idempotnt=True)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="must be True or False, not 'yes'"):
        service.command(idempotent="yes")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="a function or a name, not 3"):
        service.command(3)  # type: ignore[call-overload]


def test_names(service: Service) -> None:
    service.command("n" * 128)(sync)
    for name in ("", "n" * 129, "a b", "a\n"):
        with pytest.raises(ValueError, match="name"):
            service.command(name)(sync)
    for nameless in (lambda: 1, functools.partial(sync), Callable()):
        with pytest.raises(TypeError, match="no name of its own"):
            service.command(nameless)
    with pytest.raises(TypeError, match="above a function"):
        service.command()(3)  # type: ignore[type-var]


def test_a_name_taken_twice_names_both(service: Service) -> None:
    service.command("run")(sync)
    with pytest.raises(ValueError, match=r"'run' is registered twice: .*sync, .*generator"):
        service.command("run")(generator)


def test_a_refused_command_is_not_registered(service: Service) -> None:
    with pytest.raises(TypeError, match=r"test_service\..*<lambda>: parameter '\*values'"):
        service.command("run")(lambda *values: None)
    assert not service.commands


def test_a_service_has_a_bound(service: Service) -> None:
    for number in range(512):
        service.command(f"c{number}")(sync)
    with pytest.raises(ValueError, match="at most 512"):
        service.command("one_more")(sync)


def test_commands_cannot_be_written(service: Service) -> None:
    with pytest.raises(TypeError):
        service.commands["a"] = None  # type: ignore[index]


def test_find(service: Service) -> None:
    service.command("echo")(sync)
    assert service.find("echo").name == "echo"
    with pytest.raises(UnknownCommand, match="did you mean 'echo'") as caught:
        service.find("ecko")
    assert (caught.value.command, caught.value.commands, caught.value.nearest) == ("ecko", ["echo"], "echo")
    with pytest.raises(UnknownCommand, match="it has: none"):
        Service().find("x")


def test_startup(service: Service) -> None:
    @service.startup
    def load() -> None: ...

    @service.startup
    async def connect(context: Context) -> None: ...

    found = [(item.function, item.is_async, item.takes_context) for item in service.startups]
    assert found == [(load, False, False), (connect, True, True)]
    assert service.needs_trio
    with pytest.raises(TypeError, match="nothing, or one `context`"):
        service.startup(lambda a, b: None)
    with pytest.raises(TypeError, match="must not yield"):
        service.startup(generator)


def test_the_public_surface() -> None:
    assert maitred.worker.__all__ == ["Cancelled", "Context", "Service", "Session"]


@pytest.mark.slow
def test_importing_it_is_cheap() -> None:
    program = "import maitred.worker, sys; print([m for m in ('trio', 'zmq', 'numpy', 'asyncio') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_what_is_to_be_preloaded_takes_nothing() -> None:
    service = Service()

    @service.preload
    def imports() -> None: ...

    assert service.preloads == (imports,)
    with pytest.raises(TypeError, match="takes nothing"):
        service.preload(lambda context: None)
