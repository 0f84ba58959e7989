"""Whether a rewritten module computes what the original does: outputs, buffers and gradients on the same input."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from numbers import Number
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from gpu.models.copying import copy_of


def disagreement(
    original: nn.Module,
    rewritten: nn.Module,
    inputs: Any,
    *,
    gradients: bool = False,
    double: bool = False,
    rtol: float | None = None,
) -> str | None:
    """Return where two modules compute different values on the same input, None if they agree.

    Copies of both are run in their present mode, from the same random states (Python, numpy, torch). The modules, the
    inputs, and the random states stay as they were.

    Parameters
    ----------
    original, rewritten : nn.Module
        The modules, each in the mode in which it is compared.
    inputs : tensor, or tuple of arguments
        The input, or the positional arguments of the forward; tensors in lists and dicts are arguments' tensors, too.
    gradients : bool
        Compare the gradients of the parameters that both have by name, and those of the floating-point inputs, for
        random cotangents of the outputs. False by default.
    double : bool
        Compare in float64: convert the copies and the floating-point inputs. By default the dtypes stay.
    rtol : float, optional
        Difference allowed, as a fraction of a tensor's largest absolute value; 0 means the same bits, up to the sign
        of zero. By default it is the square root of the machine epsilon of the tensor's dtype: half of its digits.

    Returns
    -------
    str or None
        A sentence that names the first output, buffer or gradient that differs, and by how much. Buffers, such as
        running statistics, are compared by name as the run left them. NaN equals NaN, and an infinity equals itself.

    Raises
    ------
    Exception
        The error of the original, if it cannot be run on the inputs. An error of the rewritten module alone is a
        disagreement.

    Examples
    --------
    >>> first, x = nn.Linear(3, 2), torch.ones(4, 3)
    >>> disagreement(first, nn.Sequential(first), x)
    >>> disagreement(nn.Identity(), nn.ReLU(), torch.tensor([-1.0, 2.0]))
    'the output differs by 0.5 of its largest absolute value, which is 2'
    """
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    expected = _run(original, arguments, gradients, double)
    try:
        got = _run(rewritten, arguments, gradients, double)
    except Exception as error:  # a forward may raise any error
        return f"the rewritten module raises {type(error).__name__}: {error}"
    for name in expected.outputs.keys() ^ got.outputs.keys():
        return f"{name} is in one of the two only"
    # a gradient that is zero in exact arithmetic, as that of a bias before batch normalisation, is the others' rounding
    floor = 1e-3 * max(map(_largest, expected.gradients.values()), default=0.0)
    return (
        _first_difference(expected.outputs, got.outputs, rtol)
        or _first_difference(expected.buffers, got.buffers, rtol)
        or _first_difference(expected.gradients, got.gradients, rtol, floor)
    )


Values = dict[str, Any]
"""Tensors and numbers by the words that name them in a sentence."""


class Found(NamedTuple):
    """What a run gave."""

    outputs: Values
    buffers: Values
    gradients: Values


def _run(module: nn.Module, arguments: tuple[Any, ...], gradients: bool, double: bool) -> Found:
    """Run a copy of a module; return its outputs, the buffers afterwards, and the gradients if they are asked for."""
    with random_states_kept(), torch.inference_mode(mode=False), torch.set_grad_enabled(gradients):
        runner = copy_of(module)
        if double:
            runner.double()
        runner.zero_grad(set_to_none=True)  # the module may hold gradients of its own
        leaves: list[torch.Tensor] = []

        def prepared(tensor: torch.Tensor) -> torch.Tensor:
            """Return a tensor of the forward's own, which it may write into."""
            fresh = tensor.detach().clone()
            if double and fresh.is_floating_point():
                fresh = fresh.double()
            if gradients and (fresh.is_floating_point() or fresh.is_complex()):
                leaves.append(fresh.requires_grad_())
                fresh = fresh.clone()
            return fresh

        outputs = dict(_leaves("the output", runner(*tree_map_only(torch.Tensor, prepared, arguments))))
        # clones, because an output may be a buffer, and a hook of the backward pass may write into either
        found = Found(
            {name: _still(value) for name, value in outputs.items()},
            {f"the buffer {name} after the run": _still(value) for name, value in runner.named_buffers()},
            {},
        )
        if gradients:
            _backward([value for value in outputs.values() if isinstance(value, torch.Tensor) and value.requires_grad])
            found.gradients.update({f"the gradient of {name}": p.grad for name, p in runner.named_parameters()})
            found.gradients.update({f"the gradient of input {i}": leaf.grad for i, leaf in enumerate(leaves)})
        return found


