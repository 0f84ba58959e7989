"""Copies of modules: what is run, changed or rewritten is always a copy."""

import copy

import torch
from torch import nn


def copy_of(module: nn.Module) -> nn.Module:
    """Return a deep copy of a module, also of one that holds results of its last run, as weight normalisation does.

    Raises
    ------
    TypeError
        If it is no ``nn.Module``.
    ValueError
        If a part of it cannot be copied, such as a lock or an open file.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module: expected an nn.Module, got {type(module).__name__}")
    # torch copies no tensor that has a history; the hooks that left it there compute it anew at the next run
    results = (value for part in module.modules() for value in vars(part).values() if isinstance(value, torch.Tensor))
    known = {id(value): value.detach().clone() for value in results if not value.is_leaf}
    try:
        return copy.deepcopy(module, known)
    except Exception as error:  # parts of a module may be anything, and so may what their copying raises
        raise ValueError(
            f"module: expected a module that copy.deepcopy can copy, got {type(error).__name__}: {error}"
        ) from error
