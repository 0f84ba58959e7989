"""The comparison of two traces of a module."""

from dataclasses import fields, is_dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import torch

from gpu.tracing.builder import AnyGraph


def first_difference(graph: AnyGraph, other: AnyGraph) -> str | None:
    """Return the name of the first operation whose parameters or inputs differ in two graphs; None if none does."""
    for mine, theirs in zip_longest(graph.nodes, other.nodes):
        if mine is None or theirs is None or mine.inputs != theirs.inputs or not same(mine.operation, theirs.operation):
            return str((mine or theirs).name)
    return None


def same(a: Any, b: Any) -> bool:
    """Return whether two objects have one type and equal contents, down to the entries of arrays; NaN equals nothing.

    Examples
    --------
    >>> same({"weights": [np.ones(2)]}, {"weights": [np.ones(2)]}), same(np.ones(2), np.ones(3)), same(1, 1.0)
    (True, False, False)
    """
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return bool(a.dtype == b.dtype and torch.equal(a, b))
    if isinstance(a, np.ndarray):
        return bool(a.dtype == b.dtype and np.array_equal(a, b))
    if is_dataclass(a):
        return all(same(getattr(a, field.name), getattr(b, field.name)) for field in fields(a) if field.compare)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(a == b)