def _still(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def _backward(outputs: list[torch.Tensor]) -> None:
    """Add the gradients for cotangents that are the same for outputs of the same shapes.

    `torch.autograd.grad` would not do: it refuses a network with reentrant checkpoints.
    """
    generator = torch.Generator().manual_seed(0)
    cotangents = [torch.randn(output.shape, generator=generator).to(output) for output in outputs]
    if outputs:
        torch.autograd.backward(outputs, cotangents)


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and the value of each tensor, number or other object in nested containers."""
    if isinstance(value, Mapping):
        parts = [(f"{name}[{key!r}]", part) for key, part in value.items()]
    elif isinstance(value, (list, tuple)):
        parts = [(f"{name}[{number}]", part) for number, part in enumerate(value)]
    elif is_dataclass(value) and not isinstance(value, type):
        parts = [(f"{name}.{field.name}", getattr(value, field.name)) for field in fields(value)]
    else:
        yield name, value
        return
    for part_name, part in parts:
        yield from _leaves(part_name, part)


def _first_difference(expected: Values, got: Values, rtol: float | None, floor: float = 0.0) -> str | None:
    """Return a sentence on the first value of a name common to both that differs, None if none does."""
    for name, value in expected.items():
        difference = _difference(value, got[name], rtol, floor) if name in got else None
        if difference is not None:
            return f"{name} {difference}"
    return None


def _difference(expected: Any, got: Any, rtol: float | None, floor: float) -> str | None:
    """Return the predicate of a sentence on how a value differs; values below ``floor`` are measured by it."""
    if type(expected) is not type(got):
        return f"is of type {type(got).__name__}, expected {type(expected).__name__}"
    if not isinstance(expected, torch.Tensor):
        comparable = expected is None or isinstance(expected, (Number, str))
        same = expected is got or (comparable and (expected == got or (expected != expected and got != got)))
        return None if same else f"is {got!r}, expected {expected!r}"
    for attribute in ("shape", "dtype", "device"):
        mine, theirs = getattr(expected, attribute), getattr(got, attribute)
        if mine != theirs:
            return f"has the {attribute} {theirs}, expected {mine}"
    if expected.layout != torch.strided:
        expected, got = expected.to_dense(), got.to_dense()
    same_entries = (expected == got) | ((expected != expected) & (got != got))
    if same_entries.all():
        return None
    finite = torch.isfinite(expected) & torch.isfinite(got)
    if not (same_entries | finite).all():
        return "is not finite in the same places"
    apart = _wide(got[finite]) - _wide(expected[finite])
    largest, difference = _largest(expected), float(apart.abs().max())
    exact = not (expected.is_floating_point() or expected.is_complex())
    allowed = 0.0 if exact else torch.finfo(expected.dtype).eps ** 0.5 if rtol is None else rtol
    if difference <= allowed * max(largest, floor):
        return None
    share = (
        f"{difference / largest:.2g} of its largest absolute value, which is" if largest else f"{difference:.2g} from"
    )
    return f"differs by {share} {largest:.3g}"


def _largest(value: Any) -> float:
    """Return the largest absolute value of the finite entries of a tensor, 0 without any."""
    if not isinstance(value, torch.Tensor):
        return 0.0
    entries = _wide(value.to_dense() if value.layout != torch.strided else value)
    entries = entries[torch.isfinite(entries)].abs()
    return float(entries.max()) if entries.numel() else 0.0


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Put the random states of Python, numpy and torch back afterwards."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - a forward may draw from it
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)  # noqa: NPY002
