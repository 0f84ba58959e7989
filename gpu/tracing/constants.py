"""Tensors that do not depend on the input: parameters, and what a forward computes from them."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from gpu.models.nonlinearities import EVALUATE
from gpu.tracing.nodes import full_name_of, name_of
from gpu.tracing.values import Refusal

NEVER_WRITTEN = ("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted")
"""Operations whose result is uninitialised memory."""


def constant(tensor: torch.Tensor) -> torch.Tensor:
    """Return a parameter or a buffer as ``module.double()`` has it, on the CPU."""
    tensor = tensor.detach().cpu()
    if tensor.is_complex():
        return tensor.to(torch.complex128)
    return tensor.double() if tensor.is_floating_point() else tensor


def evaluate(node: torch.fx.Node, args: Any, kwargs: Any) -> Any:
    """Return the result of an operation on constants.

    Raises
    ------
    Refusal
        If the result is random, or not known to be the same at every call.
    """
    name = name_of(node).rstrip("_")
    switched_off = name.endswith("dropout") and len(args) > 2 and not (args[1] and args[2])
    seeded = any(isinstance(leaf, torch.Generator) for leaf in pytree.tree_leaves((args, kwargs)))
    if (seeded or torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())) and not switched_off:
        raise Refusal(f"{name} is random", EVALUATE if name.endswith("dropout") else "")
    if isinstance(node.target, torch._ops.OperatorBase) and getattr(node.target, "namespace", "") != "aten":
        raise Refusal(f"{full_name_of(node)} is not known to give the same result at every call")
    with torch.no_grad():
        try:
            return computed(node, args, kwargs)
        except RuntimeError:  # constants made in a forward are float32 even where the parameters became float64
            return computed(node, pytree.tree_map_only(torch.Tensor, constant, args), kwargs)


def computed(node: torch.fx.Node, args: Any, kwargs: Any) -> Any:
    """Return what torch computes from constants, on the CPU.

    Uninitialised memory is filled with NaN, which shows up later if it is read before it is written.

    Raises
    ------
    Refusal
        If it is uninitialised memory for integers, which have no NaN.
    """
    target: Any = node.target
    if "device" in kwargs:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    result = target(*args, **kwargs)
    if name_of(node) in NEVER_WRITTEN:
        if not result.is_floating_point():
            raise Refusal(f"{name_of(node)} gives integers that were never written")
        result.fill_(torch.nan)
    return result


def without_samples(c: torch.Tensor, axis: int) -> torch.Tensor:
    """Return a constant that was expanded along the batch axis, with a length of 1 there.

    Raises
    ------
    Refusal
        If its entries differ between samples.
    """
    first = c.narrow(axis, 0, 1)
    if c.shape[axis] > 1 and not torch.equal(c, first.expand_as(c)):
        raise Refusal("a constant with an entry of its own for each sample of the batch")
    return first
