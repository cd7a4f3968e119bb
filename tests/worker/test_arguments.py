"""Arguments against annotations: what passes, and how a refusal names what is wrong."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal, Protocol, TypedDict

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maitred.protocol.errors import InvalidArgument
from maitred.worker.arguments import Arguments
from maitred.worker.context import Context
from maitred.worker.signature import read_signature


class Row(TypedDict):
    x: int


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0

    def __post_init__(self) -> None:
        if self.x > 1000:
            raise KeyError("too far")


class Options(msgspec.Struct):
    depth: int = 3


class Walks(Protocol):
    def walk(self) -> None: ...


class Foreign:
    pass


def check(function: Any, args: Any) -> dict[str, Any]:
    return Arguments("run", read_signature(function, "m.run"), "m.run").validate(args)


def refuse(function: Any, args: Any) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        check(function, args)
    assert str(caught.value).startswith("run: ")
    return caught.value


def typed(annotation: Any) -> Any:
    def run(x): ...

    run.__annotations__ = {"x": annotation}
    return run


@pytest.mark.parametrize(
    ("annotation", "value", "result"),
    [
        (int, 3, 3),
        (float, 3, 3.0),
        (float | None, None, None),
        (int | str, "a", "a"),
        (bytes, b"a", b"a"),
        (bytes, memoryview(b"a"), b"a"),
        (list[float], [1, 2.5], [1.0, 2.5]),
        (tuple[int, str], [1, "a"], (1, "a")),
        (set[int], [1, 1], {1}),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (list[Row], [{"x": 1}], [{"x": 1}]),
        (Point, {"x": 1}, Point(1)),
        (Options, {}, Options(3)),
        (Literal["a", 1], 1, 1),
        (Annotated[int, msgspec.Meta(ge=0)], 0, 0),
        (dict, {1: 2}, {1: 2}),
        (object, {1: 2}, {1: 2}),
        (Any, b"anything", b"anything"),
    ],
)
def test_accepts(annotation: Any, value: Any, result: Any) -> None:
    found = check(typed(annotation), {"x": value})["x"]
    assert found == result
    assert type(found) is type(result)


@pytest.mark.parametrize(
    ("annotation", "value", "argument", "expected", "received"),
    [
        (int, "3", "x", "int", "str"),
        (int, 3.0, "x", "int", "float"),
        (int, True, "x", "int", "bool"),
        (str, 3, "x", "str", "int"),
        (bytes, "YWJj", "x", "bytes", "str"),
        (int, None, "x", "int", "None"),
        (list[int], {"a": 1}, "x", "list", "dict"),
        (list[Row], [{"x": 1}, {"x": "1"}], "x[1].x", "int", "str"),
        (dict[str, list[int]], {"a": ["b"]}, "x[...][0]", "int", "str"),
        (dict[str, int], {1: 1}, "x", "str as a key", "int"),
        (Annotated[int, msgspec.Meta(ge=0)], -5, "x", "int >= 0", "int"),
        (np.ndarray, [1], "x", "numpy.ndarray", "list"),
        (list[np.ndarray], [1], "x[0]", "numpy.ndarray", "int"),
        (Foreign | None, 1, "x", f"{__name__}.Foreign", "int"),
        (Literal["a", "b"], "c", "x", "Literal['a', 'b']", "str"),
    ],
)
def test_refuses_by_name_expectation_and_type(
    annotation: Any, value: Any, argument: str, expected: str, received: str
) -> None:
    error = refuse(typed(annotation), {"x": value})
    assert (error.argument, error.expected, error.received) == (argument, expected, received)
    assert argument in str(error)
    assert expected in str(error)


def test_the_value_is_shown_where_its_type_was_right() -> None:
    assert "expected int >= 0, got -5" in str(refuse(typed(Annotated[int, msgspec.Meta(ge=0)]), {"x": -5}))
    assert "'c'" in str(refuse(typed(Literal["a"]), {"x": "c"}))
    assert len(str(refuse(typed(Annotated[str, msgspec.Meta(max_length=3)]), {"x": "c" * 9999}))) < 200


def test_an_inner_field_that_is_missing() -> None:
    error = refuse(typed(list[Row]), {"x": [{}]})
    assert error.argument == "x[0]"
    assert "missing field x" in str(error)


def test_what_an_inner_constructor_raises_is_the_callers_fault() -> None:
    assert "too far" in str(refuse(typed(Point), {"x": {"x": 1001}}))


def test_arrays_pass_untouched() -> None:
    array = np.arange(3)
    assert check(typed(np.ndarray), {"x": array})["x"] is array
    assert check(typed(Any), {"x": array})["x"] is array


def test_missing_lists_the_signature() -> None:
    def run(iterations: int, data: list[int], seed=7): ...

    error = refuse(run, {"seed": 1})
    assert (error.argument, error.reason) == ("iterations", "missing")
    assert "missing arguments 'iterations', 'data'" in str(error)
    assert "(iterations: int, data: list[int], seed = 7)" in str(error)


def test_unknown_lists_what_is_taken_and_the_nearest() -> None:
    def run(iterations: int, seed: int = 1): ...

    error = refuse(run, {"iteration": 1})
    assert (error.argument, error.reason, error.nearest) == ("iteration", "unknown", "iterations")
    assert error.accepted == ["iterations", "seed"]
    assert "did you mean 'iterations'" in str(error)
    assert "takes no arguments" in str(refuse(lambda: None, {"a": 1}))
    assert refuse(lambda x: None, {"x": 1, 7: 1}).argument == "7"


@pytest.mark.parametrize("args", [None, [], [1], "x", 1, b"", np.arange(2)])
def test_arguments_that_are_no_map(args: Any) -> None:
    for function in (typed(int), typed(Any), lambda **fields: None):
        assert refuse(function, args).argument is None


def test_defaults_stay_the_functions_own() -> None:
    default = ["kept"]

    def run(x: int, y: Any = default, z: int = None): ...  # noqa: RUF013 - the habit it is about

    assert check(run, {"x": 1}) == {"x": 1}
    assert check(run, {"x": 1, "z": None}) == {"x": 1, "z": None}  # a default of None may be said aloud


def test_extras() -> None:
    assert check(lambda **fields: None, {"a": 1, "b": [2]}) == {"a": 1, "b": [2]}
    assert refuse(lambda **fields: None, {1: 1}).argument == "1"

    def typed_extras(x: str, **more: int): ...

    assert check(typed_extras, {"x": "a", "n": 1}) == {"x": "a", "n": 1}
    assert refuse(typed_extras, {"x": "a", "n": "1"}).argument == "n"
    assert refuse(typed_extras, {"n": 1}).argument == "x"
    assert refuse(typed_extras, {"x": 1}).argument == "x"


def test_the_context_is_no_argument() -> None:
    def run(x: int, context: Context, **more: Any): ...

    signature = read_signature(run, "m.run")
    assert signature.context == "context"
    assert [parameter.name for parameter in signature.parameters] == ["x"]
    assert refuse(run, {"x": 1, "context": "mine"}).argument == "context"


def test_the_context_is_found_by_type_or_by_bare_name() -> None:
    assert read_signature(lambda context: None, "f").context == "context"

    def by_type(request: Context | None = None): ...

    assert read_signature(by_type, "f").context == "request"

    def a_text(question: str, context: str): ...

    assert read_signature(a_text, "f").context is None
    assert check(a_text, {"question": "?", "context": "here"}) == {"question": "?", "context": "here"}


def test_the_context_may_be_imported_for_the_type_checker_only() -> None:
    space: dict[str, Any] = {}
    exec('def run(x: "int", context: "Context"): ...', space)
    assert read_signature(space["run"], "f").context == "context"


def _positional(x, /): ...
def _starred(*values): ...
def _twice(a: Context, b: Context): ...
def _unresolved(x): ...
def _union(x: np.ndarray | list[int]): ...
def _nothing(x: 3): ...  # type: ignore[valid-type]
def _protocol(x: list[Walks]): ...


_unresolved.__annotations__ = {"x": "Nowhere"}


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (_positional, ["'x'", "positional", "'/'"]),
        (_starred, ["'*values'", "positional"]),
        (_twice, ["'a'", "'b'", "context"]),
        (_unresolved, ["'x'", "Nowhere", "resolved"]),
        (_union, ["'x'", "cannot be checked"]),
        (_nothing, ["'x'", "cannot be checked"]),
        (_protocol, ["'x'", "cannot be checked", "rotocol"]),
    ],
)
def test_what_cannot_be_served_is_refused_at_once(function: Any, words: list[str]) -> None:
    with pytest.raises(TypeError) as caught:
        check(function, {})
    for word in ["m.run", *words]:
        assert word in str(caught.value)


_leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
_keys = st.sampled_from(["x", "data", "kind", "n", "context", "y"]) | st.text() | st.integers() | st.binary()
_values = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4), max_leaves=12
)


def _closed(
    x: Point,
    data: list[Row] | None = None,
    kind: Literal["a", "b"] = "a",
    n: Annotated[int, msgspec.Meta(ge=0)] = 0,
    *,
    context: Context,
): ...


def _open(x: bytes, n: np.ndarray | None = None, *, context: Context, **more: list[dict[str, float]]): ...
def _free(x: Any, y: Any = None): ...


@pytest.mark.parametrize("function", [_closed, _open, _free], ids=["closed", "open", "free"])
@given(args=st.dictionaries(_keys, _values, max_size=5) | _values)
def test_either_keyword_arguments_or_a_refusal(function: Any, args: Any) -> None:
    try:
        kwargs = check(function, args)
    except InvalidArgument:
        pass
    else:
        function(**kwargs, **({} if function is _free else {"context": Context()}))
