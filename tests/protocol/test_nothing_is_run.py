"""What comes over the wire is data: no code is made, found or loaded by it. Looked for in the source itself.

What can run what it is given is allowed where it is named below, with what it is given there.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("protocol", "tracing", "transport", "broker", "client", "worker", "launcher")

MODULES = {
    "pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "jsonpickle", "runpy",
    "code", "imp", "ctypes",
}  # fmt: skip
CALLS = {
    "eval", "exec", "compile", "__import__", "import_module", "spec_from_file_location", "exec_module", "load_module",
    "run_path", "run_module", "recv_pyobj", "send_pyobj", "recv_serialized", "system", "popen",
}  # fmt: skip

ALLOWED = {
    ("worker/loading.py", "import_module"): "the adapter that the configuration, or the command line, names",
    ("worker/loading.py", "spec_from_file_location"): "the same, named by its file",
    ("worker/loading.py", "exec_module"): "the same",
    (
        "worker/options.py",
        "multiprocessing.reduction",
    ): "WorkerOptions go from an agent to its own child, by a pipe of theirs",
    ("worker/started_page.py", "multiprocessing.reduction"): "a descriptor, on its way with them",
    ("worker/adapters/extras.py", "import_module"): "libraries that our own adapters name",
    ("worker/gpus/nvml.py", "import_module"): "pynvml, by its name",
    ("transport/lifeline.py", "ctypes"): "prctl, of the C library",
    ("transport/undumpable.py", "ctypes"): "the same",
    ("broker/memory.py", "ctypes"): "malloc_trim, of the C library",
}
"""By file and what is used: why what it is given never comes from a peer."""


def uses(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((each.name, node.lineno) for each in names if _suspicious(each.name))
            case ast.ImportFrom(module=str(module)) if _suspicious(module):
                yield module, node.lineno
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in CALLS:
                if not (name == "compile" and _is_of_re(node.func)):
                    yield name, node.lineno


def _suspicious(module: str) -> bool:
    return module.partition(".")[0] in MODULES or module == "multiprocessing.reduction"


def _is_of_re(function: ast.expr) -> bool:
    match function:
        case ast.Attribute(value=ast.Name(id="re")):
            return True
        case _:
            return False


def found() -> dict[tuple[str, str], list[int]]:
    result: dict[tuple[str, str], list[int]] = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for what, line in uses(ast.parse(path.read_text())):
                result.setdefault((str(path.relative_to(ROOT)), what), []).append(line)
    return result


def test_nothing_that_runs_what_it_is_given_is_used_but_where_it_is_given_nothing_of_a_peers() -> None:
    unknown = {place: lines for place, lines in found().items() if place not in ALLOWED}
    assert unknown == {}


def test_what_is_allowed_is_there() -> None:
    assert ALLOWED.keys() <= found().keys()


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import yaml; yaml.load(x)",
        "eval(body)",
        "exec(body)",
        "importlib.import_module(name)",
        "__import__(name)",
        "socket.recv_pyobj()",
        "compile(text, '', 'exec')",
        "import marshal as m",
        "import shelve",
        "os.system(x)",
    ],
)
def test_it_would_be_found(text: str) -> None:
    assert list(uses(ast.parse(text)))


def test_words_of_regular_expressions_are_not_meant() -> None:
    assert not list(uses(ast.parse("import re; re.compile('a')")))
