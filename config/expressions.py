"""Sizes as expressions of this host: `2 * cpus`, `max(1, gpus)`, `min(8, cpus - 1)`. A whitelist; nothing is evaluated."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from fractions import Fraction

from maitred.config.hardware import Hardware
from maitred.config.problems import ValueRejected, nearest

__all__ = ["EXPRESSION_FORM", "evaluate"]

MAX_CHARS = 200
"""An expression says how many workers there are, and is read by people."""

MAX_DEPTH = 20
"""Nesting; Python's parser has its own end somewhere beyond it."""

MAX_VALUE = 10**9
"""On the way as at the end: nothing that people count in workers."""

EXPRESSION_FORM = "an expression of whole numbers, cpus, gpus, + - * / //, min(…), max(…) and parentheses, as 2 * cpus"

SCHEMA_PATTERN = r"^[0-9a-z_+*/(), \t-]+$"
"""What an editor can check: the letters of it."""

_TOKENS = re.compile(r"(?:[ \t]*+(?:[0-9]++(?![A-Za-z_.])|[A-Za-z_]++|//|[-+*/(),]))++[ \t]*+")  # never backtracks
_NAMES: tuple[str, ...] = ("cpus", "gpus")
_FUNCTIONS: Mapping[str, Callable[..., Fraction]] = {"min": min, "max": max}
_OPERATORS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: lambda left, right: left / right,
    ast.FloorDiv: lambda left, right: Fraction(left // right),
}


def evaluate(text: str, hardware: Hardware) -> int:
    """The value of an expression on this hardware, rounded down.

    Raises:
        ValueRejected: it is no such expression, too long, nested too deeply, or comes to something negative, too large,
            or to a division by zero here.
    """
    if len(text) > MAX_CHARS:
        raise _rejected(text, f"longer than {MAX_CHARS} characters")
    if not _TOKENS.fullmatch(text):
        raise _rejected(text, "")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, MemoryError, RecursionError):  # the last two: how the parser says "too deep"
        raise _rejected(text, "") from None
    value = _Evaluation(text, hardware).of(tree.body, 0)
    if value < 0:
        raise _rejected(text, f"comes to {math.floor(value)} here (cpus = {hardware.cpus})")
    return math.floor(value)


def _rejected(text: str, reason: str, near: str | None = None) -> ValueRejected:
    return ValueRejected(text, EXPRESSION_FORM, reason=reason, nearest=near)


class _Evaluation:
    def __init__(self, text: str, hardware: Hardware) -> None:
        self._text = text
        self._hardware = hardware

    def of(self, node: ast.expr, depth: int) -> Fraction:
        if depth > MAX_DEPTH:
            raise _rejected(self._text, f"nested deeper than {MAX_DEPTH}")
        value = self._compute(node, depth + 1)
        if abs(value) > MAX_VALUE:
            raise _rejected(self._text, "comes to too large a number")
        return value

    def _compute(self, node: ast.expr, depth: int) -> Fraction:
        match node:
            case ast.Constant(value=int(number)) if not isinstance(number, bool):
                return Fraction(number)
            case ast.Name(id=name):
                return self._name(name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.of(operand, depth)
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
                return self._apply(_OPERATORS[type(operator)], self.of(left, depth), self.of(right, depth))
            case ast.Call(func=ast.Name(id=name), args=[_, *_] as args, keywords=[]) if name in _FUNCTIONS:
                values = [self.of(arg, depth) for arg in args]
                return _FUNCTIONS[name](values)
            case _:
                raise _rejected(self._text, "")

    def _name(self, name: str) -> Fraction:
        if name not in _NAMES:
            near = nearest(name, (*_NAMES, *_FUNCTIONS))
            raise _rejected(self._text, f"{name!r} is not known", near)
        return Fraction(self._hardware.cpus if name == "cpus" else self._hardware.gpus)

    def _apply(self, operator: Callable[[Fraction, Fraction], Fraction], left: Fraction, right: Fraction) -> Fraction:
        try:
            return operator(left, right)
        except ZeroDivisionError:
            raise _rejected(self._text, "divides by zero on this host") from None
