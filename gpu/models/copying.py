"""Copies of modules: the module that a user passes in is never changed."""

import copy

import torch
from torch import nn

COMPRESSED = (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)
"""Layouts of tensors that `copy.deepcopy` cannot copy, although they can be cloned."""


def copy_of(module: nn.Module) -> nn.Module:
    """Return a deep copy of a module, even if it holds results of its last run, as weight normalisation does.

    Raises
    ------
    TypeError
        If ``module`` is not an ``nn.Module``.
    ValueError
        If a part of it cannot be copied, such as a lock or an open file.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module: expected an nn.Module, got {type(module).__name__}")
    # torch refuses to copy tensors with a gradient history; hooks compute these results anew in the next forward pass
    held = (value for part in module.modules() for value in (*vars(part).values(), *part.buffers(recurse=False)))
    tensors = [value for value in held if isinstance(value, torch.Tensor)]
    known = {id(value): value.detach().clone() for value in tensors if not value.is_leaf or value.layout in COMPRESSED}
    try:
        return copy.deepcopy(module, known)
    except Exception as error:  # a module may hold any object, and its copying may raise any error
        raise ValueError(
            f"module: expected a module that copy.deepcopy can copy, got {type(error).__name__}: {error}"
        ) from error
