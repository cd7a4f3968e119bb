"""The echo, in a module that imports scikit-learn: what that adds to a start is a question of `startup`."""

from __future__ import annotations

import importlib

from maitred.benchmarks.subjects.echo import service

__all__ = ["service"]

importlib.import_module("sklearn.ensemble")  # `sklearn` itself imports next to nothing
